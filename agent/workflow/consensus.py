"""What several representations agree on: a latent space made of their clusters.

Each member says of each patch to which of its types it belongs. Two patches are as alike as the members that put them together
are many: the co-association matrix (A. Fred and A. Jain, IEEE TPAMI 27, 835, 2005; A. Strehl and J. Ghosh, J. Mach. Learn.
Res. 3, 583, 2002). Its leading eigenvectors are the principal components of the members' assignment probabilities side by side,
which is how they are computed here: no n by n matrix is made. It must not be confused with an average of latent spaces, whose
axes have nothing to do with each other.
"""

from collections.abc import Sequence

import numpy as np

from agent.workflow.families.basis import Basis
from rewards.base import Mixture, Representation

LEAST_SHARE = 0.05


def consensus(members: Sequence[tuple[Representation, Mixture]], latent_dim: int, seed: int) -> Representation:
    """The consensus of a bootstrap resample of the members, of at most `latent_dim` latents of unit variance.

    Every member has one vote on each pair of patches, whatever its number of types: its assignment probabilities are weighted by
    the square root of how often it was drawn over the number of members. A latent is kept if it carries at least 5 % of the
    total variance: a type of 5 % of the patches that all members see does, and so does one of 10 % that half of them see; what
    single members scatter does not, and is not stretched to unit variance. Where no member tells patches apart, one latent
    without variance is left, which the guards call collapsed.

    Parameters
    ----------
    members
        Two or more representations of the same n points, each with the mixture of its score.
    latent_dim
        Latents at most.
    seed
        Draws the members, with replacement; consensuses of several seeds tell how far they depend on who takes part.

    Raises
    ------
    ValueError
        If there are fewer than two members, they represent different points, or a latent is not finite.
    """
    representations = [representation for representation, _ in members]
    _check(representations)
    drawn = np.random.default_rng(seed).integers(len(members), size=len(members))
    votes = np.bincount(drawn, minlength=len(members)) / len(members)
    as_it_is = _assignments(members, votes, "z")
    n = len(as_it_is)
    basis = _told_apart(Basis.of(as_it_is, np.ones(n), min(latent_dim, as_it_is.shape[1])), as_it_is)
    z = basis.encode(as_it_is)
    return Representation(
        z=z,
        z_std=np.zeros_like(z),
        z_rotated=basis.encode(_assignments(members, votes, "z_rotated")),
        z_mirrored=basis.encode(_assignments(members, votes, "z_mirrored")),
        points_rc=representations[0].points_rc,
        window_px=max(r.window_px for r in representations),
        invariance="consensus",
        seed=seed,
        elbo_per_px=float("nan"),
        reconstruction_per_px=float("nan"),
        results=representations[0].results,
        trained=False,
    )


def _check(representations: Sequence[Representation]) -> None:
    if len(representations) < 2:
        raise ValueError(f"a consensus needs at least two representations, {len(representations)} given")
    first = representations[0].points_rc
    if any(not np.array_equal(r.points_rc, first) for r in representations):
        raise ValueError("a consensus needs representations of the same points, in the same order")
    if any(not np.isfinite(z).all() for r in representations for z in (r.z, r.z_rotated, r.z_mirrored)):
        raise ValueError("a consensus needs finite latents; leave out members that the guards rejected")


def _assignments(members: Sequence[tuple[Representation, Mixture]], votes: np.ndarray, view: str) -> np.ndarray:
    """Shape (n, ΣK): assignment probabilities of those members that were drawn, weighted by their votes."""
    return np.concatenate(
        [m.responsibilities(getattr(r, view)) * np.sqrt(vote) for (r, m), vote in zip(members, votes, strict=True) if vote],
        axis=1,
    )


def _told_apart(basis: Basis, assignments: np.ndarray) -> Basis:
    """The basis less its components of little variance; at least one is left, with standard deviation 1 if it has none."""
    total = float(assignments.var(axis=0).sum())
    variances = np.where(basis.axes.any(axis=0), basis.scale**2, 0.0)
    kept = max(1, int((variances >= LEAST_SHARE * total).sum())) if total > 0 else 1
    return Basis(basis.axes[:, :kept], basis.centre, basis.scale[:kept])
