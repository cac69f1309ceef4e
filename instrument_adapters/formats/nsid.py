"""Scans from NSID HDF5 files, as written by SciFiReaders and pyNSID of pycroscopy from an Asylum `.ibw`.

Layout: `Measurement_000/Channel_N/Channel_N/Channel_N` is an image. The same group holds the axes `x` and `y` and the group
`original_metadata`, whose attributes are the instrument's note. Only `Measurement_000` is read.

Orientation, from the four real files PTO_Funakubo0001/2 and PZT_final0001/2 (256 x 256, dimension labels x, y): the images are
`[x = fast, y = slow]`, both ascending, so they are transposed and not flipped.

- Axis 1 is slow. Median step between neighbouring lines (rms over the lines, HeightRetrace), along axis 1 against axis 0:
  183 / 45, 335 / 93, 407 / 106, 692 / 98 pm; NapPhaseRetrace of PZT_final0002 18 / 0.5 degrees.
- The slow axis ascends. (1) The transient at the start of a frame (median height step over the two outermost lines): with
  `ScanDown: 1` it is at index 255 in both PTO files (-1.23 and -0.97 nm there, below 0.17 nm at index 0; step of -2.2 nm,
  below 0.12 nm at index 0), with `ScanDown: 0` at index 0 in PZT_final0002 (-0.91 against 0.42 nm); PZT_final0001 is
  inconclusive (0.56 against 0.49 nm). In scan_0001.ibw, whose origin is known to be at the lower left, the transient with
  `ScanDown: 1` is at index 255, the top. (2) PZT_final0001 (down) and PZT_final0002 (up) are consecutive: the bottom was
  scanned twice within seconds, the top 512 s apart, and the displacement between them indeed grows with the index (bands of 64
  lines centred at line 32 and 224, AmplitudeRetrace: 1.7 to 4.8 pixels; at 32 and 160, PhaseRetrace: 1.2 to 4.8 pixels).
  (3) All notes say `TopLine: 255, BottomLine: 0`. (4) The present source code of SciFiReaders copies `wData[:, :, layer]`
  unchanged. The file itself does not state it.
- That the fast axis ascends follows from (4) only; these files cannot test it. Retrace lines are stored like trace lines.

Some unit attributes are wrong ("m" for NapPhase, "deg" for the x axis of the phase), so units are derived from the names.
"""

import io
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float, Float32

from instrument_adapters.errors import ScanDataError, ScanFileError
from instrument_adapters.formats.channel_names import channel_names, channel_unit
from instrument_adapters.formats.hdf5_heap import heaps_are_sound
from instrument_adapters.formats.instrument_note import SIDE_MAX, frame_from_note, times_from_note
from instrument_adapters.formats.source import read_bytes, scan_id
from instrument_adapters.scan import Scan

_MEASUREMENT = "Measurement_000"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PIXELS_MAX = 1 << 28  # of all channels together: 16 channels of 4096 x 4096
_INFLATION_MAX, _HARMLESS_BYTES = 200, 64 << 20  # a compressed image can be far larger than its file
_KEYS_MAX = 4000  # as on the wire; a real note has 700
_ATTRIBUTE_MAX = 1 << 16  # bytes; HDF5 stores no larger attribute in the object header
_DEFAULT_UNITS = {"m", "deg"}  # written by default where the writer does not know the unit
_H5PY_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError, OverflowError, MemoryError)


@dataclass(frozen=True, eq=False)
class _Channel:
    label: str
    unit: str
    image: Float32[np.ndarray, "rows cols"]
    pitch_m: tuple[float | None, float | None]


def read_nsid(path: Path | str, zone: tzinfo = UTC) -> Scan:
    """The scan in an NSID file, with the note of its first channel.

    Parameters
    ----------
    path
        Path of the HDF5 file.
    zone
        Time zone of the instrument's clock, which the note does not give (see `igor.read_ibw`).

    Raises
    ------
    ScanFileError
        If the file is missing, unreadable, damaged, of another layout, or does not give the positions of its pixels.
    ScanDataError
        If its channels differ in size.
    """
    path = Path(path)
    return parse_nsid(read_bytes(path), path, zone)


def parse_nsid(raw: bytes, path: Path, zone: tzinfo = UTC) -> Scan:
    """The scan in the bytes of an NSID file; see `read_nsid`. The scan is named after `path`."""
    channels, note = _read_channels(raw, path)
    first = channels[0]
    names = channel_names([c.label for c in channels])
    for name, channel in zip(names, channels, strict=True):
        if channel.image.shape != first.image.shape:
            raise ScanDataError(
                f"channel {name} of {path} is {channel.image.shape}, but {names[0]} is {first.image.shape} (rows, cols); all "
                "channels of a scan must have the same size, so save the others in a separate file"
            )
    frame = frame_from_note(note, first.image.shape, first.pitch_m, path)
    started_at, finished_at = times_from_note(note, frame.rows, zone)
    return Scan(
        channels={name: c.image for name, c in zip(names, channels, strict=True)},
        units={name: channel_unit(name, note, c.unit) for name, c in zip(names, channels, strict=True)},
        frame=frame,
        scan_id=scan_id(path, raw),
        started_at=started_at,
        finished_at=finished_at,
        metadata=note,
    )


