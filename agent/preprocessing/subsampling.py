"""A part of many points that covers the image as all of them do: what is trained on when there are too many."""

import numpy as np
from jaxtyping import Bool, Int

_CHOSEN_PER_CELL = 4  # on average


def stratified_subset(points_rc: Int[np.ndarray, "n 2"], size: int, rng: np.random.Generator) -> Int[np.ndarray, " m"]:
    """Rows of a spatially stratified subset, sorted: from each cell of a square grid its share, to less than one point.

    Systematic sampling (W. Madow and L. Madow, Ann. Math. Stat. 15, 1, 1944) of the points in the order of their cells, in
    random order within each: every n/size-th is taken, from a random start. So each point is as likely as any other, dense
    regions stay dense, and no region is missed by chance. The time is that of sorting n numbers.

    Parameters
    ----------
    points_rc
        Shape (n, 2), pixels.
    size
        Points wanted, at least 1; all rows when there are no more.
    rng
        Orders points within cells and sets the start.

    Raises
    ------
    ValueError
        If `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"a subset of {size} points was asked for; ask for at least 1")
    n = len(points_rc)
    if n <= size:
        return np.arange(n)
    low = points_rc.min(axis=0)
    extent = points_rc.max(axis=0) + 1 - low
    side = max(1.0, float(np.sqrt(extent.prod() * _CHOSEN_PER_CELL / size)))
    row, col = ((points_rc - low) // side).astype(np.int64).T
    across = int(extent[1] // side) + 1
    # There and back, so that consecutive cells are neighbours.
    cell = row * across + np.where(row % 2, across - 1 - col, col)
    order = rng.permutation(n)
    order = order[np.argsort(cell[order], kind="stable")]
    taken = ((np.arange(size) + rng.random()) * n / size).astype(np.int64)
    return np.sort(order[np.minimum(taken, n - 1)])


def split_held_out(n: int, share: float, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """True for the patches that are held out: a share of them, at least one."""
    mask = np.zeros(n, dtype=bool)
    mask[rng.choice(n, size=max(1, round(share * n)), replace=False)] = True
    return mask
