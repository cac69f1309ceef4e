"""Normalised image with a mask of valid pixels: the 1st to 95th percentile becomes [0, 1], as in the paper."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import distance_transform_edt

from agent.errors import UnusableScanError
from agent.preprocessing.line_artifacts import find_line_artifacts

_MIN_VALID_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class NormalisedImage:
    """An image in [0, 1].

    Parameters
    ----------
    values
        Shape (rows, cols); an invalid pixel has the value of the nearest valid one.
    valid
        Shape (rows, cols); False where the value was filled in.
    low, high
        Physical values that became 0 and 1.
    masked
        Reason -> number of invalid lines or pixels; a reason that did not occur is absent.
    """

    values: Float32[np.ndarray, "rows cols"]
    valid: Bool[np.ndarray, "rows cols"]
    low: float
    high: float
    masked: dict[str, int] = field(default_factory=dict)


def normalise(
    image: Float32[np.ndarray, "rows cols"], low_percentile: float = 1.0, high_percentile: float = 95.0
) -> NormalisedImage:
    """The image scaled to [0, 1] between two percentiles; values outside them are clipped.

    Raises
    ------
    UnusableScanError
        If fewer than half of the pixels are finite, or the image is constant between the percentiles.
    """
    valid = np.isfinite(image)
    artifacts = find_line_artifacts(image)
    masked = {
        "pixels not recorded": int((~valid).sum()),
        "flat lines (contact lost)": artifacts.flat_lines,
        "lines at a step of the gain": artifacts.gain_lines,
        "spikes": artifacts.spikes,
    }
    # If nearly all lines are flat, the errors below explain more than "no pixels" would.
    if (valid & ~artifacts.mask).mean() >= _MIN_VALID_SHARE:
        valid &= ~artifacts.mask
    else:
        masked = {"pixels not recorded": masked["pixels not recorded"]}
    share = float(valid.mean())
    if share < _MIN_VALID_SHARE:
        raise UnusableScanError(
            f"only {share:.0%} of the image's pixels hold a number, at least {_MIN_VALID_SHARE:.0%} are needed; rescan"
        )
    low, high = np.percentile(image[valid], [low_percentile, high_percentile])
    if not high > low:
        raise UnusableScanError(
            f"the image is constant ({low:.4g}) between its {low_percentile:g}th and {high_percentile:g}th percentile; "
            "there is nothing to tell apart, choose another channel or rescan"
        )
    filled = image
    if not valid.all():
        nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
        filled = image[tuple(nearest)]
    scaled = filled.astype(np.float64)
    scaled -= low
    scaled /= high - low
    np.clip(scaled, 0.0, 1.0, out=scaled)
    return NormalisedImage(scaled.astype(np.float32), valid, float(low), float(high), {why: n for why, n in masked.items() if n})
