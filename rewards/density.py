"""Density filter of the latent distribution, and subsets of equal size.

The paper removes "points with density below 95 % of the maximum density" (KDE, bandwidth 0.05) before mixtures are fitted.
Taken literally, this leaves 9 of 1,809 points on a real scan. Here the threshold is a parameter: the smallest density that is
kept, relative to the maximum.

In more than two dimensions a kernel of width 0.05 contains no neighbours, and the relative density loses its meaning: half of a
six-dimensional Gaussian lies below 7 % of its maximum, half of a two-dimensional one below 50 %. Beyond two dimensions, the
density is therefore estimated from nearest neighbours, p ~ r_k^-d (D. O. Loftsgaarden and C. P. Quesenberry, Ann. Math. Stat.
36, 1049, 1965), and p^(2/d) is compared with the threshold t: of a Gaussian this keeps r² <= -d ln t, which in two dimensions is
r² <= -2 ln t as for the kernel density (docs/decisions/0008-plain-families.md).
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
    # The COO format keeps the exact zeros of the diagonal and of coinciding points, so each contributes a kernel of 1.
    density = np.bincount(pairs.row, weights=np.exp(-0.5 * (pairs.data / bandwidth) ** 2), minlength=len(z))
    return np.asarray(density / density.max())


def relative_closeness(z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """(r_min / r_k)²: nearest-neighbour density relative to its maximum, to the power 2/d; r_k is that of the 20th neighbour."""
    k = min(_NEIGHBOURS, len(z) - 1)
    if k < 1:
        return np.ones(len(z))
    distance = cKDTree(z).query(z, k=k + 1)[0][:, k]
    shortest = distance.min()
    if shortest == 0:
        return np.asarray(distance == 0, dtype=np.float64)
    return np.asarray((shortest / distance) ** 2)


def dense_enough(
    z: Float[np.ndarray, "n d"], threshold: float = 0.05, bandwidth: float = 0.05, closeness: float = 0.0
) -> Bool[np.ndarray, " n"]:
    """True for each point that the density filter keeps.

    In one or two dimensions, these are the points whose relative density is at least `threshold` (0 keeps all, 1 only the
    densest). In more dimensions, they are those whose `relative_closeness` is at least `closeness`; `bandwidth` is not used.
    """
    if z.shape[1] > 2:
        return relative_closeness(z) >= closeness if closeness > 0 else np.ones(len(z), dtype=bool)
    if threshold <= 0:
        return np.ones(len(z), dtype=bool)
    return relative_density(z, bandwidth) >= threshold


def equal_subset(kept: Bool[np.ndarray, " n"], size: int, rng: np.random.Generator) -> Int[np.ndarray, " size"]:
    """`size` of the rows marked in `kept`, drawn without replacement, in ascending order."""
    rows = np.flatnonzero(kept)
    return np.sort(rng.choice(rows, size=size, replace=False))
