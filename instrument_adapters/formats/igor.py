"""Scans from Igor binary waves (`.ibw`), as saved by an Asylum MFP-3D or Cypher.

Orientation. The file holds `wData[fast, slow, layer]` with its origin at the lower left and y ascending, whatever the scan
direction. Images here are `[row = slow, col = fast]`, so each layer is transposed and not flipped. Evidence in scan_0001.ibw:
(1) its list `Flatten Offsets 0`, one value for each line, correlates with axis 1 in ascending order (|step| against |step| of
the line means of Frequency: r = 0.46; in descending order -0.09; along axis 0 0.03). (2) The note says `TopLine: 255,
BottomLine: 0`. (3) The transient at the start of a frame is at line 255 (the median frequency steps by 5.2 kHz there, by
0.8 kHz at line 0), where a frame with `ScanDown: 1` starts if line 255 is the top.

igor2 0.5.15 was fuzzed with damaged files: it raises AssertionError, ValueError, TypeError, KeyError, struct.error and
MemoryError. A forged note size makes it allocate gigabytes (180 bytes of memory for each byte of text; 1 MiB takes 1.3 s), and
because its parser is kept for the thread, every later file then fails as well. `check_header` therefore compares every size in
the header with the file first, and igor2 gets headers and numbers only; note and labels are read here.
"""

import io
import logging
import math
import struct
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

import igor2.binarywave
import numpy as np
from jaxtyping import Float32

from instrument_adapters.errors import NoImageError, ScanFileError
from instrument_adapters.formats.channel_names import channel_names, channel_unit
from instrument_adapters.formats.instrument_note import frame_from_note, parse_note, times_from_note
from instrument_adapters.formats.source import read_bytes, scan_id
from instrument_adapters.scan import Scan

_log = logging.getLogger(__name__)

# WaveMetrics Technical Note 003: version, checksum, wfmSize, formulaSize, noteSize, dataEUnitsSize, dimEUnitsSize[4],
# dimLabelsSize[4], sIndicesSize, two reserved; then the header of the wave itself.
_BIN_HEADER = "hhiiii4i4iiii"
_BIN_SIZE, _WAVE_SIZE = 64, 320
_NPNTS_AT, _TYPE_AT, _NDIM_AT = 76, 80, 132
_TEXT_SIZES = slice(8, 56)
_ITEM_SIZE = {2: 4, 4: 8, 8: 1, 16: 2, 32: 4, 72: 1, 80: 2, 96: 4}  # real types only; odd type numbers are complex, 0 is text
_TEXT_MAX = 1 << 20  # a real note has 21 kB; flattening lists for 2048 lines and 8 layers have 0.5 MB
_IGOR2_ERRORS = (
    AssertionError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    struct.error,
)


