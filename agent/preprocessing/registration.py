"""How far the picture has moved from one frame to the next of the same place."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage
from skimage.registration import phase_cross_correlation

_FINE = 20  # parts of a pixel
_NOISE_PX = 1.0  # single pixels say nothing of where things are
_LEVEL_PX = 16.0  # what varies slower is gain and tilt
_BORDER_PX = 8  # the smoothing makes up what lies beyond it
_LEAST_PX = 48


@dataclass(frozen=True)
class Registration:
    """Where the features of one frame are in the next.

    Parameters
    ----------
    moved_rc
        By how many pixels (rows, columns) they have moved.
    agreement
        Correlation of the two frames where they overlap, once that is taken back.
    """

    moved_rc: tuple[float, float]
    agreement: float


def register(earlier: Float32[np.ndarray, "rows cols"], later: Float32[np.ndarray, "rows cols"]) -> Registration | None:
    """How far the features of `earlier` have moved in `later`; None if one of them shows nothing, or they are too small.

    The maximum of the cross-correlation, to a twentieth of a pixel (Guizar-Sicairos et al., Opt. Lett. 33 (2008) 156), of the
    frames without noise and slow variation. Two frames of different places have one too: `agreement` tells.

    Parameters
    ----------
    earlier, later
        Of one shape, in one unit; NaN where nothing was recorded.
    """
    first, second = features(earlier), features(later)
    if first is None or second is None:
        return None
    # Twice, since the window would draw a large movement towards zero.
    coarse = np.rint(_movement(first, second))
    moved = coarse + _movement(ndimage.shift(first, coarse, order=0), second)
    border = [min(_BORDER_PX + int(np.ceil(abs(d))), n // 2 - 2) for d, n in zip(moved, first.shape, strict=True)]
    inside = tuple(slice(b, -b) for b in border)
    back = ndimage.shift(first, moved, order=1)[inside]
    agreement = float(np.corrcoef(back.ravel(), second[inside].ravel())[0, 1])
    return Registration((float(moved[0]), float(moved[1])), agreement if np.isfinite(agreement) else 0.0)


def _movement(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " 2"]:
    window = np.hanning(first.shape[0])[:, None] * np.hanning(first.shape[1])[None, :]
    moved, _, _ = phase_cross_correlation(second * window, first * window, upsample_factor=_FINE, normalization=None)
    return np.asarray(moved)


def features(image: np.ndarray) -> Float[np.ndarray, "rows cols"] | None:
    """What frames are compared by: the image without noise and slow variation; None if it shows nothing or is too small."""
    known = np.isfinite(image)
    if min(image.shape) < _LEAST_PX or not known.any():
        return None
    low, high = np.percentile(image[known], [1, 95])
    if not high > low:
        return None
    scaled = np.clip((np.where(known, image, np.median(image[known])).astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return np.asarray(ndimage.gaussian_filter(scaled, _NOISE_PX) - ndimage.gaussian_filter(scaled, _LEVEL_PX))
