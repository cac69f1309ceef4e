"""The nouns of judging: what a reward is given, what it returns, and the mixture that a score may rest on."""

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
        """Mahalanobis distance of each point from each component's centre."""
        out = np.empty((len(z), self.n_components))
        for k in range(self.n_components):
            factor = np.linalg.cholesky(self.covariances[k])
            out[:, k] = np.linalg.norm(np.linalg.solve(factor, (z - self.means[k]).T), axis=0)
        return out

    def log_joint(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """log(weight_k · density_k(z)) of each point and component."""
        d = z.shape[1]
        log_det = np.linalg.slogdet(self.covariances)[1]
        with np.errstate(divide="ignore"):  # a component of weight 0 gets -inf, which is right
            log_weight = np.log(self.weights)
        return np.asarray(log_weight - 0.5 * (d * np.log(2 * np.pi) + log_det + self.mahalanobis(z) ** 2))

    def responsibilities(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n K"]:
        """Posterior probability tau_ik that point i belongs to component k; rows sum to 1."""
        joint = self.log_joint(z)
        tau = np.exp(joint - joint.max(axis=1, keepdims=True))
        return np.asarray(tau / tau.sum(axis=1, keepdims=True))

    def labels(self, z: Float[np.ndarray, "n d"]) -> Int[np.ndarray, " n"]:
        """The most probable component of each point."""
        return np.asarray(self.log_joint(z).argmax(axis=1))


@dataclass(frozen=True, eq=False)
class MeasuredResults:
    """What has been measured on the sample so far.

    Parameters
    ----------
    points_rc
        Shape (m, 2): where, in pixels (row, col) of the scan that is judged.
    values
        Shape (m, p): one vector of loop parameters a place, in the instrument's units.
    names
        The p names of the values, with units.
    """

    points_rc: Float[np.ndarray, "m 2"]
    values: Float[np.ndarray, "m p"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Representation:
    """One trained model's view of a scan: everything that a reward may need, so that none trains or opens an image.

    Parameters
    ----------
    z, z_std
        Shape (n, d): means and standard deviations of the latent variables that describe structure (rotation and
        translation latents are not among them).
    z_rotated, z_mirrored
        Shape (n, d): the same for each patch turned by 90 degrees and mirrored left to right.
    points_rc
        Shape (n, 2): the key points, (row, col) in pixels.
    window_px
        Side of the patches.
    invariance
        "v", "r", "t" or "rt": what the model sets apart from structure; or the short name of a plain family.
    seed
        Of its initialisation and training, or of the resample that a plain family's basis is fitted to.
    elbo_per_px
        Held-out ELBO per pixel in nats (reconstruction - β·KL); NaN where there is none.
    reconstruction_per_px
        Held-out reconstruction log-likelihood per pixel in nats (eq. 1); NaN where it is not defined.
    results
        Measurements so far; possibly none.
    trained
        False for a plain family, which has no ELBO and cannot diverge.
    types
        The mixture that its types are, where these are given and not to be found: rewards that rest on a mixture take it.
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

    def take(self, rows: Int[np.ndarray, " m"]) -> "Representation":
        """The same representation of the points `rows` only."""
        picked = {name: getattr(self, name)[rows] for name in ("z", "z_std", "z_rotated", "z_mirrored", "points_rc")}
        return replace(self, **picked)


@dataclass(frozen=True, eq=False)
class Score:
    """A reward's verdict on one representation.

    Parameters
    ----------
    value
        Higher is better, always.
    metrics
        Raw quantities under the paper's names and with the paper's signs.
    mixture
        The mixture that the verdict rests on, in the coordinates of `z`; core points are drawn from it. A reward that fits
        none leaves it out and gets the mixture of the default reward.
    """

    value: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    mixture: Mixture | None = None


@runtime_checkable
class Reward(Protocol):
    """Judges one representation.

    Called once for each trained candidate, with the same number of points n for all candidates of a search, already
    density-filtered. It must not keep state between calls, and all its randomness must come from `rng`.
    """

    def __call__(self, representation: Representation, *, rng: np.random.Generator) -> Score:
        """The verdict; `value` higher is better."""
