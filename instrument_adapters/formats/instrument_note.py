"""Parses the instrument's note into keys and values, and derives the frame and the times from it.

The keys are those of real MFP-3D and Cypher files; `ScanAngle` is in degrees, lengths are in metres.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

from instrument_adapters.errors import ScanFileError
from instrument_adapters.geometry import Frame

Note = Mapping[str, str | float]

SIDE_MAX = 65536
_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)
_SECONDS_MAX = float(1 << 33)  # the year 2176
_AGREEMENT = 1e-4  # the note has five digits; size/N instead of size/(N-1) would be 4e-3 off at 256 points


def parse_note(raw: bytes) -> dict[str, str]:
    """Key -> value as text, from a note of `key: value` lines that end in carriage returns.

    The note is decoded as UTF-8, or as ISO-8859-1 if that fails ("°" from older software). The last value of a repeated key
    is used, as in `Channel1DataType: 1` ... `Channel1DataType: Height`. Lines without a colon are ignored.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("iso-8859-1")
    note: dict[str, str] = {}
    for line in re.split(r"[\r\n]+", text.replace("\x00", "")):
        key, colon, value = line.partition(":")
        if colon and key.strip():
            note[key.strip()] = value.strip()
    return note


def frame_from_note(note: Note, shape: tuple[int, int], pitch_m: tuple[float | None, float | None], path: Path) -> Frame:
    """Frame of the scan.

    Parameters
    ----------
    note
        Note with XOffset, YOffset and ScanAngle, and either FastScanSize and SlowScanSize, or ScanSize, FastRatio and SlowRatio.
    shape
        (rows, cols) of the images, 2 to 65536 each.
    pitch_m
        Distance in metres between pixels along (slow, fast) by the axes of the file, or None if it has none. It must agree with
        the sizes in the note to 0.01 %, and replaces them if the note has none.
    path
        Path of the file, for messages.

    Raises
    ------
    ScanFileError
        If a value is missing or not a number, or if note and axes disagree.
    """
    rows, cols = shape
    if not (2 <= rows <= SIDE_MAX and 2 <= cols <= SIDE_MAX):
        raise ScanFileError(f"{path} holds {rows} lines of {cols} points; 2 to {SIDE_MAX} of each are needed; save a full image")
    fast, slow = _sizes(note, path)
    return Frame(
        size_fast_m=_checked_side("FastScanSize", fast, pitch_m[1], cols, path),
        size_slow_m=_checked_side("SlowScanSize", slow, pitch_m[0], rows, path),
        x_offset_m=_required(note, "XOffset", path),
        y_offset_m=_required(note, "YOffset", path),
        angle_rad=math.radians(_required(note, "ScanAngle", path)),
        rows=rows,
        cols=cols,
    )


def times_from_note(note: Note, rows: int, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """(start, end) of the frame, each None if the note does not give it.

    `Seconds` is the time of saving in seconds since 1904 by the instrument's wall clock (it equals `modDate` of the wave),
    without a zone; `zone` is used. The start is computed as rows / ScanRate before the end. In nap mode it is None, because
    every line is scanned at least twice (PZT_final: 256 s between frames of 127.8 s).

    Both have a fixed offset, that of the zone at their own date, since Python subtracts two times of one zone as if there were no
    summer time.
    """
    seconds = _number(note, "Seconds")
    if seconds is None or not 0 < seconds < _SECONDS_MAX:
        return None, None
    finished = _with_fixed_offset((_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=zone))
    line_s = line_time(note)
    if line_s is None or _is_nap_mode(note):
        return None, finished
    started = (finished.astimezone(UTC) - timedelta(seconds=rows * line_s)).astimezone(zone)
    return _with_fixed_offset(started), finished


def _with_fixed_offset(time: datetime) -> datetime:
    return time.replace(tzinfo=timezone(time.utcoffset() or timedelta(0)), fold=0)


def line_time(note: Note) -> float | None:
    """Duration of a line in seconds, estimated as 1 / ScanRate, in nap mode as twice that; None without a ScanRate."""
    rate = _number(note, "ScanRate")
    if rate is None or not 1e-6 < rate < 1e6:
        return None
    return (2 if _is_nap_mode(note) else 1) / rate


def _is_nap_mode(note: Note) -> bool:
    return str(note.get("NapMode", 0)).lower() not in {"off", "0", "0.0"}


def _sizes(note: Note, path: Path) -> tuple[float | None, float | None]:
    """(fast, slow) side lengths in metres from the note.

    A SlowRatio / FastRatio above 1 divides the fast side, one below 1 multiplies the slow side (as in a public driver).
    """
    fast, slow, size = (_size(note, key, path) for key in ("FastScanSize", "SlowScanSize", "ScanSize"))
    if size is not None and (fast is None or slow is None):
        ratio = (_size(note, "SlowRatio", path) or 1.0) / (_size(note, "FastRatio", path) or 1.0)
        fast = fast if fast is not None else size / max(ratio, 1.0)
        slow = slow if slow is not None else size * min(ratio, 1.0)
    return fast, slow


def _checked_side(key: str, size: float | None, pitch: float | None, points: int, path: Path) -> float:
    extent = None if pitch is None else pitch * (points - 1)
    if size is None and extent is None:
        raise ScanFileError(
            f"the note of {path} gives neither {key} nor ScanSize, so the positions of its pixels are unknown; "
            "give a scan as saved by the instrument"
        )
    if size is not None and extent is not None and not abs(extent - size) <= _AGREEMENT * size:
        raise ScanFileError(
            f"the note of {path} says {key} {size:g} m, but its axis spans {extent:g} m; the two must agree to 0.01 % "
            "(pitch = size/(points - 1)), so save the scan again from the instrument"
        )
    side = size if size is not None else extent
    if side is None or not 0 < side < math.inf:
        raise ScanFileError(f"the axis of {path} for {key} spans {side} m, which must be positive; save the scan again")
    return side


def _size(note: Note, key: str, path: Path) -> float | None:
    if key not in note:
        return None
    value = _required(note, key, path)
    if value <= 0:
        raise ScanFileError(f"the note of {path} says {key}: {note[key]}; it must be positive, so save the scan again")
    return value


def _required(note: Note, key: str, path: Path) -> float:
    value = _number(note, key)
    if value is None:
        found = f"says {key}: {str(note[key])[:40]!r}" if key in note else f"has no {key}"
        raise ScanFileError(
            f"the note of {path} {found}; a finite number is needed for the positions of the pixels, "
            "so give a scan as saved by the instrument"
        )
    return value


def _number(note: Note, key: str) -> float | None:
    try:
        value = float(note[key])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None
