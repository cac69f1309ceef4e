"""Detection of domain walls: ridges of the change of the response that stand out from its background."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.ndimage import binary_dilation, gaussian_filter, label
from skimage.filters import apply_hysteresis_threshold
from skimage.morphology import skeletonize

from agent.preprocessing.channels import Response
from agent.preprocessing.walls.background import background_level
from agent.preprocessing.walls.local_energy import Change, edge_and_valley_energy, vector_gradient

_RESPONSE_SIGMA_PX = 2.0


@dataclass(frozen=True, eq=False)
class Walls:
    """Domain walls of a scan, one pixel wide.

    Parameters
    ----------
    pixels_rc
        Shape (n, 2): pixels on walls, (row, col), in raster order.
    positions_rc
        Shape (n, 2): position of the wall at each pixel, to a fraction of a pixel, at most one pixel away.
    contrast
        Shape (n,): size of the change across the wall, in multiples of the background there.
    """

    pixels_rc: Int[np.ndarray, "n 2"]
    positions_rc: Float[np.ndarray, "n 2"]
    contrast: Float[np.ndarray, " n"]


def find_walls(response: Response, *, sigma_px: float = 1.2, above: float = 4.0, least_px: int = 6) -> Walls:
    """Walls on which the channels together change by more than they do elsewhere.

    A wall is a ridge of the change (`vector_gradient` of two channels or more, `edge_and_valley_energy` of one) along its
    direction, thinned to a skeleton. It begins where the change is `above` times its background (`background_level`), and goes on
    as long as it is half of that (hysteresis; J. Canny, IEEE TPAMI 8, 679, 1986).

    Parameters
    ----------
    response
        Response of the scan. The background depends on its size. No wall is found within two pixels of an invalid pixel, whose
        value was filled in.
    sigma_px
        Width of the Gaussian smoothing, in pixels.
    above
        Smallest change at which a wall begins, in multiples of the background. With the default, noise alone gives walls on
        less than a thousandth of the pixels.
    least_px
        Smallest number of pixels of a wall; what is shorter is more often noise.
    """
    channels = response.channels.astype(np.float64)
    change = edge_and_valley_energy(channels[0], sigma_px) if len(channels) == 1 else vector_gradient(channels, sigma_px)
    level = background_level(change.size, gaussian_filter(response.size.astype(np.float64), _RESPONSE_SIGMA_PX), response.valid)
    contrast = change.size / np.maximum(level, np.finfo(np.float64).tiny)
    usable = ~binary_dilation(~response.valid, iterations=2) & (level > 0)
    ridge, step = _ridge(change, usable & (contrast >= above / 2))
    skeleton = skeletonize(apply_hysteresis_threshold(np.where(ridge, contrast, 0.0), above / 2, above))
    pieces, _ = label(skeleton, structure=np.ones((3, 3)))
    pixels = np.argwhere(skeleton & (np.bincount(pieces.ravel())[pieces] >= least_px))
    at = tuple(pixels.T)
    shift = step[at][:, None] * np.column_stack([np.sin(change.direction[at]), np.cos(change.direction[at])])
    return Walls(pixels, pixels + shift, contrast[at])


def _ridge(change: Change, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pixels where the change is largest along its direction, distance in pixels to the maximum of a parabola through it)."""
    pixels = np.argwhere(candidates)
    at = tuple(pixels.T)
    unit = np.column_stack([np.sin(change.direction[at]), np.cos(change.direction[at])])
    here, ahead, behind = change.size[at], *(_between_pixels(change.size, pixels + way * unit) for way in (1, -1))
    largest = (here >= ahead) & (here >= behind)
    curvature = ahead - 2 * here + behind
    step = np.where(curvature < 0, (behind - ahead) / np.where(curvature < 0, 2 * curvature, 1.0), 0.0)
    ridge, steps = np.zeros(change.size.shape, dtype=bool), np.zeros(change.size.shape)
    ridge[at], steps[at] = largest, np.clip(step, -1.0, 1.0)
    return ridge, steps


def _between_pixels(image: np.ndarray, positions_rc: np.ndarray) -> np.ndarray:
    """Bilinear interpolation; positions beyond the border have the value of the border."""
    last = np.array(image.shape) - 1
    inside = np.clip(positions_rc, 0, last)
    low = np.minimum(inside.astype(np.int64), np.maximum(last - 1, 0))
    (row, col), (down, right) = low.T, (inside - low).T
    below, beside = np.minimum(row + 1, last[0]), np.minimum(col + 1, last[1])
    upper = image[row, col] * (1 - right) + image[row, beside] * right
    lower = image[below, col] * (1 - right) + image[below, beside] * right
    return np.asarray(upper * (1 - down) + lower * down)
