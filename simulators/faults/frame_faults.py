"""What faults do to a recorded frame: pure functions from a scan to what it looks like once it is saved."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from instrument_adapters.scan import Scan
from simulators.faults.catalogue import Value

Images = dict[str, np.ndarray]


def nan_lines(scan: Scan, rows: slice) -> Scan:
    """All channels without the rows `rows`."""

    def blank(image: np.ndarray) -> np.ndarray:
        left = image.copy()
        left[rows] = np.nan
        return left

    return _with(scan, {name: blank(image) for name, image in scan.channels.items()})


def wrong_units(scan: Scan, factor: float) -> Scan:
    """Lengths `factor` times as large, under the unit that they had."""
    return _with(scan, {n: image * np.float32(factor) for n, image in scan.channels.items() if scan.units.get(n) == "m"})


def swapped_labels(scan: Scan) -> Scan:
    """The first amplitude under the name (and unit) of the first phase, and the other way round."""
    amplitude, phase = scan.find_channel("Amplitude1"), scan.find_channel("Phase1")
    return _with(scan, {amplitude: scan.channels[phase], phase: scan.channels[amplitude]})


def transposed_axes(scan: Scan) -> Scan:
    """Rows for columns, under a geometry that says nothing of it."""
    frame = scan.frame.model_copy(update={"rows": scan.frame.cols, "cols": scan.frame.rows})
    turned = {name: np.ascontiguousarray(image.T) for name, image in scan.channels.items()}
    return replace(scan, channels=turned, frame=frame)


def saturation(scan: Scan, share: float) -> Scan:
    """Amplitudes that stop where only `share` of their pixels lie above."""
    images = {n: i for n, i in scan.channels.items() if n.startswith("Amplitude")}
    return _with(scan, {n: np.minimum(i, np.float32(np.nanquantile(i, 1 - share))) for n, i in images.items()})


def phase_wrap_offset(scan: Scan, offset_deg: float) -> Scan:
    """Phases with an offset, wrapped into [-90, 270)."""

    def turned(image: np.ndarray) -> np.ndarray:
        wrapped = (np.mod(image.astype(float) + offset_deg + 90.0, 360.0) - 90.0).astype(np.float32)
        return np.where(wrapped >= 270.0, np.float32(-90.0), wrapped)

    return _with(scan, {n: turned(image) for n, image in scan.channels.items() if scan.units.get(n) == "deg"})


def alteration(name: str, parameters: Mapping[str, Value], rows: slice) -> Callable[[Scan], Scan] | None:
    """What the fault `name` does to a frame once it is recorded; None if nothing.

    Parameters
    ----------
    name, parameters
        Of the fault.
    rows
        Rows of the image that it touches.
    """
    match name:
        case "nan_lines":
            return partial(nan_lines, rows=rows)
        case "wrong_units":
            return partial(wrong_units, factor=float(parameters["factor"]))
        case "swapped_labels":
            return swapped_labels
        case "transposed_axes":
            return transposed_axes
        case "saturation":
            return partial(saturation, share=float(parameters["share"]))
        case "phase_wrap_offset":
            return partial(phase_wrap_offset, offset_deg=float(parameters["offset_deg"]))
    return None


def _with(scan: Scan, images: Images) -> Scan:
    return replace(scan, channels={**scan.channels, **images})
