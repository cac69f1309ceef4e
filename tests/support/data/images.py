"""Images with a known structure."""

import numpy as np


def stripes(rows: int, cols: int, *, period: int = 16, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Vertical stripes, half a period bright and half dark, with white noise; float32."""
    bright = (np.arange(cols) // (period // 2)) % 2
    rng = np.random.default_rng(seed)
    return (bright[None, :] + noise * rng.standard_normal((rows, cols))).astype(np.float32)


def two_textures(size: int = 128, *, noise: float = 0.05, seed: int = 0) -> np.ndarray:
    """Fine vertical stripes on the left half, discs on the right half; float32."""
    image = stripes(size, size, period=10, noise=noise, seed=seed)
    row, col = np.mgrid[:size, :size]
    discs = (((row % 20) - 10) ** 2 + ((col % 20) - 10) ** 2 < 25).astype(np.float32)
    rng = np.random.default_rng(seed + 1)
    right = col >= size // 2
    image[right] = (discs + noise * rng.standard_normal((size, size)))[right].astype(np.float32)
    return image
