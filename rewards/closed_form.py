"""Rewards that need no mixture: reconstruction (eq. 1 of the paper) and the variances of the latents (eq. 2, total, smallest)."""

import numpy as np
from jaxtyping import Float

from rewards.base import Representation, Score


def total_variance(z: Float[np.ndarray, "n d"]) -> float:
    """Var(Z) = Σ_i Var(z_i); about d for a distribution that follows the prior."""
    return float(z.var(axis=0).sum())


def variance_product(z: Float[np.ndarray, "n d"]) -> float:
    """Π_i Var(z_i), eq. 2: zero if one latent variable collapses, but insensitive to a collapse along an oblique direction."""
    return float(z.var(axis=0).prod())


def smallest_eigenvalue(z: Float[np.ndarray, "n d"]) -> float:
    """Variance along the narrowest direction; unlike eq. 2 it reveals a collapse along an oblique direction."""
    return float(np.linalg.eigvalsh(np.atleast_2d(np.cov(z, rowvar=False)))[0])


def reconstruction(representation: Representation, *, rng: np.random.Generator) -> Score:  # noqa: ARG001 - the Reward signature
    """Eq. 1 as a reward: (1/N)·E_q[log p(x|z)] on held-out patches. Only comparable at equal window and channels."""
    value = representation.reconstruction_per_px
    return Score(value, {"reconstruction": value})


def variance(representation: Representation, *, rng: np.random.Generator) -> Score:  # noqa: ARG001 - the Reward signature
    """Eq. 2 as a reward: the product of the latent variances."""
    z = representation.z
    product = variance_product(z)
    return Score(product, {"variance_product": product, "total_variance": total_variance(z)})


def total(representation: Representation, *, rng: np.random.Generator) -> Score:  # noqa: ARG001 - the Reward signature
    """The total variance Σ_i Var(z_i) as a reward; a collapsed latent variable lowers it by about 1."""
    z = representation.z
    value = total_variance(z)
    return Score(value, {"total_variance": value, "variance_product": variance_product(z)})
