"""Name and version of this program, as sent in `hello`."""

import importlib.metadata


def software() -> str:
    """Name and version of this program, such as "vaestar 0.1.0"."""
    try:
        return f"vaestar {importlib.metadata.version('vaestar')}"
    except importlib.metadata.PackageNotFoundError:  # run from a copied folder, as on some microscope PCs
        return "vaestar unknown"
