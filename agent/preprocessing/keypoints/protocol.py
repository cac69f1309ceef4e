"""Interface of a key-point method."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int


@runtime_checkable
class KeypointMethod(Protocol):
    """Finds key points; called once for each scan."""

    def __call__(self, image: Float32[np.ndarray, "rows cols"], *, rng: np.random.Generator) -> Int[np.ndarray, "n 2"]:
        """(row, col) of each key point of an image in [0, 1]; of points that are too close, the earlier ones are kept."""
