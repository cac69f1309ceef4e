"""Consensus: a latent space built from the clusters of several representations.

Each member assigns each patch to one of its types. The similarity of two patches is the share of members that put them into the
same type: the co-association matrix (A. Fred and A. Jain, IEEE TPAMI 27, 835, 2005; A. Strehl and J. Ghosh, J. Mach. Learn.
Res. 3, 583, 2002). Its leading eigenvectors are the principal components of the members' assignment probabilities, concatenated,
and are computed as such, without the n by n matrix. It is not an average of latent spaces, whose axes are unrelated.
"""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from agent.representation.classical.kmeans import k_means
from agent.representation.classical.pca import Basis
from rewards.base import Mixture, Representation

MIN_VARIANCE_SHARE = 0.05
_MIN_VARIANCE = 0.01  # of a type in any direction; latents have unit variance


def consensus_types(
    members: Sequence[tuple[Representation, Mixture]], latent_dim: int, seed: int
) -> tuple[Representation, Mixture]:
    """The consensus of a bootstrap resample of the members, with latents of unit variance, and the types that they agree on.

    Every member has one vote on each pair of patches, whatever its number of types: its assignment probabilities are weighted by
    the square root of how often it was drawn over the number of members. A latent is kept if it carries at least 5 % of the
    total variance: a type of 5 % of the patches that all members see does, and so does one of 10 % that half of them see. What
    single members scatter does not, and is not stretched to unit variance. If no member separates any patches, one latent
    without variance is left, which the guards reject as collapsed.

    There is one type more than there are latents. The types are those of k-means in the latents before they are scaled to unit
    variance, as in spectral clustering: d directions separate d + 1 groups, and what few members see must not weigh as much as
    what all see. A mixture fitted to the latents would split the types instead: points lie in dense lumps, one for each
    combination of members, and nothing is Gaussian. The Gaussians returned describe the groups; they do not maximise the
    likelihood.

    Parameters
    ----------
    members
        Two or more representations of the same n points, each with the mixture of its score.
    latent_dim
        Largest number of latents.
    seed
        Seed of the bootstrap, which draws members with replacement; the consensuses of several seeds show how far the result
        depends on the choice of members.

    Raises
    ------
    ValueError
        If there are fewer than two members, they represent different points, or a latent is not finite.
    """
    representations = [representation for representation, _ in members]
    _check(representations)
    drawn = np.random.default_rng(seed).integers(len(members), size=len(members))
    votes = np.bincount(drawn, minlength=len(members)) / len(members)
    with threadpool_limits(1):
        assignments = _assignments(members, votes, "z")
        n = len(assignments)
        basis = _without_minor_axes(Basis.of(assignments, np.ones(n), min(latent_dim, assignments.shape[1])), assignments)
        z, z_rotated, z_mirrored = (basis.encode(_assignments(members, votes, view)) for view in ("z", "z_rotated", "z_mirrored"))
        types = _types(z, basis, np.random.default_rng([seed, 1]))
    representation = Representation(
        z=z,
        z_std=np.zeros_like(z),
        z_rotated=z_rotated,
        z_mirrored=z_mirrored,
        points_rc=representations[0].points_rc,
        window_px=max(r.window_px for r in representations),
        invariance="consensus",
        seed=seed,
        elbo_per_px=float("nan"),
        reconstruction_per_px=float("nan"),
        results=representations[0].results,
        walls=representations[0].walls,
        trained=False,
    )
    return representation, types


def _check(representations: Sequence[Representation]) -> None:
    if len(representations) < 2:
        raise ValueError(f"a consensus needs at least two representations, {len(representations)} given")
    first = representations[0].points_rc
    if any(not np.array_equal(r.points_rc, first) for r in representations):
        raise ValueError("a consensus needs representations of the same points, in the same order")
    if any(not np.isfinite(z).all() for r in representations for z in (r.z, r.z_rotated, r.z_mirrored)):
        raise ValueError("a consensus needs finite latents; leave out members that the guards rejected")


def _assignments(members: Sequence[tuple[Representation, Mixture]], votes: np.ndarray, view: str) -> np.ndarray:
    """Shape (n, ΣK): assignment probabilities of the members that were drawn, weighted by the square roots of their votes."""
    return np.concatenate(
        [m.responsibilities(getattr(r, view)) * np.sqrt(vote) for (r, m), vote in zip(members, votes, strict=True) if vote],
        axis=1,
    )


def _without_minor_axes(basis: Basis, assignments: np.ndarray) -> Basis:
    """The basis without components of little variance; at least one is left, with standard deviation 1 if it has none."""
    total = float(assignments.var(axis=0).sum())
    variances = np.where(basis.axes.any(axis=0), basis.scale**2, 0.0)
    kept = max(1, int((variances >= MIN_VARIANCE_SHARE * total).sum())) if total > 0 else 1
    return Basis(basis.axes[:, :kept], basis.centre, basis.scale[:kept])


def _types(z: np.ndarray, basis: Basis, rng: np.random.Generator) -> Mixture:
    """Mixture with one Gaussian for each k-means cluster of the latents before whitening."""
    n, d = z.shape
    if not z.any():
        return Mixture(np.ones(1), np.zeros((1, d)), np.eye(d)[None])
    unscaled = z * basis.scale
    centroids = k_means(unscaled, np.ones(n), d + 1, rng)
    labels = ((unscaled[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
    groups = [z[labels == k] for k in np.unique(labels)]
    means = np.stack([group.mean(axis=0) for group in groups])
    deviations = [group - mean for group, mean in zip(groups, means, strict=True)]
    covariances = np.stack([x.T @ x / len(x) + _MIN_VARIANCE * np.eye(d) for x in deviations])
    return Mixture(np.array([len(group) / n for group in groups]), means, covariances)
