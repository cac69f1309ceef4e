"""Thinning: a greedy selection of points with a minimum spacing, as fast for 10^6 points as a loop over pairs is for 10^4."""

import math

import numpy as np
from jaxtyping import Int


def thin(points_rc: Int[np.ndarray, "n 2"], spacing_px: float) -> Int[np.ndarray, " kept"]:
    """Indices of a greedy selection in the order given, in which no two points are nearer than `spacing_px`.

    A table marks the pixels that are too near to a kept point; keeping a point marks the disc around it.

    Parameters
    ----------
    points_rc
        Shape (n, 2), non-negative pixels, in order of preference.
    spacing_px
        Smallest distance between two kept points in pixels; exactly this distance is allowed.
    """
    if not len(points_rc):
        return np.empty(0, dtype=np.int64)
    reach = max(math.ceil(spacing_px) - 1, 0)
    height, width = points_rc.max(axis=0) + 1 + 2 * reach
    disc = _disc(spacing_px, reach) @ np.array([width, 1])
    blocked = np.zeros(height * width, dtype=np.bool_)
    pixels = (points_rc + reach) @ np.array([width, 1])
    kept = []
    for i, pixel in enumerate(pixels.tolist()):
        if not blocked[pixel]:
            kept.append(i)
            blocked[pixel + disc] = True
    return np.array(kept, dtype=np.int64)


def _disc(spacing_px: float, reach: int) -> np.ndarray:
    """Shape (m, 2): all steps between pixels that are shorter than the spacing, including the step of zero."""
    steps = np.arange(-reach, reach + 1)
    rows, cols = np.meshgrid(steps, steps, indexing="ij")
    near = (rows**2 + cols**2 < spacing_px**2) | ((rows == 0) & (cols == 0))
    return np.stack([rows[near], cols[near]], axis=1)
