"""Latents with a known number of clusters."""

import numpy as np

from rewards.base import Representation


def blobs(k: int, n_each: int = 200, spread: float = 0.15, d: int = 2, seed: int = 0) -> np.ndarray:
    """Latents (k · n_each, d) from k isotropic Gaussians on a circle of radius 2, well separated."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(k) / k
    centres = np.zeros((k, d))
    centres[:, 0] = 2 * np.cos(angle)
    if d > 1:
        centres[:, 1] = 2 * np.sin(angle)
    return np.concatenate([c + spread * rng.standard_normal((n_each, d)) for c in centres])


def representation(z: np.ndarray, **changes: object) -> Representation:
    """A representation with the latents z and default values for all other fields, which `changes` replaces."""
    n = len(z)
    points = np.stack([np.arange(n), np.arange(n)], axis=1)
    fields: dict[str, object] = {
        "z": z,
        "z_std": np.full_like(z, 0.1),
        "z_rotated": z,
        "z_mirrored": z,
        "points_rc": points,
        "window_px": 9,
        "invariance": "r",
        "seed": 0,
        "elbo_per_px": -0.55,
        "reconstruction_per_px": -0.5,
    }
    return Representation(**(fields | changes))  # type: ignore[arg-type]
