"""Where patches are cut: points of interest of the image, thinned to a spacing, with a record of what was dropped.

A key-point method is a plain callable `(image, *, rng, **options) -> (n, 2)` of (row, col) pixels, in order of preference;
the user's own is named in the configuration. Thinning, border and invalid pixels are handled in `find` for all of them alike.
"""

from agent.preprocessing.keypoints.canny_walls import canny_walls
from agent.preprocessing.keypoints.grid import grid
from agent.preprocessing.keypoints.orb import orb
from agent.preprocessing.keypoints.protocol import KeypointMethod
from agent.preprocessing.keypoints.sato import sato_ridges
from agent.preprocessing.keypoints.selection import LEAST_POINTS, Keypoints, find_keypoints
from agent.preprocessing.keypoints.sift import sift

METHODS: dict[str, KeypointMethod] = {
    "canny_walls": canny_walls,
    "sato_ridges": sato_ridges,
    "grid": grid,
    "orb": orb,
    "sift": sift,
}

__all__ = [
    "LEAST_POINTS",
    "METHODS",
    "KeypointMethod",
    "Keypoints",
    "canny_walls",
    "find_keypoints",
    "grid",
    "orb",
    "sato_ridges",
    "sift",
]
