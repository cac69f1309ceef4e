"""Where patches are cut: points of interest of the image, thinned to a spacing, with a record of what was dropped.

A key-point method is a plain callable `(image, *, rng, **options) -> (n, 2)` of (row, col) pixels, in order of preference;
the user's own is named in the configuration. Thinning, border and invalid pixels are handled here for all of them alike.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int
from skimage.feature import canny
from skimage.filters import sato
from skimage.morphology import skeletonize

from agent.workflow.errors import PluginError, UnusableScanError
from agent.workflow.normalise import NormalisedImage

LEAST_POINTS = 200


@runtime_checkable
class KeypointMethod(Protocol):
    """Finds points of interest; called once a scan."""

    def __call__(self, image: Float32[np.ndarray, "rows cols"], *, rng: np.random.Generator) -> Int[np.ndarray, "n 2"]:
        """(row, col) of each point in an image scaled to [0, 1]; the first ones are kept when points are too close."""


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Key points that every window of a search can be cut around.

    Parameters
    ----------
    points_rc
        Shape (n, 2), (row, col) in pixels, in raster order.
    found
        How many the method returned.
    dropped
        Reason -> how many were left out for it.
    """

    points_rc: Int[np.ndarray, "n 2"]
    found: int
    dropped: dict[str, int]


def canny_walls(
    image: Float32[np.ndarray, "rows cols"],
    *,
    rng: np.random.Generator,  # noqa: ARG001 - the KeypointMethod signature
    sigma_px: float = 1.5,
) -> Int[np.ndarray, "n 2"]:
    """Points on domain walls: the skeleton of Canny's edges (J. Canny, IEEE TPAMI 8, 679, 1986), in raster order.

    Raster order makes the greedy thinning pack the walls as densely as the spacing allows (a fifth more points than random
    order on a real scan).

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    rng
        Not used.
    sigma_px
        Width of the Gaussian that smooths before the gradient is taken.
    """
    walls = skeletonize(canny(np.asarray(image, dtype=np.float64), sigma=sigma_px))
    return np.asarray(np.argwhere(walls))


def sato_ridges(
    image: Float32[np.ndarray, "rows cols"],
    *,
    rng: np.random.Generator,  # noqa: ARG001
    sigmas_px: tuple[float, ...] = (1.0, 2.0, 3.0),
    quantile: float = 0.9,
    black_ridges: bool = True,
) -> Int[np.ndarray, "n 2"]:
    """Points on ridges: the skeleton of the strongest responses of Sato's tubeness filter, in raster order.

    `black_ridges` looks for dark lines, as walls are in an amplitude image.
    """
    response = sato(np.asarray(image, dtype=np.float64), sigmas=list(sigmas_px), black_ridges=black_ridges)
    ridges = skeletonize(response > np.quantile(response, quantile))
    return np.asarray(np.argwhere(ridges))


def grid(image: Float32[np.ndarray, "rows cols"], *, rng: np.random.Generator, step_px: int = 5) -> Int[np.ndarray, "n 2"]:  # noqa: ARG001
    """The nodes of a square grid, whatever the image shows."""
    rows, cols = np.meshgrid(np.arange(0, image.shape[0], step_px), np.arange(0, image.shape[1], step_px), indexing="ij")
    return np.stack([rows.ravel(), cols.ravel()], axis=1)


METHODS: dict[str, KeypointMethod] = {"canny_walls": canny_walls, "sato_ridges": sato_ridges, "grid": grid}


