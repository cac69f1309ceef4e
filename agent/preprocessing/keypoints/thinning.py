"""Points far enough apart: a greedy selection, as fast for 10^6 points as the loop over them is for 10^4."""

import math

import numpy as np
from jaxtyping import Int


def thin(points_rc: Int[np.ndarray, "n 2"], spacing_px: float) -> Int[np.ndarray, " kept"]:
    """Indices of a greedy selection, first come first kept, no two nearer than `spacing_px`.

    A table says for each pixel whether a kept point is too near; keeping a point blocks the disc around it.

    Parameters
    ----------
    points_rc
        Shape (n, 2), non-negative pixels, in order of preference.
    spacing_px
        Smallest distance between two kept points; at it is allowed.
    """
    if not len(points_rc):
        return np.empty(0, dtype=np.int64)
    reach = max(math.ceil(spacing_px) - 1, 0)
    height, width = points_rc.max(axis=0) + 1 + 2 * reach
    disc = _disc(spacing_px, reach) @ np.array([width, 1])
    blocked = np.zeros(height * width, dtype=np.bool_)
    places = (points_rc + reach) @ np.array([width, 1])
    kept = []
    for i, place in enumerate(places.tolist()):
        if not blocked[place]:
            kept.append(i)
            blocked[place + disc] = True
    return np.array(kept, dtype=np.int64)


def _disc(spacing_px: float, reach: int) -> np.ndarray:
    """Shape (m, 2): all steps between pixels that are nearer than the spacing, the one to oneself included."""
    steps = np.arange(-reach, reach + 1)
    rows, cols = np.meshgrid(steps, steps, indexing="ij")
    near = (rows**2 + cols**2 < spacing_px**2) | ((rows == 0) & (cols == 0))
    return np.stack([rows[near], cols[near]], axis=1)
