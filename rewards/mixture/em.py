"""Expectation maximisation of Gaussian mixtures, all restarts of one K at once.

The estimator is that of scikit-learn's `GaussianMixture(covariance_type="full")`, with the same tolerance, covariance floor and
restarts. Only the arithmetic differs. A Gaussian log-density is linear in the monomials [1, x_i, x_i x_j], so one matrix product
yields all densities of all restarts, and a second one all moments of the M step. Restarts are screened: after a short run only
the three likeliest are continued. A grid of K = 1...10 takes about one second, scikit-learn about twenty.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rewards.base import Mixture

_SCREEN_AFTER = 15
_SCREEN_KEEP = 3
_TINY = 1e-300


@dataclass(frozen=True)
class EMSettings:
    """Settings of the fit. Defaults are those of the paper (restarts, iterations) and of scikit-learn (tolerance, floor).

    Parameters
    ----------
    restarts
        Number of initialisations by k-means++.
    max_iterations
        Largest number of EM steps.
    tolerance
        EM has converged when the mean log-likelihood of every restart gains less than this, in nats per point.
    floor
        Added to the diagonal of each covariance, in the whitened coordinates in which the fit runs.
    """

    restarts: int = 10
    max_iterations: int = 500
    tolerance: float = 1e-3
    floor: float = 1e-6


@dataclass(frozen=True, eq=False)
class Whitening:
    """Affine map to zero mean and unit covariance: x = solve(factor, z - mean)."""

    mean: Float[np.ndarray, " d"]
    factor: Float[np.ndarray, "d d"]

    @staticmethod
    def of(z: Float[np.ndarray, "n d"]) -> "Whitening":
        """Whitening of `z`; directions without variance are not rescaled."""
        covariance = np.atleast_2d(np.cov(z, rowvar=False))
        values, vectors = np.linalg.eigh(covariance)
        scale = np.sqrt(np.where(values > 1e-12 * max(values.max(), 1e-12), values, 1.0))
        return Whitening(z.mean(axis=0), vectors * scale)

    @property
    def log_volume(self) -> float:
        """Log |det factor|: increase of the mean log-density by whitening, in nats."""
        return float(np.linalg.slogdet(self.factor)[1])

    def apply(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Whitened points."""
        return np.asarray(np.linalg.solve(self.factor, (z - self.mean).T).T)

    def undo(self, mixture: Mixture) -> Mixture:
        """A mixture of whitened points, transformed to the original coordinates."""
        means = mixture.means @ self.factor.T + self.mean
        return Mixture(mixture.weights, means, self.factor @ mixture.covariances @ self.factor.T)


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted mixture, its mean log-likelihood in nats per point, and whether EM converged."""

    mixture: Mixture
    log_likelihood: float
    converged: bool


def fit_mixture(
    x: Float[np.ndarray, "n d"], n_components: int, rng: np.random.Generator, settings: EMSettings = EMSettings()
) -> Fit:
    """The likeliest mixture of `n_components` Gaussians among those fitted from `settings.restarts` initialisations.

    Parameters
    ----------
    x
        Shape (n, d): points, centred and of order one (whitened).
    n_components
        Number of Gaussians K, at most n.
    rng
        Random generator of the initialisations.

    Raises
    ------
    ValueError
        If there are fewer points than components.
    """
    n, d = x.shape
    if n_components > n:
        raise ValueError(f"{n} points cannot be fitted by {n_components} Gaussians; use at most {n}")
    phi = _monomials(x)
    restarts = 1 if n_components == 1 else settings.restarts
    weights, means, covariances = _initialise(x, n_components, restarts, rng, settings.floor)
    previous = np.full(restarts, -np.inf)
    converged = False
    for iteration in range(settings.max_iterations):
        tau, likelihood = _expect(phi, d, weights, means, covariances)
        if iteration == _SCREEN_AFTER and len(likelihood) > _SCREEN_KEEP:
            keep = np.sort(np.argsort(-likelihood, kind="stable")[:_SCREEN_KEEP])
            tau, likelihood, previous = tau[keep], likelihood[keep], previous[keep]
            weights, means, covariances = weights[keep], means[keep], covariances[keep]
        converged = bool(np.all(np.abs(likelihood - previous) < settings.tolerance))
        if converged:
            break
        previous = likelihood
        weights, means, covariances = _maximise(phi, d, tau, settings.floor)
    else:
        likelihood = _expect(phi, d, weights, means, covariances)[1]
    best = int(np.argmax(likelihood))
    return Fit(Mixture(weights[best], means[best], covariances[best]), float(likelihood[best]), converged)


def _monomials(x: np.ndarray) -> np.ndarray:
    """[1, x_i, x_i x_j for i <= j], shape (n, 1 + d + d(d+1)/2)."""
    upper = np.triu_indices(x.shape[1])
    return np.concatenate([np.ones((len(x), 1)), x, x[:, upper[0]] * x[:, upper[1]]], axis=1)


def _initialise(
    x: np.ndarray, n_components: int, restarts: int, rng: np.random.Generator, floor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """k-means++ centres, equal weights and one shared isotropic covariance."""
    n, d = x.shape
    means = np.empty((restarts, n_components, d))
    for r in range(restarts):
        centre = x[rng.integers(n)]
        distance = ((x - centre) ** 2).sum(axis=1)
        means[r, 0] = centre
        for k in range(1, n_components):
            total = distance.sum()
            means[r, k] = x[rng.choice(n, p=distance / total) if total > 0 else rng.integers(n)]
            distance = np.minimum(distance, ((x - means[r, k]) ** 2).sum(axis=1))
    spread = max(float(x.var(axis=0).mean()) / n_components, floor)
    covariances = np.tile(spread * np.eye(d), (restarts, n_components, 1, 1))
    return np.full((restarts, n_components), 1 / n_components), means, covariances


def _expect(
    phi: np.ndarray, d: int, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Responsibilities (restarts, K, n) and mean log-likelihoods (restarts,)."""
    restarts, n_components = weights.shape
    precision = np.linalg.inv(covariances)
    log_det = np.linalg.slogdet(covariances)[1]
    linear = np.einsum("rkij,rkj->rki", precision, means)
    constant = np.log(weights + _TINY) - 0.5 * (d * np.log(2 * np.pi) + log_det + (means * linear).sum(axis=-1))
    upper = np.triu_indices(d)
    quadratic = -0.5 * precision[..., upper[0], upper[1]] * np.where(upper[0] == upper[1], 1.0, 2.0)
    coefficients = np.concatenate([constant[..., None], linear, quadratic], axis=-1)
    log_joint = (coefficients.reshape(restarts * n_components, -1) @ phi.T).reshape(restarts, n_components, -1)
    top = log_joint.max(axis=1, keepdims=True)
    tau = np.exp(log_joint - top, out=log_joint)
    total = tau.sum(axis=1, keepdims=True)
    tau /= total
    return tau, (top + np.log(total))[:, 0].mean(axis=1)


def _maximise(phi: np.ndarray, d: int, tau: np.ndarray, floor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means and covariances of each restart from its responsibilities."""
    restarts, n_components, n = tau.shape
    moments = (tau.reshape(-1, n) @ phi).reshape(restarts, n_components, -1)
    mass = moments[..., 0] + 10 * np.finfo(float).eps
    means = moments[..., 1 : 1 + d] / mass[..., None]
    second = np.empty((restarts, n_components, d, d))
    upper = np.triu_indices(d)
    second[..., upper[0], upper[1]] = second[..., upper[1], upper[0]] = moments[..., 1 + d :] / mass[..., None]
    covariances = second - means[..., :, None] * means[..., None, :]
    # If a component collapses onto one point, rounding can make the covariance slightly negative; clip its eigenvalues.
    values, vectors = np.linalg.eigh(covariances)
    covariances = (vectors * np.maximum(values, 0.0)[..., None, :]) @ np.swapaxes(vectors, -1, -2) + floor * np.eye(d)
    return mass / n, means, covariances
