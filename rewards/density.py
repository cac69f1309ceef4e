"""Density filter of the latent distribution, and subsets of equal size.

The paper removes "points with density below 95 % of the maximum density" (KDE, bandwidth 0.05) before mixtures are fitted.
Taken literally that leaves 9 of 1,809 points on a real scan, so the threshold here is a parameter: the share of the maximum
density that a point's own neighbourhood must reach.

A kernel of 0.05 is empty in more than two dimensions, and a share of the maximum means less with each dimension (half of a
six-dimensional Gaussian lies below 7 % of its maximum, half of a plane one below 50 %). Beyond two dimensions the density is
therefore that of the nearest neighbours, p ~ r_k^-d (D. O. Loftsgaarden and C. P. Quesenberry, Ann. Math. Stat. 36, 1049,
1965), and its power 2/d is compared: of a Gaussian, a threshold t then keeps r² <= -d ln t, as -2 ln t in the plane
(docs/decisions/0008-plain-families.md).
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

_NEIGHBOURS = 20
_REACH = 5.0  # bandwidths; a Gaussian kernel is below 4e-6 beyond


def relative_density(z: Float[np.ndarray, "n d"], bandwidth: float = 0.05) -> Float[np.ndarray, " n"]:
    """Gaussian kernel density at each point, relative to the densest point (so the largest value is 1)."""
    tree = cKDTree(z)
    pairs = tree.sparse_distance_matrix(tree, _REACH * bandwidth, output_type="coo_matrix")
    # coo drops the exact zeros of the diagonal and of coinciding points only when asked to; they count as kernel 1
    density = np.bincount(pairs.row, weights=np.exp(-0.5 * (pairs.data / bandwidth) ** 2), minlength=len(z))
    return np.asarray(density / density.max())


def relative_closeness(z: Float[np.ndarray, "n d"], k: int = _NEIGHBOURS) -> Float[np.ndarray, " n"]:
    """(r_min / r_k)², the nearest-neighbour density relative to its maximum, to the power 2/d; r_k reaches the k-th neighbour."""
    k = min(k, len(z) - 1)
    if k < 1:
        return np.ones(len(z))
    reach = cKDTree(z).query(z, k=k + 1)[0][:, k]
    shortest = reach.min()
    if shortest == 0:
        return np.asarray(reach == 0, dtype=np.float64)
    return np.asarray((shortest / reach) ** 2)


def dense_enough(
    z: Float[np.ndarray, "n d"], threshold: float = 0.05, bandwidth: float = 0.05, closeness: float = 0.0
) -> Bool[np.ndarray, " n"]:
    """True for each point whose relative density reaches `threshold` (0 keeps all, 1 only the densest).

    That is up to two dimensions; beyond, each point whose `relative_closeness` reaches `closeness`, and `bandwidth` is not used.
    """
    if z.shape[1] > 2:
        return relative_closeness(z) >= closeness if closeness > 0 else np.ones(len(z), dtype=bool)
    if threshold <= 0:
        return np.ones(len(z), dtype=bool)
    return relative_density(z, bandwidth) >= threshold


def equal_subset(kept: Bool[np.ndarray, " n"], size: int, rng: np.random.Generator) -> Int[np.ndarray, " size"]:
    """`size` of the rows that `kept` marks, drawn without replacement, in ascending order."""
    rows = np.flatnonzero(kept)
    return np.sort(rng.choice(rows, size=size, replace=False))
