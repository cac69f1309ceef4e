"""Wild pixels: single values far outside the range of a channel, and single pixels without a number.

A spike of the electronics, a dropped sample or a fill value says nothing about the surface, but one of them moves a mean, a
variance or a spectrum of the whole scan. They are therefore replaced before anything is computed, and counted in the decision.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

from instrument_adapters.scan import Scan

_FILL_VALUE = 1e15  # no quantity of a microscope in SI units is as large; fill values such as -1e30 are
_FAR = 6.0  # distance from the median, in ranges from the 1st to the 99th percentile; in recorded scans at most 3.6
_TURN = {"deg": 360.0, "rad": 6.3}  # a phase within a few turns is no exception, however narrow the range of the others is
_LARGEST_GROUP = 4  # pixels that touch; a feature of the surface extends over more, because the tip is blunt
_REACH_PX = 2  # neighbours of the largest group that is not touched by others
_MOST = 0.01  # share of pixels; if there are more, they are not exceptions
_TOUCHING = np.ones((3, 3), np.bool_)


def without_wild_pixels(scan: Scan) -> tuple[Scan, dict[str, int]]:
    """The scan with its wild pixels replaced by the median of their neighbours, and their number by channel.

    Infinities and fill values become NaN, which means not recorded; groups of these larger than a few pixels stay NaN. A scan in
    which nothing changes is returned as it is.
    """
    channels, counts = {}, {}
    for name, image in scan.channels.items():
        known = _recorded(image)
        wild = wild_pixels(known, _TURN.get(scan.units.get(name, ""), 0.0))
        if known is not image or wild.any():
            channels[name] = _filled(known, wild)
        if wild.any():
            counts[name] = int(wild.sum())
    return (replace(scan, channels={**scan.channels, **channels}), counts) if channels else (scan, {})


def _recorded(image: Float32[np.ndarray, "rows cols"]) -> Float32[np.ndarray, "rows cols"]:
    """The image with NaN in place of infinities and fill values."""
    unreal = ~(np.abs(image) < _FILL_VALUE) & ~np.isnan(image)
    return np.where(unreal, np.float32(np.nan), image) if unreal.any() else image


def wild_pixels(image: Float32[np.ndarray, "rows cols"], least_range: float = 0.0) -> Bool[np.ndarray, "rows cols"]:
    """True for pixels in small groups that are far outside the range of the others, or hold no number.

    Parameters
    ----------
    image
        Shape (rows, cols), in any unit; NaN where nothing was recorded.
    least_range
        Range of the other pixels that is assumed if theirs is smaller, in the unit of the image.
    """
    known = np.isfinite(image)
    out = ~known
    if known.any():
        low, middle, high = np.percentile(image[known], [1, 50, 99])
        spread = max(float(high - low), least_range)
        if spread > 0:
            out |= np.abs(np.where(known, image, middle) - middle) > _FAR * spread
    if not out.any():
        return np.asarray(out)
    groups, _ = ndimage.label(out, _TOUCHING)
    small = np.bincount(groups.ravel()) <= _LARGEST_GROUP
    wild = out & small[groups]
    return wild if wild.mean() <= _MOST else np.zeros_like(wild)


def _filled(image: Float32[np.ndarray, "rows cols"], wild: Bool[np.ndarray, "rows cols"]) -> Float32[np.ndarray, "rows cols"]:
    """The image with the median of the other pixels within two pixels at each wild one."""
    filled, usable = image.copy(), np.where(wild, np.float32(np.nan), image)
    for row, col in np.argwhere(wild):
        around = usable[max(row - _REACH_PX, 0) : row + _REACH_PX + 1, max(col - _REACH_PX, 0) : col + _REACH_PX + 1]
        known = around[np.isfinite(around)]
        filled[row, col] = np.median(known) if len(known) else np.nan
    return filled
