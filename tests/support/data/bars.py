"""Patches of a bar at a random angle, which a rotation-invariant model represents better than a vanilla one."""

import numpy as np


def bars(n: int, window: int = 9, seed: int = 0, channels: int = 1) -> np.ndarray:
    """Patches (n, channels, window, window) in [0, 1]."""
    rng = np.random.default_rng(seed)
    u = np.linspace(-1, 1, window)
    y, x = np.meshgrid(u, u, indexing="ij")
    angle = rng.uniform(0, np.pi, n)[:, None, None]
    across = np.abs(x * np.sin(angle) - y * np.cos(angle))
    patch = np.clip(1.2 - 3 * across, 0, 1).astype(np.float32)
    return np.stack([patch ** (k + 1) for k in range(channels)], axis=1)
