"""Registration of two scans: the shift that makes the later one match the earlier one."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from instrument_adapters.scan import Scan

_UPSAMPLING = 20  # steps per pixel
_NOISE_PX = 1.0  # single pixels are mostly noise
_BACKGROUND_PX = 16.0  # slower variation is gain and tilt
_BORDER_PX = 8  # reached by the padding of the Gaussian filters
MIN_SIDE_PX = 48


@dataclass(frozen=True)
class Registration:
    """Shift of the later of two images against the earlier one.

    Parameters
    ----------
    shift_rc
        Shift of the features in pixels (rows, columns), from the earlier image to the later one.
    agreement
        Correlation of the two images in their overlap after the shift is undone.
    """

    shift_rc: tuple[float, float]
    agreement: float


@dataclass(frozen=True, eq=False)
class ScanPair:
    """A scan and the previous scan of the sample, registered when first needed and only once.

    Parameters
    ----------
    earlier
        The previous scan; None for the first scan of a sample.
    scan
        The new scan.
    channel
        Full name of the channel in which the scans are compared.
    """

    earlier: Scan | None
    scan: Scan
    channel: str

    @cached_property
    def registration(self) -> Registration | None:
        """Shift from the earlier scan to the new one; None if the frames differ, the channel is missing or it fails."""
        earlier = self.earlier
        if earlier is None or earlier.frame != self.scan.frame or self.channel not in earlier.channels:
            return None
        return register(earlier.channels[self.channel], self.scan.channels[self.channel])


def register(earlier: Float32[np.ndarray, "rows cols"], later: Float32[np.ndarray, "rows cols"]) -> Registration | None:
    """Shift of the features from `earlier` to `later`; None if one of the images has no contrast or is too small.

    The shift maximises the cross-correlation, to a twentieth of a pixel (Guizar-Sicairos et al., Opt. Lett. 33 (2008) 156), of
    the band-pass filtered images. Images of different places have a maximum too; only `agreement` tells them apart.

    Parameters
    ----------
    earlier, later
        Shape (rows, cols), the same for both, in the same unit; NaN where nothing was recorded.
    """
    first, second = band_pass(earlier), band_pass(later)
    if first is None or second is None:
        return None
    # In two passes, because the window function biases a large shift towards zero.
    coarse = np.rint(_windowed_shift(first, second))
    shift = coarse + _windowed_shift(ndimage.shift(first, coarse, order=0), second)
    border = [min(_BORDER_PX + int(np.ceil(abs(d))), n // 2 - 2) for d, n in zip(shift, first.shape, strict=True)]
    inside = tuple(slice(b, -b) for b in border)
    shifted = ndimage.shift(first, shift, order=1)[inside]
    agreement = float(np.corrcoef(shifted.ravel(), second[inside].ravel())[0, 1])
    return Registration((float(shift[0]), float(shift[1])), agreement if np.isfinite(agreement) else 0.0)


def band_pass(image: np.ndarray) -> Float[np.ndarray, "rows cols"] | None:
    """The image without pixel noise and slow variation, for comparisons; None if it has no contrast or is too small."""
    known = np.isfinite(image)
    if min(image.shape) < MIN_SIDE_PX or not known.any():
        return None
    low, high = np.percentile(image[known], [1, 95])
    if not high > low:
        return None
    scaled = np.clip((np.where(known, image, np.median(image[known])).astype(np.float64) - low) / (high - low), 0.0, 1.0)
    return np.asarray(ndimage.gaussian_filter(scaled, _NOISE_PX) - ndimage.gaussian_filter(scaled, _BACKGROUND_PX))


def _windowed_shift(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " 2"]:
    window = np.hanning(first.shape[0])[:, None] * np.hanning(first.shape[1])[None, :]
    shift, _, _ = phase_cross_correlation(second * window, first * window, upsample_factor=_UPSAMPLING, normalization=None)
    return np.asarray(shift)
