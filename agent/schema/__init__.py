"""Records that a run writes: decisions and measurements, kinds of events, names of models."""
