"""Scans from Igor binary waves (`.ibw`), as saved by an Asylum MFP-3D or Cypher.

Orientation. The file holds `wData[fast, slow, layer]` with its origin at the lower left and y ascending, whatever the scan
direction. Images here are `[row = slow, col = fast]`, so each layer is transposed and not flipped. Evidence in scan_0001.ibw:
(1) its list `Flatten Offsets 0`, one value for each line, correlates with axis 1 in ascending order (|step| against |step| of
the line means of Frequency: r = 0.46; in descending order -0.09; along axis 0 0.03). (2) The note says `TopLine: 255,
BottomLine: 0`. (3) The transient at the start of a frame is at line 255 (the median frequency steps by 5.2 kHz there, by
0.8 kHz at line 0), where a frame with `ScanDown: 1` starts if line 255 is the top.

`check_header` compares every size in the header with the file before anything is read, and the numbers are viewed in place, so
that a scan takes its file and its float32 images in memory and nothing else
([decision 0042](../../docs/decisions/0042-igor-waves-with-numpy.md)).
"""

import math
import struct
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from instrument_adapters.errors import NoImageError, ScanFileError
from instrument_adapters.formats.channel_names import channel_names, channel_unit
from instrument_adapters.formats.instrument_note import frame_from_note, parse_note, times_from_note
from instrument_adapters.formats.source import DECODED_BYTES_MAX, read_bytes, scan_id
from instrument_adapters.scan import Scan

# WaveMetrics Technical Note 003: version, checksum, wfmSize, formulaSize, noteSize, dataEUnitsSize, dimEUnitsSize[4],
# dimLabelsSize[4], sIndicesSize, two reserved; then the header of the wave itself.
_BIN_HEADER = "hhiiii4i4iiii"
_BIN_SIZE, _WAVE_SIZE = 64, 320
_NPNTS_AT, _TYPE_AT, _NDIM_AT, _PITCH_AT, _UNITS_AT = 76, 80, 132, 148, 216
_ITEM = {2: "f4", 4: "f8", 8: "i1", 16: "i2", 32: "i4", 72: "u1", 80: "u2", 96: "u4", 128: "i8", 192: "u8"}
_COMPLEX = 1  # bit of the type number; a type of 0 is text
_SMALL_BYTES = 64 << 20  # a larger file is read only if its header announces a scan
_AFTER_MAX = 64 << 20  # bytes after the wave, such as thumbnails
_TEXT_MAX = 1 << 20  # a real note has 21 kB; flattening lists for 2048 lines and 8 layers have 0.5 MB


