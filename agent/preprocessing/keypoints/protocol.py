"""What a key-point method is."""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int


@runtime_checkable
class KeypointMethod(Protocol):
    """Finds points of interest; called once a scan."""

    def __call__(self, image: Float32[np.ndarray, "rows cols"], *, rng: np.random.Generator) -> Int[np.ndarray, "n 2"]:
        """(row, col) of each point in an image scaled to [0, 1]; the first ones are kept when points are too close."""
