"""Key points: the pixels around which patches are cut, thinned to a spacing, with a record of those that were dropped.

A key-point method is a plain callable `(image, *, rng, **options) -> (n, 2)` that returns (row, col) pixels in order of
preference; a user's own method is named in the configuration. "walls" alone takes the whole response of the scan, and returns the
walls on which its points lie. `find_keypoints` handles spacing, border and invalid pixels in the
same way for all methods.
"""

from agent.preprocessing.keypoints.canny_walls import canny_walls
from agent.preprocessing.keypoints.grid import grid
from agent.preprocessing.keypoints.orb import orb
from agent.preprocessing.keypoints.protocol import KeypointMethod, WallMethod
from agent.preprocessing.keypoints.sato import sato_ridges
from agent.preprocessing.keypoints.selection import LEAST_POINTS, Keypoints, find_keypoints, find_wall_keypoints
from agent.preprocessing.keypoints.sift import sift
from agent.preprocessing.keypoints.vector_walls import vector_walls

#: The method that finds walls; its points know their neighbours along them.
WALLS = "walls"
#: Walls where the scan shows a vector, Canny's edges of the amplitude otherwise; resolved when a scan is prepared.
AUTO = "auto"

METHODS: dict[str, KeypointMethod | WallMethod] = {
    AUTO: vector_walls,
    WALLS: vector_walls,
    "canny_walls": canny_walls,
    "sato_ridges": sato_ridges,
    "grid": grid,
    "orb": orb,
    "sift": sift,
}

__all__ = [
    "AUTO",
    "LEAST_POINTS",
    "METHODS",
    "WALLS",
    "KeypointMethod",
    "Keypoints",
    "WallMethod",
    "canny_walls",
    "find_keypoints",
    "find_wall_keypoints",
    "grid",
    "orb",
    "sato_ridges",
    "sift",
    "vector_walls",
]
