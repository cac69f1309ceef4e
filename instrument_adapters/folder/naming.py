"""Names the sample of a scan file."""

import re
from collections.abc import Mapping
from pathlib import Path

UNNAMED = "sample"


def sample_name(path: Path, folder: Path, note: Mapping[str, str | float], key: str | None) -> str:
    """Name of the sample in the characters that the wire allows: the note's value of `key`, else the subfolder, else "sample"."""
    in_note = str(note.get(key, "")) if key else ""
    subfolder = path.parent.name if path.parent != folder else ""
    for text in (in_note, subfolder):
        name = re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9_.-]+", "_", text))[:64].rstrip("_")
        if name:
            return name
    return UNNAMED
