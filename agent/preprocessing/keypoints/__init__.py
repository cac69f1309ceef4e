"""Key points: the pixels around which patches are cut, thinned to a spacing, with a record of those that were dropped.

A key-point method is a plain callable `(image, *, rng, **options) -> (n, 2)` that returns (row, col) pixels in order of
preference; a user's own method is named in the configuration. `find_keypoints` handles spacing, border and invalid pixels in the
same way for all methods.
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
