"""Images resampled to square pixels, where a scan has fewer lines than its size asks for, or fewer points in a line.

Patches, key points, neighbourhoods and filters are counted in pixels, so a pixel must be as long as it is wide. The coarse axis
is interpolated linearly to the pitch of the fine one. Averaging along the fine axis instead leaves too few key points, and
windows of another physical size than in a full scan (docs/decisions/0043). Lines are judged and levelled as they were recorded,
before anything is interpolated.
"""

import math

import numpy as np
from jaxtyping import Bool, Float, Float32

from agent.errors import UnusableScanError
from instrument_adapters.geometry import Frame

TOLERATED = 1.1  # ratio of the two pitches up to which pixels count as square
MOST_UNEQUAL = 8.5  # beyond it, a window of 15 px holds less than two recorded lines


def square_frame(frame: Frame) -> Frame:
    """The same rectangle in square pixels of the finer pitch; the same frame if its pixels are square.

    Raises
    ------
    UnusableScanError
        If the pitches differ too much for the pixels between the lines to be interpolated.
    """
    slow_m, fast_m = frame.pitch_m
    fine_m, ratio = min(slow_m, fast_m), max(slow_m, fast_m) / min(slow_m, fast_m)
    if ratio <= TOLERATED:
        return frame
    if ratio > MOST_UNEQUAL:
        coarse_m, what = (frame.size_slow_m, "lines") if slow_m > fast_m else (frame.size_fast_m, "points in a line")
        raise UnusableScanError(
            f"a pixel of {fast_m * 1e9:.3g} x {slow_m * 1e9:.3g} nm is {ratio:.3g} times longer than wide, at most "
            f"{MOST_UNEQUAL:g} times can be analysed; record at least {math.ceil(coarse_m / (fine_m * MOST_UNEQUAL)) + 1} {what}"
        )
    return frame.model_copy(update={"rows": _count(frame.size_slow_m, fine_m), "cols": _count(frame.size_fast_m, fine_m)})


def resampled(
    images: Float32[np.ndarray, "C rows cols"], frame: Frame, square: Frame
) -> Float32[np.ndarray, "C square_rows square_cols"]:
    """Images of `frame` at the pixels of `square`, interpolated linearly along the axis that differs."""
    for axis, (have, want) in enumerate(((frame.rows, square.rows), (frame.cols, square.cols)), start=1):
        if have != want:
            before, after, share = _between(have, want)
            share = share.reshape((-1, 1) if axis == 1 else (1, -1))
            low, high = images.take(before, axis=axis), images.take(after, axis=axis)
            images = (low + (high - low) * share).astype(np.float32)
    return images


def resampled_mask(
    mask: Bool[np.ndarray, "rows cols"], frame: Frame, square: Frame
) -> Bool[np.ndarray, "square_rows square_cols"]:
    """True where `mask` is true in all pixels of `frame` that the pixel of `square` is interpolated from."""
    for axis, (have, want) in enumerate(((frame.rows, square.rows), (frame.cols, square.cols))):
        if have != want:
            before, after, _ = _between(have, want)
            mask = mask.take(before, axis=axis) & mask.take(after, axis=axis)
    return mask


def _count(size_m: float, pitch_m: float) -> int:
    return round(size_m / pitch_m) + 1


def _between(have: int, want: int) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, " want"]]:
    """For each of `want` positions over `have` lines: the lines before and after it, and its distance from the former."""
    at = np.arange(want) * ((have - 1) / (want - 1))
    nearest = np.rint(at)
    at = np.where(np.abs(at - nearest) < 1e-9, nearest, at)  # rounding must not make a recorded line depend on its neighbour
    before, after = np.floor(at).astype(np.int64), np.ceil(at).astype(np.int64)
    return before, after, (at - before).astype(np.float32)
