"""Reconstruction log-likelihood per pixel, eq. 1 of the paper: how much the latent space keeps."""

import numpy as np

from rewards.base import Representation, Score


def reconstruction(representation: Representation, *, rng: np.random.Generator) -> Score:  # noqa: ARG001 - the Reward signature
    """Eq. 1 as a reward: (1/N)·E_q[log p(x|z)] on held-out patches. Comparable at equal window and channels only."""
    value = representation.reconstruction_per_px
    return Score(value, {"reconstruction": value})