def _read_channels(raw: bytes, path: Path) -> tuple[list[_Channel], dict[str, str | float]]:
    if not raw.startswith(_SIGNATURE):
        raise ScanFileError(f"{path} is not an HDF5 file; give an NSID file")
    if not heaps_are_sound(raw):
        raise ScanFileError(f"{path} is damaged (its texts overlap); copy the file again")
    with _h5py_errors(path), h5py.File(io.BytesIO(raw), "r") as file:
        if _MEASUREMENT not in file:
            raise _other_layout(path, f"there is no group {_MEASUREMENT}")
        measurement = file[_MEASUREMENT]
        names = [name for name in measurement if re.fullmatch(r"Channel_\d{1,9}", name)]
        if not names:
            raise _other_layout(path, f"{_MEASUREMENT} holds no Channel_N")
        names.sort(key=lambda name: int(name.removeprefix("Channel_")))
        _check_sizes([_dataset(measurement[name], name, path) for name in names], len(raw), path)
        channels = [_read_channel(measurement[name], name, path) for name in names]
        return channels, _read_note(measurement[names[0]][names[0]])


@contextmanager
def _h5py_errors(path: Path) -> Iterator[None]:
    """Turn the exceptions that h5py raises on a damaged file into a ScanFileError."""
    try:
        yield
    except ScanFileError:
        raise
    except _H5PY_ERRORS as error:
        raise ScanFileError(
            f"{path} is damaged or truncated (h5py raised {type(error).__name__}); copy the file again"
        ) from error


def _dataset(group: object, name: str, path: Path) -> h5py.Dataset:
    """The data set of a channel's image, not read yet."""
    inner = group.get(name) if isinstance(group, h5py.Group) else None
    data = inner.get(name) if isinstance(inner, h5py.Group) else None
    if not isinstance(data, h5py.Dataset):
        raise _other_layout(path, f"{_MEASUREMENT}/{name} holds no {name}/{name}")
    return data


def _check_sizes(images: Sequence[h5py.Dataset], file_bytes: int, path: Path) -> None:
    """Refuse images that would fill the memory, before any of them is read."""
    pixels = sum(data.size or 0 for data in images)
    unpacked = sum(data.nbytes for data in images if data.size)
    if pixels > _PIXELS_MAX or unpacked > max(_HARMLESS_BYTES, _INFLATION_MAX * file_bytes):
        raise ScanFileError(
            f"the images of {path}, of shape {images[0].shape}, have {pixels} pixels and {unpacked} bytes (packed {file_bytes}); "
            f"at most {_PIXELS_MAX} pixels and {_INFLATION_MAX} times the file are read; give the scan as it was saved"
        )


def _read_channel(group: h5py.Group, name: str, path: Path) -> _Channel:
    data, inner = _dataset(group, name, path), group[name]
    if data.ndim != 2 or max(data.shape) > SIDE_MAX or data.dtype.kind not in "fiu":
        raise ScanFileError(
            f"{name} of {path} has shape {data.shape} and type {data.dtype}; an image of real numbers is needed, "
            "so leave out data that are not images"
        )
    axes = [_text(label) for label in np.asarray(_attribute(data, "DIMENSION_LABELS", ("x", "y"))).ravel()]
    if axes != ["x", "y"]:
        raise _other_layout(path, f"the axes of {name} are {axes} instead of x, y")
    unit = _text(_attribute(data, "units", ""))
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        image = np.ascontiguousarray(np.asarray(data[()]).T, dtype=np.float32)
    return _Channel(
        label=_text(_attribute(data, "quantity", "")),
        unit="" if unit in _DEFAULT_UNITS else unit[:16],
        image=image,
        pitch_m=(_pitch(inner, "y", data.shape[1], path), _pitch(inner, "x", data.shape[0], path)),
    )


def _pitch(group: h5py.Group, axis: str, points: int, path: Path) -> float | None:
    """Distance in metres between the pixels along `axis`, from its dimension scale; None if it has none."""
    scale = group.get(axis)
    if not isinstance(scale, h5py.Dataset):
        return None
    if scale.shape != (points,):
        raise ScanFileError(f"axis {axis} of {path} has shape {scale.shape} for {points} pixels; write the file again")
    if points < 2:
        return None
    values: Float[np.ndarray, " points"] = np.asarray(scale[()], dtype=np.float64)
    return float((values[-1] - values[0]) / (points - 1))


def _read_note(group: h5py.Group) -> dict[str, str | float]:
    metadata = group.get("original_metadata")
    if metadata is None:
        return {}
    return {str(key): _note_value(_attribute(metadata, key, "")) for key in itertools.islice(metadata.attrs, _KEYS_MAX)}


def _attribute(item: h5py.HLObject, key: str, default: object) -> object:
    """Attribute `key` if it is text or numbers, else `default`: reading a damaged type with h5py can crash the process."""
    if key not in item.attrs:
        return default
    stored = item.attrs.get_id(key)
    is_plain = h5py.check_string_dtype(stored.dtype) is not None or stored.dtype.kind in "biufSU"
    return item.attrs[key] if is_plain and stored.get_storage_size() <= _ATTRIBUTE_MAX else default


def _note_value(value: object) -> str | float:
    """A finite number as float, anything else as text, because the wire carries no NaN."""
    if isinstance(value, int | float | np.integer | np.floating) and np.isfinite(value):
        return float(value)
    return _text(value)


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _other_layout(path: Path, what: str) -> ScanFileError:
    return ScanFileError(
        f"{path} is not laid out as {_MEASUREMENT}/Channel_N/Channel_N/Channel_N ({what}); "
        "write it with pyNSID, or give an .ibw file"
    )
