"""Key points that do not depend on the image."""

import numpy as np
from jaxtyping import Float32, Int


def grid(image: Float32[np.ndarray, "rows cols"], *, rng: np.random.Generator, step_px: int = 5) -> Int[np.ndarray, "n 2"]:  # noqa: ARG001
    """Nodes of a square grid with a spacing of `step_px`."""
    rows, cols = np.meshgrid(np.arange(0, image.shape[0], step_px), np.arange(0, image.shape[1], step_px), indexing="ij")
    return np.stack([rows.ravel(), cols.ravel()], axis=1)
