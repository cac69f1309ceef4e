"""Hysteresis loops from the files of an MFP-3D's spectroscopy panel, which contain no position."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float

from instrument_adapters.errors import ScanFileError
from instrument_adapters.formats.igor import check_header
from instrument_adapters.formats.source import read_bytes

_NEEDED = ("Bias", "Amp", "Phase")
_PICO = 1e12
# WaveMetrics Technical Note 003: two shorts, then the sizes of wave, formula, note, data units, dimension units and labels.
_SIZES = "4x4i4i4i"
_HEADERS, _BIN_HEADER, _TYPE_AT, _LABEL = 384, 64, 80, 32
_FLOATS = {2: "f4", 4: "f8"}
_BYTES_MAX = 128 << 20  # a million steps of sixteen columns in float64


def read_loop(path: Path, phase_zero_deg: float = 0.0) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """(bias in volts, signed response in picometres) of each step, in the order of recording.

    The columns are found by their labels Bias, Amp (metres) and Phase (degrees), as given in a public description of such a
    file; response = amplitude · cos(phase - phase_zero). A real file holds the complete time trace, on and off field, which is
    returned as it is.

    Raises
    ------
    ScanFileError
        If the file is missing, damaged, larger than 128 MiB, or lacks one of these columns.
    """
    return parse_loop(read_bytes(path, _BYTES_MAX), path, phase_zero_deg)


def parse_loop(
    raw: bytes, path: Path, phase_zero_deg: float = 0.0
) -> tuple[Float[np.ndarray, " steps"], Float[np.ndarray, " steps"]]:
    """The loop in the bytes of such a file; see `read_loop`. `path` names it in messages."""
    columns = _columns(raw, path)
    if not set(_NEEDED) <= set(columns):
        raise ScanFileError(
            f"{path} has {', '.join(columns) or 'no labelled columns'}, but a loop needs {', '.join(_NEEDED)}; "
            "save it with the spectroscopy panel"
        )
    with np.errstate(all="ignore"):  # damaged numbers become infinite or NaN
        bias, amplitude, phase = (columns[name].astype(float) for name in _NEEDED)
        return bias, _PICO * amplitude * np.cos(np.deg2rad(phase - phase_zero_deg))


def _columns(raw: bytes, path: Path) -> dict[str, np.ndarray]:
    """Label -> column of a wave of shape (steps, columns); empty for any other wave."""
    shape = check_header(raw, path).shape
    order = "<" if raw[:2] == b"\x05\x00" else ">"
    (kind,) = struct.unpack_from(f"{order}h", raw, _TYPE_AT)
    if len(shape) != 2 or kind not in _FLOATS:
        return {}
    wave, *texts = struct.unpack_from(order + _SIZES, raw)
    data = np.frombuffer(raw, order + _FLOATS[kind], shape[0] * shape[1], _HEADERS).reshape(shape, order="F")
    start = _BIN_HEADER + wave + sum(texts[:8])
    block = raw[start : start + texts[8]]
    # Fields of 32 bytes; the first one names the axis itself.
    fields = [block[at : at + _LABEL].partition(b"\0")[0].decode("utf-8", "replace") for at in range(_LABEL, len(block), _LABEL)]
    return dict(zip(fields, data.T, strict=False))
