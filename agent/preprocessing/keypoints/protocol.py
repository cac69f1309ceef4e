"""Interfaces of key-point methods."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int

from agent.preprocessing.channels import Response
from agent.preprocessing.walls.detection import Walls


@runtime_checkable
class KeypointMethod(Protocol):
    """Finds key points; called once for each scan."""

    def __call__(self, image: Float32[np.ndarray, "rows cols"], *, rng: np.random.Generator) -> Int[np.ndarray, "n 2"]:
        """(row, col) of each key point of an image in [0, 1]; of points that are too close, the earlier ones are kept."""


@runtime_checkable
class WallMethod(Protocol):
    """Finds the walls of a scan, on which key points are then chosen."""

    def __call__(self, response: Response, *, rng: np.random.Generator) -> Walls:
        """Walls of a response."""
