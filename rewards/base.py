"""Data types of rewards: the representation to be scored, the score, and the Gaussian mixture behind it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class Mixture:
    """K Gaussians with full covariances.

    Parameters
    ----------
    weights
        Shape (K,), summing to 1.
    means
        Shape (K, d).
    covariances
        Shape (K, d, d), symmetric positive definite.
    """

    weights: Float[np.ndarray, " K"]
    means: Float[np.ndarray, "K d"]
    covariances: Float[np.ndarray, "K d d"]

    @property
    def n_components(self) -> int:
        """Number of Gaussians, K."""
        return len(self.weights)

    def mahalanobis(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """Mahalanobis distance of each point from the centre of each component."""
        out = np.empty((len(z), self.n_components))
        for k in range(self.n_components):
            factor = np.linalg.cholesky(self.covariances[k])
            out[:, k] = np.linalg.norm(np.linalg.solve(factor, (z - self.means[k]).T), axis=0)
        return out

    def log_joint(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """log(weight_k · density_k(z)) for each point and component."""
        d = z.shape[1]
        log_det = np.linalg.slogdet(self.covariances)[1]
        with np.errstate(divide="ignore"):  # a component of weight 0 correctly gets -inf
            log_weight = np.log(self.weights)
        return np.asarray(log_weight - 0.5 * (d * np.log(2 * np.pi) + log_det + self.mahalanobis(z) ** 2))

    def responsibilities(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """Posterior probability tau_ik that point i belongs to component k; rows sum to 1."""
        joint = self.log_joint(z)
        tau = np.exp(joint - joint.max(axis=1, keepdims=True))
        return np.asarray(tau / tau.sum(axis=1, keepdims=True))

    def labels(self, z: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """Index of the most probable component of each point."""
        return np.asarray(self.log_joint(z).argmax(axis=1))


@dataclass(frozen=True, eq=False)
class MeasuredResults:
    """Results measured on the sample so far.

    Parameters
    ----------
    points_rc
        Shape (m, 2): positions in pixels (row, col) of the scan that is searched.
    values
        Shape (m, p): one vector of loop parameters per position, in the instrument's units.
    names
        Names of the p parameters, with units.
    """

    points_rc: Float[np.ndarray, "m 2"]
    values: Float[np.ndarray, "m p"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class WallGraph:
    """Pairs of points that lie on the same domain wall.

    Parameters
    ----------
    pairs
        Shape (m, 2): rows of the points, each pair once, the smaller row first.
    along_px
        Shape (m,): distance along the wall in pixels.
    """

    pairs: Int[np.ndarray, "m 2"]
    along_px: Float[np.ndarray, " m"]

    @classmethod
    def empty(cls) -> "WallGraph":
        """The graph of points that lie on no walls."""
        return cls(np.empty((0, 2), dtype=np.int64), np.empty(0))

    def take(self, rows: Int[np.ndarray, " m"]) -> "WallGraph":
        """The graph of the points in `rows` only, each of which occurs once."""
        if not len(self.pairs):
            return self
        renumbered = np.full(max(int(self.pairs.max()), int(np.max(rows, initial=0))) + 1, -1, dtype=np.int64)
        renumbered[rows] = np.arange(len(rows))
        pairs = renumbered[self.pairs]
        kept = (pairs >= 0).all(axis=1)
        return WallGraph(np.sort(pairs[kept], axis=1), self.along_px[kept])

    def between(self, least_px: float, most_px: float) -> Int[np.ndarray, "m 2"]:
        """Pairs whose distance along the wall lies between the two, in pixels."""
        return self.pairs[(self.along_px >= least_px) & (self.along_px <= most_px)]


@dataclass(frozen=True, eq=False)
class Representation:
    """Latents of one candidate, with everything else that a reward may need: rewards train no model and open no image.

    Parameters
    ----------
    z, z_std
        Shape (n, d): means and standard deviations of the latent variables that describe structure (rotation and
        translation latents are not among them).
    z_rotated, z_mirrored
        Shape (n, d): means for each patch rotated by 90 degrees, and mirrored left to right.
    points_rc
        Shape (n, 2): key points, (row, col) in pixels.
    window_px
        Side of the patches in pixels.
    invariance
        "v", "r", "t" or "rt": the transformations that the model separates from structure. For a plain family, its short name.
    seed
        Seed of initialisation and training, or of the resample to which a plain family is fitted.
    elbo_per_px
        Held-out ELBO per pixel in nats (reconstruction - β·KL); NaN if there is none.
    reconstruction_per_px
        Held-out reconstruction log-likelihood per pixel in nats (eq. 1); NaN if it is not defined.
    results
        Results measured so far, if any.
    trained
        False for a plain family, which has no ELBO and cannot diverge.
    types
        Mixture whose components are the types, if they are given and need not be found. Rewards that rest on a mixture then use
        this one.
    walls
        Which points lie on the same domain wall; empty if the key points do not follow walls.
    """

    z: Float[np.ndarray, "n d"]
    z_std: Float[np.ndarray, "n d"]
    z_rotated: Float[np.ndarray, "n d"]
    z_mirrored: Float[np.ndarray, "n d"]
    points_rc: Int[np.ndarray, "n 2"]
    window_px: int
    invariance: str
    seed: int
    elbo_per_px: float
    reconstruction_per_px: float
    results: MeasuredResults | None = None
    trained: bool = True
    types: Mixture | None = None
    walls: WallGraph = field(default_factory=WallGraph.empty)

    def take(self, rows: Int[np.ndarray, " m"]) -> "Representation":
        """The representation of the points in `rows` only."""
        subset = {name: getattr(self, name)[rows] for name in ("z", "z_std", "z_rotated", "z_mirrored", "points_rc")}
        return replace(self, walls=self.walls.take(rows), **subset)


@dataclass(frozen=True, eq=False)
class Score:
    """What a reward returns for one representation.

    Parameters
    ----------
    value
        The reward; higher is always better.
    metrics
        Quantities behind the value, with the names and signs of the paper.
    mixture
        Mixture on which the value rests, in the coordinates of `z`; core points are chosen from its clusters. If a reward
        fits none, the mixture that `icl_gain` prefers is used.
    """

    value: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    mixture: Mixture | None = None


@runtime_checkable
class Reward(Protocol):
    """Scores one representation.

    Called once for each candidate. All candidates of a search come with the same number of points n, already density-filtered.
    A reward must not keep state between calls, and must draw all random numbers from `rng`.
    """

    def __call__(self, representation: Representation, *, rng: np.random.Generator) -> Score:
        """Score of the representation; a higher `value` is better."""
