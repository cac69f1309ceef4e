"""Lines of a scan that are offset or bad: what walls are looked for in, and what no patch may hold.

A scan is recorded line by line, so whatever changes between two lines (the tip, the feedback, the tuning of the resonance) shows
as a step common to a whole line, which an edge detector takes for a wall along the fast axis.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from scipy.ndimage import median_filter, uniform_filter1d

_MAD_TO_SIGMA = 1.4826
_SMOOTHED_PX = 9  # along the line, so that noise does not decide which of two lines is brighter
_DARK = 0.1  # of the range; below it, a ratio says more about noise than about gain
_LEAST_SIGMAS = 6.0  # where every line has an offset of its own, none stands out
_LEAST_AGREEMENT = 0.9
_LEAST_LIKENESS = 0.6


@dataclass(frozen=True, eq=False)
class LineArtifacts:
    """Pixels that are no picture of the surface.

    Parameters
    ----------
    mask
        Shape (rows, cols); True where the pixel must not be used.
    lines
        How many lines are flat (contact lost).
    spikes
        How many pixels outside those lines stand out alone.
    gain_lines
        How many lines lie beside a step of the gain.
    """

    mask: Bool[np.ndarray, "rows cols"]
    lines: int
    spikes: int
    gain_lines: int = 0


def level_lines(
    image: Float32[np.ndarray, "rows cols"],
    largest_step: float = 0.15,
    least_agreement: float = 0.7,
    reach_lines: int = 3,
    passes: int = 2,
) -> Float32[np.ndarray, "rows cols"]:
    """The image without the offsets of single lines from the lines around them.

    The offset of a line is the median of its difference from the median, pixel by pixel, of the lines around. It is taken off
    where most of the line's pixels agree on its sign. A median keeps edges: a stripe along the fast axis that is wider than
    `reach_lines` is left bit for bit as it is, and so is a narrower one that stands out by more than `largest_step`.

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    largest_step
        Larger offsets are left alone: they are structure, or the line is bad.
    least_agreement
        Share of a line's pixels whose difference has the sign of the offset.
    reach_lines
        How many lines before and after are compared with.
    passes
        How often; the lines around are better known once they are levelled themselves.
    """
    levelled = image
    for _ in range(passes):
        difference = levelled - median_filter(levelled, size=(2 * reach_lines + 1, 1), mode="nearest")
        offset = np.median(difference, axis=1)
        agreement = np.mean(difference * np.sign(offset)[:, None] > 0, axis=1)
        offset[(abs(offset) > largest_step) | (agreement < least_agreement)] = 0.0
        levelled = levelled - offset[:, None]
    return levelled


def find_glitches(
    image: Float32[np.ndarray, "rows cols"],
    flat_below: float = 0.1,
    spike_above: float = 12.0,
    gain_step_above: float = 1.35,
    least_line_px: int = 16,
) -> LineArtifacts:
    """Lines on which the tip saw nothing, lines beside a step of the gain, and pixels that stand out alone.

    From one line to the next, a step of the gain (the resonance was lost or found again) makes nearly all pixels brighter, or
    darker, by one factor, while the structure along the line stays. A stripe along the fast axis has an edge as sharp, but no
    structure in common across it. Both lines of a step are bad, so that no patch holds two gains.

    Parameters
    ----------
    image
        Shape (rows, cols), in any unit; NaN is ignored.
    flat_below
        A line is flat if its spread (95th less 5th percentile) is less than this share of the median line's.
    spike_above
        A pixel is a spike if it lies this many σ (from the median absolute deviation) outside the range of its eight
        neighbours' and the lines' noise.
    gain_step_above
        The median ratio of two lines, or its inverse, at a step of the gain.
    least_line_px
        Images narrower than this are not searched.
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


def flat_lines(image: Float32[np.ndarray, "rows cols"], below: float = 0.1) -> Bool[np.ndarray, " rows"]:
    """True for lines whose spread (95th less 5th percentile) is less than this share of the median line's; NaN is never less."""
    low, high = np.percentile(image, [5, 95], axis=1)
    spread = high - low
    return np.asarray(spread < below * np.nanmedian(spread))


def _beside_gain_steps(image: np.ndarray, flat: np.ndarray, least_ratio: float) -> np.ndarray:
    """Shape (rows,): True for lines before and after a step of the gain."""
    low, high = np.percentile(image, [1, 95])
    if not high > low:
        return np.zeros(len(image), dtype=np.bool_)
    level = np.log(uniform_filter1d(np.clip((image - low) / (high - low), 0, 1), _SMOOTHED_PX, axis=1) + _DARK)
    step = np.diff(level, axis=0)
    ratio = np.median(step, axis=1)
    agreement = np.mean(step * np.sign(ratio)[:, None] > 0, axis=1)
    level -= level.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(level, axis=1)
    likeness = (level[1:] * level[:-1]).sum(axis=1) / np.maximum(norm[1:] * norm[:-1], np.finfo(np.float32).tiny)
    line_noise = _MAD_TO_SIGMA * np.median(abs(ratio))
    at_step = abs(ratio) > max(np.log(least_ratio), _LEAST_SIGMAS * line_noise)
    at_step &= (agreement >= _LEAST_AGREEMENT) & (likeness >= _LEAST_LIKENESS)
    at_step &= ~(flat[1:] | flat[:-1])
    return np.asarray(np.append(at_step, False) | np.append(False, at_step))


def _beyond_neighbours(image: np.ndarray) -> np.ndarray:
    """By how much each pixel exceeds the largest, or falls below the smallest, of its eight neighbours; 0 if it does not."""
    padded = np.pad(image, 1, mode="reflect")
    rows, cols = image.shape
    steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
    low, high = np.full_like(image, np.inf), np.full_like(image, -np.inf)
    for r, c in steps:
        neighbour = padded[1 + r : 1 + r + rows, 1 + c : 1 + c + cols]
        np.minimum(low, neighbour, out=low)
        np.maximum(high, neighbour, out=high)
    return np.asarray(np.maximum(0, np.maximum(image - high, low - image)))
