"""Integrated variance reduction: gain in knowledge about the whole frame from a measurement at each candidate.

In a Gaussian process with noise s², a measurement at j reduces the posterior variance at t by c(t, j)² / (c(j, j) + s²), where c
is the posterior covariance before; the measured value does not matter. The sum over all targets t is the gain of j. The candidate
with the largest gain is measured next, and so on (active learning: Cohn, Neural Networks 9, 1071 (1996); Seo et al., IJCNN 2000).
This is not the criterion of maximum variance, which selects the most unusual points.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cholesky, solve_triangular

from agent.recommendation.similarity_kernel import PlaceKernel

_JITTER = 1e-9  # relative to the prior variance, 1; needed if two points coincide


class VarianceReduction:
    """Gains of all candidates, updated after each measurement.

    An update costs one product with the prior covariance, O(targets · candidates), and no new decomposition.

    Parameters
    ----------
    kernel
        Prior covariance of all points.
    targets
        Shape (m,): rows of the grid points at which the variance is to be reduced.
    candidates
        Shape (c,): rows of the points that can be measured.
    given
        Shape (g,): rows of the points that have been measured.
    noise
        Noise variance s² of a measurement, relative to the prior variance.
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
        # The posterior covariance is the prior one minus the product of these rows, of which there is one for each measurement.
        self._at_targets = list(_solve(root, kernel(given, targets)))
        self._at_candidates = list(_solve(root, kernel(given, candidates)))
        covariance = self._prior - np.array(self._at_targets).T @ np.array(self._at_candidates) if len(given) else self._prior
        self._sum_of_squares = (covariance**2).sum(axis=0)
        self._variance = np.maximum(1 - sum((w**2 for w in self._at_candidates), np.zeros(len(candidates))), 0.0)

    @property
    def gains(self) -> Float[np.ndarray, " c"]:
        """Reduction of the variance summed over the grid points by a measurement of each candidate; never negative."""
        return np.asarray(np.maximum(self._sum_of_squares, 0.0) / (self._variance + self._noise))

    def update(self, j: int) -> None:
        """Update the gains after a measurement of the candidate with the index `j` in `candidates`."""
        root = np.sqrt(self._variance[j] + self._noise)
        u = self._prior[:, j].copy()
        w = self._kernel(self.candidates[[j]], self.candidates)[0]
        for u_before, w_before in zip(self._at_targets, self._at_candidates, strict=True):
            u -= u_before * w_before[j]
            w -= w_before * w_before[j]
        u /= root
        w /= root
        product = u @ self._prior
        for u_before, w_before in zip(self._at_targets, self._at_candidates, strict=True):
            product -= (u @ u_before) * w_before
        self._sum_of_squares += w * (w * (u @ u) - 2 * product)
        self._variance = np.maximum(self._variance - w**2, 0.0)
        self._at_targets.append(u)
        self._at_candidates.append(w)


def _solve(root: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(solve_triangular(root, right, lower=True)) if len(root) else right