def find_keypoints(
    image: NormalisedImage, method: KeypointMethod, *, spacing_px: float, largest_window_px: int, rng: np.random.Generator
) -> Keypoints:
    """Key points at least `spacing_px` apart, around which a window of `largest_window_px` holds only valid pixels.

    One set of points serves all windows of a search, so that scores of different windows rest on the same places.

    Parameters
    ----------
    image
        Shape (rows, cols).
    method
        Finds the points.
    spacing_px
        Smallest distance between two points.
    largest_window_px
        Side of the largest patch.
    rng
        Given to the method.

    Raises
    ------
    UnusableScanError
        If the window does not fit into the image, or fewer than `LEAST_POINTS` points remain.
    PluginError
        If the method returns anything but (n, 2) pixels inside the image.
    """
    shape = image.values.shape
    if largest_window_px > min(shape):
        raise UnusableScanError(
            f"a window of {largest_window_px} px does not fit into an image of {shape[0]} x {shape[1]} px; "
            f"use windows of at most {min(shape)} px or a larger scan"
        )
    points = _checked(method(image.values, rng=rng), shape)
    inside = _window_inside(points, shape, largest_window_px)
    whole = _window_valid(points, image.valid, largest_window_px)
    usable = points[inside & whole]
    kept = usable[_thin(usable, spacing_px)]
    dropped = {
        "window beyond the border": int((~inside).sum()),
        "invalid pixels in the window": int((inside & ~whole).sum()),
        "nearer than the spacing": len(usable) - len(kept),
    }
    if len(kept) < LEAST_POINTS:
        lost = ", ".join(f"{n} {why}" for why, n in dropped.items() if n)
        raise UnusableScanError(
            f"only {len(kept)} key points were found, at least {LEAST_POINTS} are needed to train on "
            f"(of {len(points)}: {lost or 'none dropped'}); scan more walls, or choose another key-point method or spacing"
        )
    order = np.lexsort((kept[:, 1], kept[:, 0]))
    return Keypoints(kept[order], len(points), dropped)


def _checked(points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2 or not np.issubdtype(points.dtype, np.number):
        raise PluginError(
            f"a key-point method must return (n, 2) numbers, row and col; it returned {points.dtype} {points.shape}"
        )
    if not np.isfinite(points).all():
        raise PluginError("a key-point method returned points that are not finite numbers")
    points = np.round(points).astype(np.int64)
    if len(points) and ((points < 0).any() or (points >= np.array(shape)).any()):
        raise PluginError(f"a key-point method returned points outside the image of {shape[0]} x {shape[1]} px")
    return points


def _window_inside(points: np.ndarray, shape: tuple[int, ...], window_px: int) -> np.ndarray:
    before, after = window_px // 2, window_px - window_px // 2
    return np.asarray(((points >= before) & (points + after <= np.array(shape))).all(axis=1))


def _window_valid(points: np.ndarray, valid: np.ndarray, window_px: int) -> np.ndarray:
    """True where no pixel of the window is invalid (windows beyond the border are judged by what lies inside)."""
    missing = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), dtype=np.int64)
    missing[1:, 1:] = np.cumsum(np.cumsum(~valid, axis=0), axis=1)
    low = np.maximum(points - window_px // 2, 0)
    high = np.minimum(points + window_px - window_px // 2, np.array(valid.shape))
    count = missing[high[:, 0], high[:, 1]] - missing[low[:, 0], high[:, 1]]
    return np.asarray(count - missing[high[:, 0], low[:, 1]] + missing[low[:, 0], low[:, 1]] == 0)


def _thin(points: np.ndarray, spacing_px: float) -> np.ndarray:
    """Indices of a greedy selection, first come first kept, no two nearer than `spacing_px`."""
    cell = max(spacing_px, 1.0)
    taken: dict[tuple[int, int], list[np.ndarray]] = {}
    kept = []
    for i, point in enumerate(points):
        r, c = int(point[0] // cell), int(point[1] // cell)
        around = (q for dr in (-1, 0, 1) for dc in (-1, 0, 1) for q in taken.get((r + dr, c + dc), ()))
        if all((point[0] - q[0]) ** 2 + (point[1] - q[1]) ** 2 >= spacing_px**2 for q in around):
            taken.setdefault((r, c), []).append(point)
            kept.append(i)
    return np.array(kept, dtype=np.int64)
