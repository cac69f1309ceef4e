"""The instrument's note: its text as keys and values, and what it says of geometry and time.

Keys as seen on real MFP-3D and Cypher files; `ScanAngle` is in degrees, lengths are in metres.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

from instrument_adapters.errors import ScanFileError
from instrument_adapters.geometry import Frame

Note = Mapping[str, str | float]

SIDE_MAX = 65536
_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)
_SECONDS_MAX = float(1 << 33)  # the year 2176
_AGREEMENT = 1e-4  # the note prints five digits; size/N in place of size/(N-1) is 4e-3 off at 256 points


def parse_note(raw: bytes) -> dict[str, str]:
    """Key -> value, as written, of a note of `key: value` lines that end in carriage returns.

    UTF-8, or ISO-8859-1 where that fails ("°" from older software). Of a repeated key the last value wins, as in
    `Channel1DataType: 1` ... `Channel1DataType: Height`. Lines without a colon are ignored.
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
    """Where the scan lies.

    Parameters
    ----------
    note
        Needs XOffset, YOffset and ScanAngle; FastScanSize and SlowScanSize, or ScanSize with FastRatio and SlowRatio.
    shape
        (rows, cols) of the images, 2 to 65536 each.
    pitch_m
        Distance between pixels along (slow, fast) by the file's own axes, or None where it gives none: it must agree with
        the note's sizes to 0.01 %, and stands in for them where the note has none.
    path
        Named in the messages.

    Raises
    ------
    ScanFileError
        If a value is missing or no number, or if note and axes disagree.
    """
    rows, cols = shape
    if not (2 <= rows <= SIDE_MAX and 2 <= cols <= SIDE_MAX):
        raise ScanFileError(f"{path} holds {rows} lines of {cols} points; 2 to {SIDE_MAX} of each are needed, save a full image")
    fast, slow = _sizes(note, path)
    return Frame(
        size_fast_m=_agreed("FastScanSize", fast, pitch_m[1], cols, path),
        size_slow_m=_agreed("SlowScanSize", slow, pitch_m[0], rows, path),
        x_offset_m=_required(note, "XOffset", path),
        y_offset_m=_required(note, "YOffset", path),
        angle_rad=math.radians(_required(note, "ScanAngle", path)),
        rows=rows,
        cols=cols,
    )


def times_from_note(note: Note, rows: int, zone: tzinfo) -> tuple[datetime | None, datetime | None]:
    """When the frame was begun and finished, or None where the note does not tell.

    `Seconds` counts from 1904 on the instrument's wall clock; it is the time of saving (it equals the wave's `modDate`) and
    says nothing of the zone, which therefore is `zone`. The beginning is computed: rows / ScanRate before the end; in nap
    mode every line is scanned twice at least (PZT_final: 256 s from frame to frame at 127.8 s a frame), and it is left open.
    """
    seconds = _number(note, "Seconds")
    if seconds is None or not 0 < seconds < _SECONDS_MAX:
        return None, None
    finished = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=zone)
    line_s = line_time(note)
    if line_s is None or _napping(note):
        return None, finished
    return (finished.astimezone(UTC) - timedelta(seconds=rows * line_s)).astimezone(zone), finished


def line_time(note: Note) -> float | None:
    """Seconds that a line of the frame took, as well as the note tells: 1 / ScanRate, twice that in nap mode; None without."""
    rate = _number(note, "ScanRate")
    if rate is None or not 1e-6 < rate < 1e6:
        return None
    return (2 if _napping(note) else 1) / rate


def _napping(note: Note) -> bool:
    return str(note.get("NapMode", 0)).lower() not in {"off", "0", "0.0"}


def _sizes(note: Note, path: Path) -> tuple[float | None, float | None]:
    """(fast, slow) side lengths that the note gives, in metres.

    Slow/FastRatio above 1 shrinks the fast side by it, below 1 the slow side (read in a public driver).
    """
    fast, slow, size = (_size(note, key, path) for key in ("FastScanSize", "SlowScanSize", "ScanSize"))
    if size is not None and (fast is None or slow is None):
        ratio = (_size(note, "SlowRatio", path) or 1.0) / (_size(note, "FastRatio", path) or 1.0)
        fast = fast if fast is not None else size / max(ratio, 1.0)
        slow = slow if slow is not None else size * min(ratio, 1.0)
    return fast, slow


def _agreed(key: str, size: float | None, pitch: float | None, points: int, path: Path) -> float:
    extent = None if pitch is None else pitch * (points - 1)
    if size is None and extent is None:
        raise ScanFileError(
            f"the note of {path} gives neither {key} nor ScanSize, so nobody knows where its pixels lie; "
            "give a scan as the instrument saved it"
        )
    if size is not None and extent is not None and not abs(extent - size) <= _AGREEMENT * size:
        raise ScanFileError(
            f"the note of {path} says {key} {size:g} m, but its axis spans {extent:g} m; the two must agree to 0.01 % "
            "(pitch = size/(points - 1)), so save the scan again from the instrument"
        )
    agreed = size if size is not None else extent
    if agreed is None or not 0 < agreed < math.inf:
        raise ScanFileError(f"the axis of {path} for {key} spans {agreed} m, which must be positive; save the scan again")
    return agreed


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
        said = f"says {key}: {str(note[key])[:40]!r}" if key in note else f"has no {key}"
        raise ScanFileError(
            f"the note of {path} {said}; a finite number is needed to know where the pixels lie, "
            "so give a scan as the instrument saved it"
        )
    return value


def _number(note: Note, key: str) -> float | None:
    try:
        value = float(note[key])
    except (KeyError, ValueError):
        return None
    return value if math.isfinite(value) else None
