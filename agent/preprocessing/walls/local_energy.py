"""Strength and direction of the change of a response across a wall, summed over channels."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

_TENSOR_SIGMA_PX = 1.0  # over which directions are averaged; at a valley the gradients of both flanks are parallel


@dataclass(frozen=True, eq=False)
class Change:
    """Change of the response at each pixel; all of shape (rows, cols).

    Parameters
    ----------
    size
        Size of the steepest change.
    direction
        Its direction in radians: it runs along (row, col) = (sin, cos).
    """

    size: Float[np.ndarray, "rows cols"]
    direction: Float[np.ndarray, "rows cols"]


def vector_gradient(channels: Float[np.ndarray, "C rows cols"], sigma_px: float) -> Change:
    """Size and direction of the steepest change of a vector: a wall is an edge of all channels together.

    The root of the largest eigenvalue of the structure tensor summed over channels, and the direction of its eigenvector (S. Di
    Zenzo, Comput. Vis. Graph. Image Process. 33, 116, 1986). A 180° wall, at which the amplitude only dips, is one step of the
    vector.

    Parameters
    ----------
    channels
        Shape (C, rows, cols).
    sigma_px
        Width of the Gaussian whose derivative is taken, in pixels.
    """
    across, down = _first_derivatives(channels, sigma_px)
    xx, yy, xy = (across**2).sum(axis=0), (down**2).sum(axis=0), (across * down).sum(axis=0)
    size = np.sqrt((xx + yy) / 2 + np.hypot((xx - yy) / 2, xy))
    return Change(size, 0.5 * np.arctan2(2 * xy, xx - yy))


def edge_and_valley_energy(image: Float[np.ndarray, "rows cols"], sigma_px: float) -> Change:
    """Size and direction of the change of one channel, with one maximum at a step and one at a valley.

    A wall between domains of unequal amplitude is a step, a 180° wall is a valley, whose gradient has two maxima beside the wall.
    The first derivative across the wall and the second one, scaled by the width, are large at a step and at a valley
    respectively; the root of the sum of their squares is large at either and has its maximum on the wall (local energy: M.
    Morrone and D. Burr, Proc. R. Soc. Lond. B 235, 221, 1988).

    Parameters
    ----------
    image
        Shape (rows, cols).
    sigma_px
        Width of the Gaussian whose derivatives are taken, in pixels.
    """
    (across,), (down,) = _first_derivatives(image[None], sigma_px)
    xx, yy, xy = (gaussian_filter(product, _TENSOR_SIGMA_PX) for product in (across**2, down**2, across * down))
    direction = 0.5 * np.arctan2(2 * xy, xx - yy)
    cos, sin = np.cos(direction), np.sin(direction)
    across_twice, down_twice, mixed = (sigma_px * gaussian_filter(image, sigma_px, order=o) for o in ((0, 2), (2, 0), (1, 1)))
    curvature = cos**2 * across_twice + sin**2 * down_twice + 2 * cos * sin * mixed
    size = np.hypot(across * cos + down * sin, curvature)
    return Change(size, direction)


def _first_derivatives(channels: np.ndarray, sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives along columns and along rows, each of shape (C, rows, cols)."""
    along = (gaussian_filter(channels, (0, sigma_px, sigma_px), order=(0, *order)) for order in ((0, 1), (1, 0)))
    return tuple(along)