@dataclass(frozen=True)
class IbwHeader:
    """Layout of a file, checked before its numbers are read.

    Parameters
    ----------
    shape
        (fast, slow[, layer]) of an image, (step, column) of curves.
    dtype
        Type of the numbers, with their byte order.
    pitch_m
        (slow, fast) pitch in metres by the wave's scaling; None for an axis that is not in metres.
    data_end, note_at, note_size, labels_at, labels_size
        End of the numbers, and positions and sizes of the note and of the layer labels, in bytes.
    columns_size
        Size of the labels of axis 1 in bytes; only curves have them.
    end
        End of the wave in bytes. Data after it, such as the thumbnails of an MFP-3D, are not read.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    pitch_m: tuple[float | None, float | None]
    data_end: int
    note_at: int
    note_size: int
    labels_at: int
    labels_size: int
    columns_size: int
    end: int


def read_ibw(path: Path | str, zone: tzinfo = UTC) -> Scan:
    """The scan in an Igor binary wave of version 5.

    Parameters
    ----------
    path
        Path of a file that the instrument has finished writing (its name appears earlier).
    zone
        Time zone of the instrument's clock, which the file does not give. With the default a file is read in the same way
        everywhere; differences between scans are correct in any case.

    Raises
    ------
    ScanFileError
        If the file is missing, unreadable, truncated, damaged, not an image, larger than `DECODED_BYTES_MAX` in float32, or does
        not give the positions of its pixels.
    """
    path = Path(path)
    return parse_ibw(read_wave(path), path, zone)


def read_wave(path: Path) -> bytes:
    """Content of an Igor binary wave; a large one is read only if its header announces a scan that fits into memory.

    Raises
    ------
    ScanFileError
        As `read_bytes` and `check_header`.
    """
    try:
        size = path.stat().st_size
        if path.is_file() and size > _SMALL_BYTES:
            with path.open("rb") as file:
                check_header(file.read(_BIN_SIZE + _WAVE_SIZE), path, size)
    except OSError:
        pass  # read_bytes says why
    return read_bytes(path)


def parse_ibw(raw: bytes, path: Path, zone: tzinfo = UTC) -> Scan:
    """The scan in the bytes of an Igor binary wave; see `read_ibw`. The scan is named after `path`."""
    header = check_header(raw, path)
    if len(header.shape) == 2 and header.columns_size > 0:
        raise _no_image(path, f"curves of shape {header.shape} with named columns")
    note = parse_note(raw[header.note_at : header.note_at + header.note_size])
    stack = _stack(raw, header)
    frame = frame_from_note(note, (stack.shape[1], stack.shape[2]), header.pitch_m, path)
    names = channel_names(_labels(raw, header, len(stack)))
    started_at, finished_at = times_from_note(note, frame.rows, zone)
    return Scan(
        channels=dict(zip(names, stack, strict=True)),
        units={name: channel_unit(name, note) for name in names},
        frame=frame,
        scan_id=scan_id(path, raw),
        started_at=started_at,
        finished_at=finished_at,
        metadata=note,
    )


def check_header(raw: bytes, path: Path, size: int | None = None) -> IbwHeader:
    """Layout of the wave; every size in its header is checked against the file.

    Parameters
    ----------
    raw
        Content of the file, or its first 384 bytes.
    path
        Path of the file, for messages.
    size
        Size of the file in bytes; None: that of `raw`.

    Raises
    ------
    ScanFileError
        If a size does not agree, if the wave is not a stack of real images, or if it is too large.
    """
    order = _byte_order(raw, path)
    size = len(raw) if size is None else size
    if len(raw) < _BIN_SIZE + _WAVE_SIZE:
        raise _cut_short(path, size, _BIN_SIZE + _WAVE_SIZE)
    # The sixteen-bit words of both headers, including the checksum, add up to zero (true of the real file).
    if sum(struct.unpack_from(f"{order}192h", raw)) & 0xFFFF:
        raise ScanFileError(f"the header of {path} is damaged (its checksum does not match); copy the file again")
    _, _, wfm, *texts, _, _ = struct.unpack_from(order + _BIN_HEADER, raw)
    (npnts, kind) = struct.unpack_from(f"{order}ih", raw, _NPNTS_AT)
    shape = tuple(n for n in struct.unpack_from(f"{order}4i", raw, _NDIM_AT) if n > 0)
    if len(shape) not in {2, 3}:
        raise _no_image(path, f"a wave of shape {shape}")
    if kind not in _ITEM:
        raise _no_image(path, _not_real(kind))
    dtype = np.dtype(order + _ITEM[kind])
    if npnts != math.prod(shape) or wfm != _WAVE_SIZE + npnts * dtype.itemsize:
        raise ScanFileError(f"the header of {path} contradicts itself: {npnts} points, shape {shape}, {wfm} bytes; copy it again")
    if texts[11]:
        raise ScanFileError(f"{path} is damaged (its header announces text, but it holds numbers); copy the file again")
    if min(texts) < 0 or sum(texts) > _TEXT_MAX:
        raise ScanFileError(
            f"the note and labels of {path} have {sum(texts)} bytes by its header, at most {_TEXT_MAX} are read; copy it again"
        )
    data_end, end = _BIN_SIZE + wfm, _BIN_SIZE + wfm + sum(texts)
    _check_size(size, npnts, end, path)
    fast_m, slow_m = (
        struct.unpack_from(f"{order}d", raw, _PITCH_AT + 8 * axis)[0]
        if raw[_UNITS_AT + 4 * axis : _UNITS_AT + 4 * axis + 4].rstrip(b"\0") == b"m"
        else None
        for axis in (0, 1)
    )
    return IbwHeader(
        shape=shape,
        dtype=dtype,
        pitch_m=(slow_m, fast_m),
        data_end=data_end,
        note_at=data_end + texts[0],
        note_size=texts[1],
        # before the labels of the layers: formula, note, data units, 4 dimension units, labels of axes 0 and 1
        labels_at=data_end + sum(texts[:9]),
        labels_size=texts[9],
        columns_size=texts[8],
        end=end,
    )


def _check_size(size: int, pixels: int, end: int, path: Path) -> None:
    """Refuse a file of `size` bytes whose wave is too large, ends after the file, or is followed by too much."""
    if 4 * pixels > DECODED_BYTES_MAX:
        raise ScanFileError(
            f"{path} holds {pixels} pixels, {4 * pixels} bytes as float32; at most {DECODED_BYTES_MAX} are read; "
            "save fewer channels or pixels"
        )
    if size < end:
        raise _cut_short(path, size, end)
    if size > end + _AFTER_MAX:
        raise ScanFileError(f"{path} has {size - end} bytes after its wave, at most {_AFTER_MAX} are read; save the scan again")


def _byte_order(raw: bytes, path: Path) -> str:
    versions = {struct.pack(f"{sign}h", n): (n, sign) for n in (1, 2, 3, 5) for sign in "<>"}
    version, sign = versions.get(raw[:2], (0, ""))
    if version == 0:
        raise ScanFileError(f"{path} is not an Igor binary wave; give an .ibw file as saved by the instrument")
    if version != 5:
        raise _no_image(path, f"a one-dimensional wave (Igor binary version {version})")
    return sign


def _cut_short(path: Path, has: int, needs: int) -> ScanFileError:
    return ScanFileError(
        f"{path} has {has} bytes but needs at least {needs} by its header; "
        "wait until the instrument has finished writing it, or copy it again"
    )


def _no_image(path: Path, what: str) -> NoImageError:
    return NoImageError(f"{path} holds {what}, but an image of shape (fast, slow, layers) is needed; give a scan, not a curve")


def _not_real(kind: int) -> str:
    """What a wave holds whose numbers are not real."""
    if kind & ~_COMPLEX in _ITEM:
        return f"complex numbers (type {kind}); save amplitude and phase as two layers of real numbers"
    return "text (type 0)" if kind == 0 else f"data of the unknown type {kind}"


def _stack(raw: bytes, header: IbwHeader) -> Float32[np.ndarray, "layers rows cols"]:
    """Layers as images in the orientation of the project; values too large for float32 become infinite."""
    shape = (*header.shape, 1)[:3]
    data = np.frombuffer(raw, header.dtype, math.prod(shape), _BIN_SIZE + _WAVE_SIZE).reshape(shape, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # invalid: a signalling NaN
        return np.ascontiguousarray(data.transpose(2, 1, 0), dtype=np.float32)


def _labels(raw: bytes, header: IbwHeader, layers: int) -> list[str]:
    """One label for each layer, "" if there is none: C strings in fields of 32 bytes, of which the first names the axis."""
    block = raw[header.labels_at : header.labels_at + header.labels_size]
    fields = [block[32 * n : 32 * (n + 1)].partition(b"\0")[0] for n in range(1, layers + 1)]
    return [field.decode("utf-8", errors="replace") for field in fields]
