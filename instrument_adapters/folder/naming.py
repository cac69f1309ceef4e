"""The name that a watched folder gives to a sample."""

import re
from collections.abc import Mapping
from pathlib import Path

UNNAMED = "sample"


def sample_of(path: Path, folder: Path, note: Mapping[str, str | float], key: str | None) -> str:
    """Name of the sample in the wire's alphabet: what the note says under `key`; else the file's subfolder; else "sample"."""
    said = str(note.get(key, "")) if key else ""
    parent = path.parent.name if path.parent != folder else ""
    for text in (said, parent):
        name = re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9_.-]+", "_", text))[:64].rstrip("_")
        if name:
            return name
    return UNNAMED
