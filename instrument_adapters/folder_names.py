"""Names that a watched folder gives: of the sample, and of the zone of an instrument's clock."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UNNAMED = "sample"
_OFFSET = re.compile(r"(?:UTC)?([+-])(\d{1,2}):?(\d{2})?")


def sample_of(path: Path, folder: Path, note: Mapping[str, str | float], key: str | None) -> str:
    """Name of the sample in the wire's alphabet: what the note says under `key`; else the file's subfolder; else "sample"."""
    said = str(note.get(key, "")) if key else ""
    parent = path.parent.name if path.parent != folder else ""
    for text in (said, parent):
        name = re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9_.-]+", "_", text))[:64].rstrip("_")
        if name:
            return name
    return UNNAMED


def zone_named(text: str) -> tzinfo:
    """The zone "local" (of this computer, now), "UTC", "+02:00" or "Europe/Berlin".

    Raises
    ------
    ValueError
        If there is no such zone; the message says what is allowed.
    """
    found = _OFFSET.fullmatch(text)
    if text == "local":
        return datetime.now(UTC).astimezone().tzinfo or UTC
    if text == "UTC":
        return UTC
    if found:
        minutes = 60 * int(found[2]) + int(found[3] or 0)
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{text!r} is no zone of a clock; give local, UTC, +02:00 or Europe/Berlin") from error
