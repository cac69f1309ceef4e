"""Prior covariance of two measurements, from the similarity of their patches and the distance of their positions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True, eq=False)
class PlaceKernel:
    """Prior covariance of a measured quantity at two points; its variance is 1.

    k = share · m(|f - f'| / patch_length) + (1 - share) · m(|x - x'| / position_length), with the Matérn function of order 3/2,
    m(r) = (1 + √3 r) exp(-√3 r): one part of the response depends on the microstructure, wherever it is, another varies over
    the sample, whatever the patch shows (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 4.17).

    Parameters
    ----------
    features
        Shape (n, d): features of the patches, in any unit.
    xy
        Shape (n, 2): positions, in any unit.
    share
        Share of the variance that depends on the patches, from 0 to 1.
    patch_length
        Correlation length in the unit of `features`.
    position_length
        Correlation length in the unit of `xy`.
    """

    features: Float[np.ndarray, "n d"]
    xy: Float[np.ndarray, "n 2"]
    share: float
    patch_length: float
    position_length: float

    def __call__(self, a: Int[np.ndarray, " p"], b: Int[np.ndarray, " q"]) -> Float[np.ndarray, "p q"]:
        """Covariance of the points in rows `a` with those in rows `b`."""
        covariance = _matern(_distance(self.xy[a], self.xy[b]), self.position_length)
        covariance *= 1 - self.share
        by_patch = _matern(_distance(self.features[a], self.features[b]), self.patch_length)
        by_patch *= self.share
        covariance += by_patch
        return covariance


def standardised(features: Float[np.ndarray, "n d"], by: Float[np.ndarray, "m d"] | None = None) -> Float[np.ndarray, "n d"]:
    """Features minus the mean of `by`, divided by the root mean square distance of `by` from it; 0 if all of `by` are equal.

    Parameters
    ----------
    features
        Shape (n, d).
    by
        Shape (m, d): features that set origin and scale; None for the features themselves.
    """
    by = (features if by is None else by).astype(np.float64)
    mean = by.mean(axis=0)
    scale = float(np.sqrt(((by - mean) ** 2).sum(axis=1).mean()))
    return np.asarray((features - mean) / scale if scale else np.zeros(features.shape))


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squared = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


def _matern(distance: np.ndarray, length: float) -> np.ndarray:
    r = distance * (np.sqrt(3) / length)
    out = np.exp(-r)
    r += 1
    out *= r
    return np.asarray(out)
