"""Types along walls: posterior probabilities of the components of a mixture, given those of the neighbours on the same wall.

A wall is of one type over much of its length, so a point whose patch alone is ambiguous is probably of the type of the points
beside it on the wall. The labels form a hidden Potts field on the graph of walls: the log probability of a labelling is the sum
of the mixture's log densities, plus `smoothing`·e^{-s/8 px} for each pair of neighbours of equal label, s the distance between
them along the wall. The posterior is computed in the mean-field approximation (S. Geman and D. Geman, IEEE TPAMI 6, 721, 1984;
J. Zhang, IEEE Trans. Signal Process. 40, 2570, 1992). Points on no wall keep the mixture's probabilities.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix

from rewards.base import Mixture, WallGraph

_LENGTH_PX = 8.0
_REACH_PX = 20.0  # weights beyond are below a tenth
_ROUNDS = 10


def wall_posteriors(
    mixture: Mixture, z: Float[np.ndarray, "n d"], walls: WallGraph, smoothing: float
) -> Float[np.ndarray, "n K"]:
    """Probability of each component at each point; without walls, or with a smoothing of 0, the mixture's own.

    Parameters
    ----------
    mixture
        Mixture in the coordinates of `z`.
    z
        Shape (n, d): latents.
    walls
        Which points lie on the same wall.
    smoothing
        Gain in log probability, in nats, of two neighbours at the same place that have equal labels.
    """
    near = walls.along_px <= _REACH_PX
    if smoothing == 0 or not near.any():
        return mixture.responsibilities(z)
    first, second = walls.pairs[near].T
    weight = smoothing * np.exp(-walls.along_px[near] / _LENGTH_PX)
    n = len(z)
    coupling = csr_matrix((np.tile(weight, 2), (np.r_[first, second], np.r_[second, first])), shape=(n, n))
    own = mixture.log_joint(z)
    tau = mixture.responsibilities(z)
    for _ in range(_ROUNDS):
        field = own + coupling @ tau
        tau = np.exp(field - field.max(axis=1, keepdims=True))
        tau /= tau.sum(axis=1, keepdims=True)
    return np.asarray(tau)


def wall_labels(mixture: Mixture, z: Float[np.ndarray, "n d"], walls: WallGraph, smoothing: float) -> Int[np.ndarray, " n"]:
    """Most probable component of each point under `wall_posteriors`."""
    if smoothing == 0 or not len(walls.pairs):
        return mixture.labels(z)
    return np.asarray(wall_posteriors(mixture, z, walls, smoothing).argmax(axis=1))
