"""Writes Igor binary waves (version 5) like those of the MFP-3D, so that the readers work on genuine files.

The byte layout follows WaveMetrics' Technical Note 003, the content follows a real file (scan_0001.ibw). Igor Pro itself was not
tested; igor2 reads the files, and the checksum agrees with the technical note.
"""

import math
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from instrument_adapters.errors import ScanDataError
from instrument_adapters.formats.channel_names import channel_quantity, channel_unit
from instrument_adapters.scan import Scan
from simulators.controller.file_traps import label_with_traps, note_with_traps

_BIN_HEADER = struct.Struct("<hhiiii4i4iiii")
_WAVE_HEADER = struct.Struct("<IIIihh6sh32siI4i4d4d4s16shhddI4I4II16ihhhccIihhII")
_FLOAT32 = 2
_LABEL_BYTES = 32
_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)


def write_ibw(path: Path | str, scan: Scan) -> None:
    """Write `scan` to `path`, not atomically (see `encode_ibw` for the errors)."""
    Path(path).write_bytes(encode_ibw(scan, Path(path).stem))


def encode_ibw(scan: Scan, wave_name: str = "scan", *, traps: bool = False) -> bytes:
    """`scan` as the bytes of an Igor binary wave: float32 `wData[fast, slow, layer]`, labels, note and scaling.

    The note is `scan.metadata`, overridden by the scan's geometry, units and times. Times are written in UTC, whereas an
    instrument writes local time. The file has no place for `sample_id` and `scan_id`. With `traps` it has the oddities of a real
    file (`file_traps`).

    Raises
    ------
    ScanDataError
        If the name of a channel is longer than 31 bytes, or a key or value contains a separator of the note.
    """
    stack = np.stack(list(scan.channels.values())).astype("<f4", copy=False)
    entries = {**scan.metadata, **_geometry(scan), **_units(scan), **_times(scan)}
    slow, fast = scan.frame.pitch_m
    return _encode(
        stack.tobytes(),  # (layer, row, col) in C order is [fast, slow, layer] in Igor's column-major order
        shape=(scan.frame.cols, scan.frame.rows, len(scan.channels)),
        pitch=(fast, slow),
        note=note_with_traps(entries) if traps else _note(entries),
        labels=[label_with_traps(name) if traps else name.encode() for name in scan.channels],
        saved_at=scan.finished_at,
        name=wave_name,
    )


def encode_curves(
    columns: Mapping[str, np.ndarray], note: Mapping[str, str | float], saved_at: datetime, wave_name: str = "curves"
) -> bytes:
    """Curves as the bytes of an Igor binary wave: float32 `wData[step, column]`, with a label for each column.

    Raises
    ------
    ScanDataError
        As for `encode_ibw`.
    """
    stack = np.stack(list(columns.values())).astype("<f4")
    labels = [name.encode() for name in columns]
    shape = (stack.shape[1], stack.shape[0])
    return _encode(
        stack.tobytes(), shape=shape, pitch=(1.0, 1.0), note=_note(note), labels=labels, saved_at=saved_at, name=wave_name
    )


def _encode(
    data: bytes,
    *,
    shape: tuple[int, ...],
    pitch: tuple[float, float],
    note: bytes,
    labels: list[bytes],
    saved_at: datetime | None,
    name: str,
) -> bytes:
    """Bytes of a wave whose last axis has the labels."""
    block = b"".join(_label(label) for label in [b"", *labels])
    saved = 0 if saved_at is None else int(_igor_seconds(saved_at)) & 0xFFFFFFFF
    wave = _WAVE_HEADER.pack(
        *(0, saved, saved, math.prod(shape), _FLOAT32, 0, b"", 1),
        *(name.encode("ascii", "replace")[:31], 0, 0),
        *(*shape, 0, 0)[:4],
        *(*pitch, 1.0, 1.0),
        *(0.0, 0.0, 0.0, 0.0),
        *(b"m", b"m\0\0\0m" if len(shape) == 3 else b""),  # the instrument writes "m" for the data of every layer
        *(0, 0, 0.0, 0.0, 0, *[0] * 8, 0, *[0] * 16),
        *(0, 0, 0, b"\0", b"\0", 0, 0, 0, 0, 0, 0),
    )
    labelled = [len(block) if axis == len(shape) - 1 else 0 for axis in range(4)]
    header = _bin_header(len(wave) + len(data), len(note), labelled, checksum=0)
    words = np.frombuffer(header + wave, "<i2").sum(dtype=np.int64)
    header = _bin_header(len(wave) + len(data), len(note), labelled, checksum=int(np.int64(-words).astype(np.int16)))
    return header + wave + data + note + block


def _bin_header(wave_bytes: int, note_bytes: int, label_bytes: list[int], checksum: int) -> bytes:
    return _BIN_HEADER.pack(5, checksum, wave_bytes, 0, note_bytes, 0, *[0] * 4, *label_bytes, 0, 0, 0)


def _label(raw: bytes) -> bytes:
    name = raw.partition(b"\0")[0].decode(errors="replace")
    if len(raw) >= _LABEL_BYTES:
        raise ScanDataError(f"the name of channel {name!r} has {len(raw)} bytes, an Igor label holds 31; rename the channel")
    return raw.ljust(_LABEL_BYTES, b"\0")


def _note(entries: Mapping[str, str | float]) -> bytes:
    for key, value in entries.items():
        if not key.strip() or set(key) & {":", "\r", "\n", "\0"} or set(str(value)) & {"\r", "\n", "\0"}:
            raise ScanDataError(f"the note entry {key!r} cannot be written as one 'key: value' line; rename or omit it")
    return "".join(f"{key}: {value}\r" for key, value in entries.items()).encode()


def _geometry(scan: Scan) -> dict[str, str | float]:
    frame = scan.frame
    return {
        "ScanSize": max(frame.size_fast_m, frame.size_slow_m),
        "FastScanSize": frame.size_fast_m,
        "SlowScanSize": frame.size_slow_m,
        "XOffset": frame.x_offset_m,
        "YOffset": frame.y_offset_m,
        "ScanAngle": math.degrees(frame.angle_rad),
        "FastRatio": frame.size_fast_m / max(frame.size_fast_m, frame.size_slow_m),
        "SlowRatio": frame.size_slow_m / max(frame.size_fast_m, frame.size_slow_m),
        "ScanPoints": frame.cols,
        "ScanLines": frame.rows,
        "PointsLines": frame.rows if frame.rows == frame.cols else max(frame.rows, frame.cols),
        "TopLine": frame.rows - 1,
        "BottomLine": 0,
    }


def _units(scan: Scan) -> dict[str, str]:
    """`<Quantity>Unit` for each channel whose unit follows neither from its name nor from the note."""
    units = {name: scan.units[name] for name in scan.channels if scan.units.get(name)}
    return {f"{channel_quantity(name)}Unit": unit for name, unit in units.items() if channel_unit(name, scan.metadata) != unit}


def _times(scan: Scan) -> dict[str, str | float]:
    if scan.finished_at is None:
        return {}
    finished = scan.finished_at.astimezone(UTC)
    entries: dict[str, str | float] = {
        "Date": f"{finished:%Y-%m-%d}",
        "Time": f"{finished:%H:%M:%S}",
        "Seconds": f"{_igor_seconds(finished):.6f}",
    }
    if scan.started_at is not None and scan.started_at < scan.finished_at:
        entries["ScanRate"] = scan.frame.rows / (scan.finished_at - scan.started_at).total_seconds()
    return entries


def _igor_seconds(when: datetime) -> float:
    return (when - _EPOCH).total_seconds()
