"""Integrated variance reduction: the place that would teach most about all the others.

A Gaussian process with noise s² has, after a measurement at j, a posterior variance at t that is smaller by
c(t, j)² / (c(j, j) + s²), with c the posterior covariance before; what is measured does not enter. Summed over targets t, this
is the gain of j; the place of the largest gain is taken, and so on (active learning of Cohn, Neural Networks 9, 1071 (1996);
Seo et al., IJCNN 2000). This is not maximum variance, which goes for the most unusual places.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular

from agent.recommendation.similarity_kernel import PlaceKernel

_JITTER = 1e-9  # relative to the prior variance, 1: two places may coincide


class VarianceReduction:
    """Gains of all candidates, brought up to date after each measurement.

    A measurement costs one product with the prior covariance, O(targets · candidates), not a new decomposition.

    Parameters
    ----------
    kernel
        Of all places.
    targets
        Shape (m,): rows of the places that are to be known.
    candidates
        Shape (c,): rows of the places that may be measured.
    given
        Shape (g,): rows of the places that have been measured.
    noise
        Variance of a measurement about what the kernel describes, s², relative to the prior variance.
    """

    def __init__(
        self,
        kernel: PlaceKernel,
        targets: Int[np.ndarray, " m"],
        candidates: Int[np.ndarray, " c"],
        given: Int[np.ndarray, " g"],
        noise: float,
    ) -> None:
        self.candidates = candidates
        self._noise = noise + _JITTER
        self._kernel = kernel
        self._prior = kernel(targets, candidates)
        root = cholesky(kernel(given, given) + self._noise * np.eye(len(given)), lower=True) if len(given) else np.empty((0, 0))
        # Posterior covariances are prior ones less the product of these rows, one a measurement.
        self._at_targets = list(_solve(root, kernel(given, targets)))
        self._at_candidates = list(_solve(root, kernel(given, candidates)))
        covariance = self._prior - np.array(self._at_targets).T @ np.array(self._at_candidates) if len(given) else self._prior
        self._sum_of_squares = (covariance**2).sum(axis=0)
        self._variance = np.maximum(1 - sum((w**2 for w in self._at_candidates), np.zeros(len(candidates))), 0.0)

    @property
    def gains(self) -> Float[np.ndarray, " c"]:
        """By how much a measurement of each candidate reduces the summed variance of the targets; never negative."""
        return np.asarray(np.maximum(self._sum_of_squares, 0.0) / (self._variance + self._noise))

    def take(self, j: int) -> None:
        """Bring the gains up to date after a measurement of candidate `j`, a place in `candidates`."""
        root = np.sqrt(self._variance[j] + self._noise)
        u = self._prior[:, j].copy()
        w = self._kernel(self.candidates[[j]], self.candidates)[0]
        for u_before, w_before in zip(self._at_targets, self._at_candidates, strict=True):
            u -= u_before * w_before[j]
            w -= w_before * w_before[j]
        u /= root
        w /= root
        shared = u @ self._prior
        for u_before, w_before in zip(self._at_targets, self._at_candidates, strict=True):
            shared -= (u @ u_before) * w_before
        self._sum_of_squares += w * (w * (u @ u) - 2 * shared)
        self._variance = np.maximum(self._variance - w**2, 0.0)
        self._at_targets.append(u)
        self._at_candidates.append(w)


def _solve(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(solve_triangular(root, right, lower=True)) if len(root) else right
