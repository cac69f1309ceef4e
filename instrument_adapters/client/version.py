"""What this program calls itself."""

import importlib.metadata


def software() -> str:
    """Name and version."""
    try:
        return f"vaestar {importlib.metadata.version('vaestar')}"
    except importlib.metadata.PackageNotFoundError:  # run from a copied folder, as on some microscope PCs
        return "vaestar unknown"
