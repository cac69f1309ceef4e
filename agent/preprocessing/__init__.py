"""From a scan to images: channels, normalisation, line artefacts, quality, drift, patches. No model."""
