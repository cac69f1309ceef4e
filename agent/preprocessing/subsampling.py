"""Spatially stratified subset of key points, to train on when there are too many, and the split into held-out patches."""

import numpy as np
from jaxtyping import Bool, Int

_MEAN_PER_CELL = 4


def stratified_subset(points_rc: Int[np.ndarray, "n 2"], size: int, rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Sorted rows of a spatially stratified subset: each cell of a square grid keeps its share, to within one point.

    Systematic sampling (W. Madow and L. Madow, Ann. Math. Stat. 15, 1, 1944) of the points, ordered by
    cell and at random within each cell: every n/size-th is taken, from a random start. Each point is thus equally likely, dense
    regions stay dense, and no region is missed by chance. Takes as long as sorting n numbers.

    Parameters
    ----------
    points_rc
        Shape (n, 2), pixels.
    size
        Number of points, at least 1; if there are no more points than that, all rows are returned.
    rng
        Source of the order within cells and of the start.

    Raises
    ------
    ValueError
        If `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"a subset of {size} points is empty; size must be at least 1")
    n = len(points_rc)
    if n <= size:
        return np.arange(n)
    low = points_rc.min(axis=0)
    extent = points_rc.max(axis=0) + 1 - low
    side = max(1.0, float(np.sqrt(extent.prod() * _MEAN_PER_CELL / size)))
    row, col = ((points_rc - low) // side).astype(np.int64).T
    across = int(extent[1] // side) + 1
    # Every other row runs backwards, so that consecutive cells are neighbours.
    cell = row * across + np.where(row % 2, across - 1 - col, col)
    order = rng.permutation(n)
    order = order[np.argsort(cell[order], kind="stable")]
    taken = ((np.arange(size) + rng.random()) * n / size).astype(np.int64)
    return np.sort(order[np.minimum(taken, n - 1)])


def split_held_out(n: int, share: float, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """Mask of the patches that are held out from training: a random share of them, at least one."""
    mask = np.zeros(n, dtype=bool)
    mask[rng.choice(n, size=max(1, round(share * n)), replace=False)] = True
    return mask
