"""Selection of usable points from any key-point method by border, validity and spacing; the dropped ones are counted for each."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from agent.errors import PluginError, UnusableScanError
from agent.preprocessing.channels import Response
from agent.preprocessing.keypoints.protocol import KeypointMethod, WallMethod
from agent.preprocessing.keypoints.thinning import thin
from agent.preprocessing.line_artifacts import level_lines
from agent.preprocessing.normalise import NormalisedImage
from agent.preprocessing.walls.wall_lines import wall_graph
from rewards.base import WallGraph

LEAST_POINTS = 200


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Key points around which all windows of a search can be cut.

    Parameters
    ----------
    points_rc
        Shape (n, 2), (row, col) in pixels, in raster order.
    found
        Number of points that the method returned.
    dropped
        Reason -> number of points that were dropped because of it.
    walls
        Which points lie on the same wall; empty if the method finds no walls.
    positions_rc
        Shape (n, 2): position of the wall at each point, to a fraction of a pixel; None if the method finds no walls.
    """

    points_rc: Int[np.ndarray, "n 2"]
    found: int
    dropped: dict[str, int]
    walls: WallGraph = field(default_factory=WallGraph.empty)
    positions_rc: Float[np.ndarray, "n 2"] | None = None


def find_keypoints(
    image: NormalisedImage, method: KeypointMethod, *, spacing_px: float, largest_window_px: int, rng: np.random.Generator
) -> Keypoints:
    """Key points at least `spacing_px` apart, around which a window of `largest_window_px` contains only valid pixels.

    All windows of a search use the same key points, so that their scores refer to the same places.

    Parameters
    ----------
    image
        Normalised main channel, shape (rows, cols).
    method
        Key-point method.
    spacing_px
        Smallest distance between two points in pixels.
    largest_window_px
        Side of the largest patch in pixels.
    rng
        Random generator passed to the method.

    Raises
    ------
    UnusableScanError
        If the window does not fit into the image, or fewer than `LEAST_POINTS` points remain.
    PluginError
        If the method returns anything other than (n, 2) pixels inside the image.
    """
    _raise_unless_window_fits(image, largest_window_px)
    points = _checked(method(level_lines(image.values).clip(0, 1), rng=rng), image.values.shape)
    kept, dropped = _usable(points, image, spacing_px, largest_window_px)
    return Keypoints(points[kept], len(points), dropped)


def find_wall_keypoints(
    image: NormalisedImage,
    response: Response,
    method: WallMethod,
    *,
    spacing_px: float,
    largest_window_px: int,
    rng: np.random.Generator,
) -> Keypoints:
    """Key points on walls, chosen like those of `find_keypoints`, with their neighbours along the walls.

    Parameters
    ----------
    image
        Normalised main channel, shape (rows, cols), with the mask of valid pixels.
    response
        Response in which walls are detected.
    method
        Method that finds walls.
    spacing_px, largest_window_px, rng
        As for `find_keypoints`.

    Raises
    ------
    UnusableScanError
        As for `find_keypoints`.
    """
    _raise_unless_window_fits(image, largest_window_px)
    found = method(response, rng=rng)
    kept, dropped = _usable(found.pixels_rc, image, spacing_px, largest_window_px)
    points = found.pixels_rc[kept]
    return Keypoints(points, len(found.pixels_rc), dropped, wall_graph(found.pixels_rc, points), found.positions_rc[kept])


def _raise_unless_window_fits(image: NormalisedImage, largest_window_px: int) -> None:
    shape = image.values.shape
    if largest_window_px > min(shape):
        raise UnusableScanError(
            f"a window of {largest_window_px} px does not fit into an image of {shape[0]} x {shape[1]} px; "
            f"use windows of at most {min(shape)} px or a larger scan"
        )


def _usable(
    points: np.ndarray, image: NormalisedImage, spacing_px: float, largest_window_px: int
) -> tuple[np.ndarray, dict[str, int]]:
    """(rows of the points that can be used, in raster order; reason -> number of the others)."""
    shape = image.values.shape
    inside = _window_inside(points, shape, largest_window_px)
    valid = _window_valid(points, image.valid, largest_window_px)
    usable = np.flatnonzero(inside & valid)
    kept = usable[thin(points[usable], spacing_px)]
    dropped = {
        "window beyond the border": int((~inside).sum()),
        "invalid pixels in the window": int((inside & ~valid).sum()),
        "nearer than the spacing": len(usable) - len(kept),
    }
    if len(kept) < LEAST_POINTS:
        counts = ", ".join(f"{n} {why}" for why, n in dropped.items() if n)
        raise UnusableScanError(
            f"only {len(kept)} key points were found, at least {LEAST_POINTS} are needed to train on "
            f"(of {len(points)}: {counts or 'none dropped'}); scan more walls, or choose another key-point method or spacing"
        )
    return kept[np.lexsort((points[kept, 1], points[kept, 0]))], dropped


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
    """True for points whose window contains no invalid pixel; of windows across the border, the part inside counts."""
    missing = np.zeros((valid.shape[0] + 1, valid.shape[1] + 1), dtype=np.int64)
    missing[1:, 1:] = np.cumsum(np.cumsum(~valid, axis=0), axis=1)
    low = np.maximum(points - window_px // 2, 0)
    high = np.minimum(points + window_px - window_px // 2, np.array(valid.shape))
    count = missing[high[:, 0], high[:, 1]] - missing[low[:, 0], high[:, 1]]
    return np.asarray(count - missing[high[:, 0], low[:, 1]] + missing[low[:, 0], low[:, 1]] == 0)
