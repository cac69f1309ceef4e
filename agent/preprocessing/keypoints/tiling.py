"""Detectors and filters applied to a large image part by part, so that their memory does not grow with the image."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Float32

Detector = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def detect_in_tiles(
    image: Float32[np.ndarray, "rows cols"], detect: Detector, tile_px: int, halo_px: int
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, " n"]]:
    """Points that `detect` finds in square tiles with a margin; a point in the margin belongs to the neighbouring tile.

    An image no larger than a tile is passed to the detector as a whole.

    Parameters
    ----------
    image
        Shape (rows, cols).
    detect
        `(part) -> (points (n, 2) in pixels of the part, ranks (n,))`.
    tile_px
        Side of a tile without its margin, in pixels.
    halo_px
        Width of the margin in pixels: the distance up to which pixels influence the detection of a point.

    Returns
    -------
    Points (n, 2), (row, col) in pixels of the image, and their ranks (n,), tile after tile.
    """
    found = [(np.empty((0, 2)), np.empty(0))]
    for low_row, high_row in _spans(image.shape[0], tile_px):
        for low_col, high_col in _spans(image.shape[1], tile_px):
            first = np.array([max(low_row - halo_px, 0), max(low_col - halo_px, 0)])
            points, ranks = detect(image[first[0] : high_row + halo_px, first[1] : high_col + halo_px])
            points = points + first
            # Positions are real numbers: a tile extends from half a pixel before its first pixel to half a pixel after its last.
            low, high = np.array([low_row, low_col]) - 0.5, np.array([high_row, high_col]) - 0.5
            own = ((points >= low) & (points < high)).all(axis=1)
            found.append((points[own], ranks[own]))
    return np.concatenate([points for points, _ in found]), np.concatenate([ranks for _, ranks in found])


def filter_in_strips(
    image: Float[np.ndarray, "rows cols"],
    function: Callable[[np.ndarray], np.ndarray],
    strip_px: int,
    halo_px: int,
) -> Float[np.ndarray, "rows cols"]:
    """The image filtered in strips of rows by a function that depends on no pixel further away than `halo_px`."""
    out = np.empty_like(image)
    for low, high in _spans(len(image), strip_px):
        first = max(low - halo_px, 0)
        out[low:high] = function(image[first : high + halo_px])[low - first : high - first]
    return out


def _spans(length: int, step: int) -> Iterator[tuple[int, int]]:
    for low in range(0, length, step):
        yield low, min(low + step, length)
