"""Bad lines of a scan, offsets of single lines, and spikes. Everything that declares a line bad from one image is here.

A scan is recorded line by line, so whatever changes between two lines (the tip, the feedback, the tuning of the resonance) shows
as a step common to a whole line, which an edge detector takes for a wall along the fast axis.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import median_filter, uniform_filter1d

_MAD_TO_SIGMA = 1.4826
_MIN_SIDE_PX = 16  # the spread of shorter lines is unreliable
_FLAT = 0.1  # spread of a flat line, relative to that of the median line
_DARK = 0.25  # amplitude without contact, relative to the bright pixels of the median line
_STEADY = 1e-3  # spread of the frequency along a line without lock, relative to that of the median line
_MIN_SPREAD_HZ = 1.0
_SMOOTHING_PX = 9  # along the line, so that noise does not decide which of two lines is brighter
_RATIO_FLOOR = 0.1  # of the range, added before the logarithm; without it the ratio of two dark lines is mostly noise
_MIN_SIGMAS = 6.0  # if every line has an offset of its own, no step is significant
_MIN_AGREEMENT = 0.9
_MIN_CORRELATION = 0.6


@dataclass(frozen=True, eq=False)
class LineArtifacts:
    """Invalid pixels: lost contact, gain steps, spikes.

    Parameters
    ----------
    mask
        Shape (rows, cols); True where the pixel must not be used.
    flat_lines
        Number of flat lines (contact lost).
    spikes
        Number of pixels outside the bad lines that stand out from all their neighbours.
    gain_lines
        Number of lines on either side of a gain step.
    """

    mask: Bool[np.ndarray, "rows cols"]
    flat_lines: int
    spikes: int
    gain_lines: int = 0


def level_lines(
    image: Float32[np.ndarray, "rows cols"],
    largest_step: float = 0.15,
    least_agreement: float = 0.7,
    reach_lines: int = 3,
    passes: int = 2,
) -> Float32[np.ndarray, "rows cols"]:
    """The image with the offsets of single lines removed.

    The offset of a line is the median over its pixels of the difference from the median of the neighbouring lines. It is
    subtracted if most pixels of the line agree on its sign. A median preserves edges: a stripe along the fast axis that is wider
    than `reach_lines` is left bit for bit as it is, and so is a narrower one that stands out by more than `largest_step`.

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    largest_step
        Largest offset that is removed; larger ones are structure, or the line is bad.
    least_agreement
        Smallest share of a line's pixels whose difference has the sign of the offset.
    reach_lines
        Number of neighbouring lines on each side that a line is compared with.
    passes
        Number of repetitions; each compares with neighbours that are levelled better.
    """
    levelled = image
    for _ in range(passes):
        difference = levelled - median_filter(levelled, size=(2 * reach_lines + 1, 1), mode="nearest")
        offset = np.median(difference, axis=1)
        agreement = np.mean(difference * np.sign(offset)[:, None] > 0, axis=1)
        offset[(abs(offset) > largest_step) | (agreement < least_agreement)] = 0.0
        levelled = levelled - offset[:, None]
    return levelled


def find_line_artifacts(
    image: Float32[np.ndarray, "rows cols"],
    flat_below: float = _FLAT,
    spike_above: float = 12.0,
    gain_step_above: float = 1.35,
    least_line_px: int = _MIN_SIDE_PX,
) -> LineArtifacts:
    """Flat lines, lines on either side of a gain step, and spikes.

    At a gain step (the resonance was lost or found again) nearly all pixels of a line become brighter, or darker, by the same
    factor, while the structure along the line stays. A stripe along the fast axis has an edge as sharp, but the structure on its
    two sides differs. Both lines of a step are bad, so that no patch contains two gains.

    Parameters
    ----------
    image
        Shape (rows, cols), in any unit; NaN is ignored.
    flat_below
        Spread of a flat line; see `flat_lines`.
    spike_above
        Distance of a spike from the range of its eight neighbours, in σ of the noise along lines (from the median absolute
        difference of neighbouring pixels).
    gain_step_above
        Smallest median ratio of two lines, or its inverse, at a gain step.
    least_line_px
        Smallest side of an image that is searched.
    """
    mask = np.zeros(image.shape, dtype=np.bool_)
    if min(image.shape) < least_line_px or not np.isfinite(image).any():
        return LineArtifacts(mask, 0, 0)
    measured = np.where(np.isfinite(image), image, np.float32(np.nanmedian(image)))
    flat = flat_lines(measured, flat_below) & np.isfinite(image).any(axis=1)
    gain = _beside_gain_steps(measured, flat, gain_step_above)
    mask[flat | gain] = True
    excess = _beyond_neighbours(measured)
    noise = _MAD_TO_SIGMA * np.median(abs(np.diff(measured[~flat], axis=1))) / np.sqrt(2)
    spikes = (excess > spike_above * noise) & ~mask & np.isfinite(image)
    return LineArtifacts(mask | spikes, int(flat.sum()), int(spikes.sum()), int(gain.sum()))


def flat_lines(image: Float32[np.ndarray, "rows cols"], below: float = _FLAT) -> Bool[np.ndarray, " rows"]:
    """True for lines with a spread (95th less 5th percentile) below this share of the median spread; never for lines with NaN."""
    low, high = np.percentile(image, [5, 95], axis=1)
    spread = high - low
    return np.asarray(spread < below * np.nanmedian(spread))


def lines_without_contact(amplitude: Float32[np.ndarray, "rows cols"]) -> Bool[np.ndarray, " rows"]:
    """True for lines that are flat and dark, as they are when the tip has lost contact.

    A featureless part of the surface is flat too, but not dark. Lines with NaN are never flagged, nor are
    lines of an image with a side below 16 px.
    """
    complete = amplitude[np.isfinite(amplitude).all(axis=1)]
    if min(amplitude.shape) < _MIN_SIDE_PX or not len(complete):
        return np.zeros(len(amplitude), np.bool_)
    bright = np.median(np.percentile(complete, 95, axis=1))
    return np.asarray(flat_lines(amplitude) & (np.median(amplitude, axis=1) < _DARK * bright))


def lines_without_lock(frequency_Hz: Float32[np.ndarray, "rows cols"]) -> Bool[np.ndarray, " rows"]:
    """True for lines along which the recorded frequency is constant: the tracker stops where it has lost the resonance."""
    spread = np.ptp(frequency_Hz, axis=1)  # NaN for a line with NaN, which then compares as False
    usual = float(np.nanmedian(spread)) if np.isfinite(spread).any() else 0.0
    if usual < _MIN_SPREAD_HZ:
        return np.zeros(len(frequency_Hz), np.bool_)
    return np.asarray(spread < _STEADY * usual)


def lines_not_recorded(image: Float32[np.ndarray, "rows cols"]) -> Bool[np.ndarray, " rows"]:
    """True for lines that contain NaN or are zero throughout."""
    return np.asarray(~np.isfinite(image).all(axis=1) | (image == 0).all(axis=1))


def _beside_gain_steps(image: np.ndarray, flat: np.ndarray, least_ratio: float) -> np.ndarray:
    """Shape (rows,): True for the lines before and after each gain step."""
    low, high = np.percentile(image, [1, 95])
    if not high > low:
        return np.zeros(len(image), dtype=np.bool_)
    level = np.log(uniform_filter1d(np.clip((image - low) / (high - low), 0, 1), _SMOOTHING_PX, axis=1) + _RATIO_FLOOR)
    step = np.diff(level, axis=0)
    ratio = np.median(step, axis=1)
    agreement = np.mean(step * np.sign(ratio)[:, None] > 0, axis=1)
    level -= level.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(level, axis=1)
    correlation = (level[1:] * level[:-1]).sum(axis=1) / np.maximum(norm[1:] * norm[:-1], np.finfo(np.float32).tiny)
    line_noise = _MAD_TO_SIGMA * np.median(abs(ratio))
    at_step = abs(ratio) > max(np.log(least_ratio), _MIN_SIGMAS * line_noise)
    at_step &= (agreement >= _MIN_AGREEMENT) & (correlation >= _MIN_CORRELATION)
    at_step &= ~(flat[1:] | flat[:-1])
    return np.asarray(np.append(at_step, False) | np.append(False, at_step))


def _beyond_neighbours(image: np.ndarray) -> np.ndarray:
    """Amount by which each pixel lies above the largest, or below the smallest, of its eight neighbours; 0 if between them."""
    padded = np.pad(image, 1, mode="reflect")
    rows, cols = image.shape
    steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
    low, high = np.full_like(image, np.inf), np.full_like(image, -np.inf)
    for r, c in steps:
        neighbour = padded[1 + r : 1 + r + rows, 1 + c : 1 + c + cols]
        np.minimum(low, neighbour, out=low)
        np.maximum(high, neighbour, out=high)
    return np.asarray(np.maximum(0, np.maximum(image - high, low - image)))
