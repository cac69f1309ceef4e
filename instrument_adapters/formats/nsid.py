"""Scans from NSID HDF5 files, as written by SciFiReaders and pyNSID of pycroscopy from an Asylum `.ibw`.

Layout: `Measurement_000/Channel_N/NAME/NAME` is an image. The same group holds the axes `x` and `y` and the group
`original_metadata`, whose attributes are the instrument's note. NAME is Channel_N in the files of SciFiReaders; pyNSID by default
takes the data set's title. Without Channel_N, every `Measurement_000/NAME/NAME` is a channel. Only `Measurement_000` is read, and
nothing that lies in another file ([decision 0042](../../docs/decisions/0042-igor-waves-with-numpy.md)).

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
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float32

from instrument_adapters.errors import ScanDataError, ScanFileError
from instrument_adapters.formats.channel_names import channel_names, channel_unit
from instrument_adapters.formats.hdf5_heap import heaps_are_sound
from instrument_adapters.formats.hdf5_links import bytes_unpacked, find_object
from instrument_adapters.formats.instrument_note import SIDE_MAX, frame_from_note, times_from_note
from instrument_adapters.formats.source import DECODED_BYTES_MAX, read_bytes, scan_id
from instrument_adapters.scan import Scan

_MEASUREMENT = "Measurement_000"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PIXELS_MAX = DECODED_BYTES_MAX // 4  # of all channels together
_CHANNELS_MAX = 32  # as on the wire
_LINKS_MAX = 1000  # in a group
_UNPACKED_MAX = 1 << 30  # bytes of all images and axes, in float64 for instance
_INFLATION_MAX, _HARMLESS_BYTES = 200, 64 << 20  # a compressed image can be far larger than its file
_KEYS_MAX = 4000  # as on the wire; a real note has 700
_ATTRIBUTE_MAX = 1 << 16  # bytes; HDF5 stores no larger attribute in the object header
_TEXTS_MAX, _NOTE_MAX = 64, 4 << 20  # texts of variable length in an attribute, each as long as the file; characters of all
_NO_QUANTITY = {"", "generic"}
_DEFAULT_UNITS = {"m", "deg"}  # written by default where the writer does not know the unit
_H5PY_ERRORS = (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, IndexError, OverflowError, MemoryError)


@dataclass(frozen=True, eq=False)
class _StoredImage:
    """A channel's image and its axes (None where there is none), not read yet; `name` names it in messages."""

    name: str
    group: h5py.Group
    data: h5py.Dataset
    x: h5py.Dataset | None
    y: h5py.Dataset | None


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
        images = _images(file, path)
        _check_sizes(images, len(raw), path)
        channels = [_read_channel(image, path) for image in images]
        return channels, _read_note(images[0].group, path)


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


def _images(file: h5py.File, path: Path) -> list[_StoredImage]:
    """The images of `Measurement_000` in the order of their numbers, else of their names."""
    measurement = find_object(file, _MEASUREMENT, path)
    if not isinstance(measurement, h5py.Group):
        raise _other_layout(path, f"there is no group {_MEASUREMENT}")
    channels = [name for name in _names(measurement, path) if re.fullmatch(r"Channel_\d{1,9}", name)]
    channels.sort(key=lambda name: int(name.removeprefix("Channel_")))
    if channels:
        images = [_only_image(find_object(measurement, name, path), name, path) for name in channels[: _CHANNELS_MAX + 1]]
    else:
        images = _images_in(measurement, "", path)
    if not images:
        raise _other_layout(path, f"{_MEASUREMENT} holds no Channel_N and no NAME/NAME")
    if len(images) > _CHANNELS_MAX:
        raise ScanFileError(f"{path} holds more than {_CHANNELS_MAX} channels; save fewer")
    return images


def _only_image(channel: object, name: str, path: Path) -> _StoredImage:
    """The image of the group of a channel: the one named like the channel, else the only one."""
    found = _images_in(channel, f"{name}/", path) if isinstance(channel, h5py.Group) else []
    same = [image for image in found if image.name == f"{name}/{name}"]
    if not found:
        raise _other_layout(path, f"{_MEASUREMENT}/{name} holds no {name}/{name} and no NAME/NAME")
    if not same and len(found) > 1:
        raise _other_layout(path, f"{_MEASUREMENT}/{name} holds several images: {', '.join(image.name for image in found)}")
    return (same or found)[0]


def _images_in(parent: h5py.Group, prefix: str, path: Path) -> list[_StoredImage]:
    """The images NAME/NAME in a group."""
    found = []
    for name in _names(parent, path):
        group = find_object(parent, name, path)
        data = find_object(group, name, path) if isinstance(group, h5py.Group) else None
        if isinstance(group, h5py.Group) and isinstance(data, h5py.Dataset):
            x, y = (find_object(group, axis, path) for axis in "xy")
            axes = [axis if isinstance(axis, h5py.Dataset) else None for axis in (x, y)]
            found.append(_StoredImage(f"{prefix}{name}", group, data, *axes))
    return found


