"""The size that a change of the response has where there is no wall, as a function of the response.

The noise of a driven cantilever grows with its response, and so do differences of gain and the texture of a surface: a threshold
that finds the weak walls of dark regions would scatter points over bright ones. A percentile of the whole image is no
threshold either, since it depends on how much wall there is.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import nnls

_QUANTILE = 0.2  # of the changes at equal response: as long as a fifth of the pixels is clear of walls, walls do not move it
_BINS = 20
_ROUNDS = 5
_ABOVE_FIT = 1.15  # a bin so far above the fit holds walls, and counts less
_WEIGHT_ABOVE = 0.3


def background_level(
    change: Float[np.ndarray, "rows cols"], response: Float[np.ndarray, "rows cols"], valid: Bool[np.ndarray, "rows cols"]
) -> Float[np.ndarray, "rows cols"]:
    """Typical size of the change of the response at each pixel if there were no wall.

    The lower fifth of the changes in each of twenty classes of equal response is fitted by √(a² + b²·response²), a the constant
    part of the noise, b the part that is proportional to the response. Classes far above the fit, which hold walls, count less.

    Parameters
    ----------
    change
        Shape (rows, cols): size of the change.
    response
        Shape (rows, cols): smoothed size of the response, 0 without any, in the units in which the channels are given.
    valid
        Shape (rows, cols): pixels that are used.

    Returns
    -------
    Shape (rows, cols); 0 only where an image without noise is constant.
    """
    sizes, responses = change[valid], response[valid]
    edges = np.quantile(responses, np.linspace(0, 1, _BINS + 1))
    classes = np.clip(np.searchsorted(edges, responses, side="right") - 1, 0, _BINS - 1)
    present = np.unique(classes)
    centre = np.array([np.median(responses[classes == k]) for k in present])
    level = np.array([np.quantile(sizes[classes == k], _QUANTILE) for k in present])
    if not level.max(initial=0) > 0:
        return np.zeros_like(change)
    level = np.maximum(level, 1e-3 * level.max())  # an exact zero, as of a simulated flat region, must not rule the fit
    matrix = np.column_stack([np.ones(len(centre)), centre**2])
    weight = 1 / level**2
    squares = np.zeros(2)
    for _ in range(_ROUNDS):
        squares, _ = nnls(matrix * weight[:, None], level**2 * weight)
        fitted = np.sqrt(matrix @ squares)
        weight = np.where(level > _ABOVE_FIT * fitted, _WEIGHT_ABOVE, 1.0) / level**2
    return np.asarray(np.sqrt(squares[0] + squares[1] * response**2))
