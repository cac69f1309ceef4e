"""Effects of faults on a recorded frame: pure functions from the recorded scan to the saved one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from instrument_adapters.scan import Scan
from simulators.faults.catalogue import Value

Images = dict[str, np.ndarray]


def nan_lines(scan: Scan, rows: slice) -> Scan:
    """The scan with NaN in `rows` of all channels."""

    def blank(image: np.ndarray) -> np.ndarray:
        blanked = image.copy()
        blanked[rows] = np.nan
        return blanked

    return _with(scan, {name: blank(image) for name, image in scan.channels.items()})


def wrong_units(scan: Scan, factor: float) -> Scan:
    """The scan with lengths multiplied by `factor` but with unchanged units."""
    return _with(scan, {n: image * np.float32(factor) for n, image in scan.channels.items() if scan.units.get(n) == "m"})


def swapped_labels(scan: Scan) -> Scan:
    """The scan with the images of the first amplitude and the first phase exchanged; names and units stay."""
    amplitude, phase = scan.find_channel("Amplitude1"), scan.find_channel("Phase1")
    return _with(scan, {amplitude: scan.channels[phase], phase: scan.channels[amplitude]})


def transposed_axes(scan: Scan) -> Scan:
    """The scan with rows and columns of all images exchanged, but with unchanged geometry."""
    frame = scan.frame.model_copy(update={"rows": scan.frame.cols, "cols": scan.frame.rows})
    turned = {name: np.ascontiguousarray(image.T) for name, image in scan.channels.items()}
    return replace(scan, channels=turned, frame=frame)


def saturation(scan: Scan, share: float) -> Scan:
    """The scan with amplitudes clipped at the value that a `share` of their pixels exceeds."""
    images = {n: i for n, i in scan.channels.items() if n.startswith("Amplitude")}
    return _with(scan, {n: np.minimum(i, np.float32(np.nanquantile(i, 1 - share))) for n, i in images.items()})


def phase_wrap_offset(scan: Scan, offset_deg: float) -> Scan:
    """The scan with an offset added to the phases, wrapped into [-90, 270)."""

    def turned(image: np.ndarray) -> np.ndarray:
        wrapped = (np.mod(image.astype(float) + offset_deg + 90.0, 360.0) - 90.0).astype(np.float32)
        return np.where(wrapped >= 270.0, np.float32(-90.0), wrapped)

    return _with(scan, {n: turned(image) for n, image in scan.channels.items() if scan.units.get(n) == "deg"})


def frame_alteration(name: str, parameters: Mapping[str, Value], rows: slice) -> Callable[[Scan], Scan] | None:
    """Function that applies the fault `name` to a recorded frame; None if the fault does not alter frames.

    Parameters
    ----------
    name, parameters
        Name and parameters of the fault.
    rows
        Affected rows of the image.
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