@dataclass(frozen=True)
class IbwHeader:
    """Layout of a file, checked before igor2 parses it.

    Parameters
    ----------
    shape
        (fast, slow[, layer]) of an image, (step, column) of curves.
    data_end, note_at, note_size, labels_at, labels_size
        End of the numbers, and positions and sizes of the note and of the layer labels, in bytes.
    columns_size
        Size of the labels of axis 1 in bytes; only curves have them.
    end
        End of the wave in bytes. Data after it, such as the thumbnails of an MFP-3D, are not read.
    """

    shape: tuple[int, ...]
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
        If the file is missing, unreadable, truncated, damaged, not an image, or does not give the positions of its pixels.
    """
    path = Path(path)
    return parse_ibw(read_bytes(path), path, zone)


def parse_ibw(raw: bytes, path: Path, zone: tzinfo = UTC) -> Scan:
    """The scan in the bytes of an Igor binary wave; see `read_ibw`. The scan is named after `path`."""
    header = check_header(raw, path)
    if len(header.shape) == 2 and header.columns_size > 0:
        raise _no_image(path, f"curves of shape {header.shape} with named columns")
    wave = _load(raw, header, path)
    note = parse_note(raw[header.note_at : header.note_at + header.note_size])
    stack = _stack(wave["wData"], header.shape)
    frame = frame_from_note(note, (stack.shape[1], stack.shape[2]), _pitch(wave["wave_header"]), path)
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


def check_header(raw: bytes, path: Path) -> IbwHeader:
    """Layout of the wave; every size in its header is checked against the file.

    Raises
    ------
    ScanFileError
        If a size does not agree, or if the wave is not a stack of real images.
    """
    order = _byte_order(raw, path)
    if len(raw) < _BIN_SIZE + _WAVE_SIZE:
        raise _cut_short(path, len(raw), _BIN_SIZE + _WAVE_SIZE)
    # The sixteen-bit words of both headers, including the checksum, add up to zero (true of the real file).
    if sum(struct.unpack_from(f"{order}192h", raw)) & 0xFFFF:
        raise ScanFileError(f"the header of {path} is damaged (its checksum does not match); copy the file again")
    _, _, wfm, *texts, _, _ = struct.unpack_from(order + _BIN_HEADER, raw)
    (npnts, kind) = struct.unpack_from(f"{order}ih", raw, _NPNTS_AT)
    shape = tuple(n for n in struct.unpack_from(f"{order}4i", raw, _NDIM_AT) if n > 0)
    if len(shape) not in {2, 3}:
        raise _no_image(path, f"a wave of shape {shape}")
    if kind not in _ITEM_SIZE:
        raise _no_image(path, f"text or complex numbers (type {kind})")
    if npnts != math.prod(shape) or wfm != _WAVE_SIZE + npnts * _ITEM_SIZE[kind]:
        raise ScanFileError(f"the header of {path} contradicts itself: {npnts} points, shape {shape}, {wfm} bytes; copy it again")
    if texts[11]:
        raise ScanFileError(f"{path} is damaged (its header announces text, but it holds numbers); copy the file again")
    if min(texts) < 0 or sum(texts) > _TEXT_MAX:
        raise ScanFileError(
            f"the note and labels of {path} have {sum(texts)} bytes by its header, at most {_TEXT_MAX} are read; copy it again"
        )
    if len(raw) < _BIN_SIZE + wfm + sum(texts):
        raise _cut_short(path, len(raw), _BIN_SIZE + wfm + sum(texts))
    data_end = _BIN_SIZE + wfm
    return IbwHeader(
        shape=shape,
        data_end=data_end,
        note_at=data_end + texts[0],
        note_size=texts[1],
        # before the labels of the layers: formula, note, data units, 4 dimension units, labels of axes 0 and 1
        labels_at=data_end + sum(texts[:9]),
        labels_size=texts[9],
        columns_size=texts[8],
        end=data_end + sum(texts),
    )


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


def _load(raw: bytes, header: IbwHeader, path: Path) -> dict[str, Any]:
    try:
        wave: dict[str, Any] = igor2.binarywave.load(io.BytesIO(_without_texts(raw, header)))["wave"]
    except _IGOR2_ERRORS as error:
        _log.debug("igor2 cannot read %s", path, exc_info=True)
        raise ScanFileError(f"{path} is damaged (igor2 raised {type(error).__name__}); copy the file again") from error
    return wave


def _without_texts(raw: bytes, header: IbwHeader) -> bytes:
    """The same wave without note, long units and labels."""
    order = _byte_order(raw, Path())
    headers = bytearray(raw[: _BIN_SIZE + _WAVE_SIZE])
    headers[2:4] = bytes(2)
    headers[_TEXT_SIZES] = bytes(_TEXT_SIZES.stop - _TEXT_SIZES.start)
    words = sum(struct.unpack_from(f"{order}192h", headers))
    struct.pack_into(f"{order}H", headers, 2, -words & 0xFFFF)
    return bytes(headers) + raw[_BIN_SIZE + _WAVE_SIZE : header.data_end]


def _stack(data: np.ndarray, shape: tuple[int, ...]) -> Float32[np.ndarray, "layers rows cols"]:
    """Layers as images in the orientation of the project; values too large for float32 become infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(data.reshape((*shape, 1)[:3]).transpose(2, 1, 0), dtype=np.float32)


def _pitch(wave_header: dict[str, Any]) -> tuple[float | None, float | None]:
    """(slow, fast) pitch in metres from the wave's scaling; None for an axis that is not in metres."""
    metres = [b"".join(unit) == b"m" for unit in wave_header["dimUnits"]]
    fast, slow = (float(wave_header["sfA"][axis]) if metres[axis] else None for axis in (0, 1))
    return slow, fast


def _labels(raw: bytes, header: IbwHeader, layers: int) -> list[str]:
    """One label for each layer, "" if there is none: C strings in fields of 32 bytes, of which the first names the axis."""
    block = raw[header.labels_at : header.labels_at + header.labels_size]
    fields = [block[32 * n : 32 * (n + 1)].partition(b"\0")[0] for n in range(1, layers + 1)]
    return [field.decode("utf-8", errors="replace") for field in fields]