def _names(group: h5py.Group, path: Path) -> list[str]:
    if len(group) > _LINKS_MAX:
        raise ScanFileError(f"{path} holds {len(group)} objects in {group.name}, at most {_LINKS_MAX} are read; save one scan")
    return sorted(group)


def _check_sizes(images: Sequence[_StoredImage], file_bytes: int, path: Path) -> None:
    """Refuse images and axes that would fill the memory, before any of them is read."""
    stored = [data for image in images for data in (image.data, image.x, image.y) if data is not None]
    pixels = sum(image.data.size or 0 for image in images)
    unpacked = sum(bytes_unpacked(data) for data in stored)
    if pixels > _PIXELS_MAX or unpacked > max(_HARMLESS_BYTES, _INFLATION_MAX * file_bytes) or unpacked > _UNPACKED_MAX:
        raise ScanFileError(
            f"the images of {path}, of shape {images[0].data.shape}, have {pixels} pixels and {unpacked} bytes (packed "
            f"{file_bytes}); at most {_PIXELS_MAX} pixels, {_UNPACKED_MAX} bytes and {_INFLATION_MAX} times the file are read; "
            "give the scan as it was saved"
        )


def _read_channel(stored: _StoredImage, path: Path) -> _Channel:
    data, name = stored.data, stored.name
    if data.ndim != 2 or max(data.shape) > SIDE_MAX or data.dtype.kind not in "fiu":
        raise ScanFileError(
            f"{name} of {path} has shape {data.shape} and type {data.dtype}; an image of real numbers is needed, "
            "so leave out data that are not images"
        )
    axes = [_text(label) for label in np.asarray(_attribute(data, "DIMENSION_LABELS", ("x", "y"))).ravel()]
    if axes != ["x", "y"]:
        raise _other_layout(path, f"the axes of {name} are {axes} instead of x, y")
    label = _text(_attribute(data, "quantity", ""))
    own_name = name.rpartition("/")[2]
    if label in _NO_QUANTITY and not own_name.startswith("Channel_"):
        label = own_name
    unit = _text(_attribute(data, "units", ""))
    with np.errstate(over="ignore"):  # values too large for float32 become infinite
        image = np.ascontiguousarray(np.asarray(data[()]).T, dtype=np.float32)
    return _Channel(
        label=label,
        unit="" if unit in _DEFAULT_UNITS else unit[:16],
        image=image,
        pitch_m=(_pitch(stored.y, "y", data.shape[1], path), _pitch(stored.x, "x", data.shape[0], path)),
    )


def _pitch(scale: h5py.Dataset | None, axis: str, points: int, path: Path) -> float | None:
    """Distance in metres between the pixels along `axis`, from its dimension scale; None if it has none."""
    if scale is None:
        return None
    if scale.shape != (points,) or scale.dtype.kind not in "fiu":
        raise ScanFileError(
            f"axis {axis} of {path} has shape {scale.shape} and type {scale.dtype} for {points} pixels; write the file again"
        )
    return float((float(scale[points - 1]) - float(scale[0])) / (points - 1)) if points > 1 else None


def _read_note(group: h5py.Group, path: Path) -> dict[str, str | float]:
    metadata = find_object(group, "original_metadata", path)
    note: dict[str, str | float] = {}
    characters = 0
    for key in itertools.islice(metadata.attrs if metadata is not None else (), _KEYS_MAX):
        value = note[str(key)] = _note_value(_attribute(metadata, key, ""))
        characters += len(str(key)) + (len(value) if isinstance(value, str) else 0)
        if characters > _NOTE_MAX:
            raise ScanFileError(f"the note of {path} has more than {_NOTE_MAX} characters; give the scan as it was saved")
    return note


def _attribute(item: h5py.HLObject, key: str, default: object) -> object:
    """Attribute `key` if it is text or numbers, else `default`: reading a damaged type with h5py can crash the process."""
    if key not in item.attrs:
        return default
    stored = item.attrs.get_id(key)
    text = h5py.check_string_dtype(stored.dtype)
    is_plain = text is not None or stored.dtype.kind in "biufSU"
    few = text is None or text.length is not None or math.prod(stored.shape) <= _TEXTS_MAX
    return item.attrs[key] if is_plain and few and stored.get_storage_size() <= _ATTRIBUTE_MAX else default


def _note_value(value: object) -> str | float:
    """A finite number as float, anything else as text, because the wire carries no NaN."""
    if isinstance(value, int | float | np.integer | np.floating) and np.isfinite(value):
        return float(value)
    return _text(value)


def _text(value: object) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _other_layout(path: Path, what: str) -> ScanFileError:
    return ScanFileError(
        f"{path} is not laid out as {_MEASUREMENT}/Channel_N/NAME/NAME with the axes x (fast) and y (slow) ({what}); "
        "write each channel with pyNSID to its own Channel_N, or give an .ibw file"
    )
