"""Domain walls as ridges found by Sato's tubeness filter."""

import math

import numpy as np
from jaxtyping import Float32, Int
from skimage.filters import sato
from skimage.morphology import skeletonize

from agent.preprocessing.keypoints.tiling import filter_in_strips

_STRIP_PX = 512
_REACH_SIGMAS = 12  # further away, second derivatives of a Gaussian are below rounding


def sato_ridges(
    image: Float32[np.ndarray, "rows cols"],
    *,
    rng: np.random.Generator,  # noqa: ARG001 - the KeypointMethod signature
    sigmas_px: tuple[float, ...] = (1.0, 2.0, 3.0),
    quantile: float = 0.9,
    black_ridges: bool = True,
) -> Int[np.ndarray, "n 2"]:
    """Points on ridges: the skeleton of the strongest responses of Sato's tubeness filter, in raster order.

    See Y. Sato et al., Med. Image Anal. 2, 143, 1998.

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    rng
        Not used.
    sigmas_px
        Widths of the ridges in pixels.
    quantile
        Quantile of the response above which a pixel belongs to a ridge.
    black_ridges
        True to find dark ridges, as walls are in an amplitude image.
    """

    def respond(part: np.ndarray) -> np.ndarray:
        return np.asarray(sato(part, sigmas=list(sigmas_px), black_ridges=black_ridges))

    reach = math.ceil(_REACH_SIGMAS * max(sigmas_px))
    response = filter_in_strips(np.asarray(image, dtype=np.float64), respond, _STRIP_PX, reach)
    ridges = skeletonize(response > np.quantile(response, quantile))
    return np.asarray(np.argwhere(ridges))
