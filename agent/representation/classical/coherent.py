"""Wall-coherent projection: the part of the features of a patch that is constant along domain walls.

A wall is of one microstructure type over much of its length, while noise, gain, and what else lies in the window change along
it. The directions of largest autocorrelation along walls therefore show types, as the directions of largest variance need not
(maximum autocorrelation factors: P. Switzer and A. Green, Stanford Tech. Rep. 6, 1984; the principle of minimum noise fractions
and of slow feature analysis).
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import eigh

from agent.representation.classical.pca import Basis, signed
from rewards.base import WallGraph

NEAR_PX, FAR_PX = 6.0, 34.0  # of the pairs along a wall: near ones share most of their pixels
WHITENED = 40  # principal components among which directions are sought; more of them fit noise
_MIN_PAIRS = 200


def enough_pairs(walls: WallGraph) -> bool:
    """Whether walls join enough points to tell what is constant along them."""
    return len(walls.between(NEAR_PX, FAR_PX)) >= _MIN_PAIRS


def coherent_basis(
    features: Float[np.ndarray, "n features"],
    weights: Float[np.ndarray, " n"],
    pairs: Int[np.ndarray, "m 2"],
    d: int,
) -> Basis:
    """The d directions of largest autocorrelation along walls, among the first principal components, each of unit variance.

    Parameters
    ----------
    features
        Shape (n, features).
    weights
        Shape (n,): weight of each row. A pair has the product of its rows' weights.
    pairs
        Shape (m, 2): rows that lie on the same wall.
    d
        Number of directions.
    """
    whitened = Basis.of(features, weights, min(WHITENED, *features.shape))
    x = whitened.encode(features)
    first, second = x[pairs[:, 0]], x[pairs[:, 1]]
    weight = weights[pairs[:, 0]] * weights[pairs[:, 1]]
    product = (first * weight[:, None]).T @ second / max(float(weight.sum()), 1.0)
    count = product.shape[0]
    _, directions = eigh((product + product.T) / 2, subset_by_index=[max(count - d, 0), count - 1])
    axes = whitened.axes / whitened.scale @ directions[:, ::-1]
    missing = d - axes.shape[1]
    return Basis(signed(np.pad(axes, ((0, 0), (0, missing)))), whitened.centre, np.ones(d))
