"""Representation by k-means: coordinates of the patches within the affine span of the centroids.

The partition of k-means depends on a point's distances from K centroids, and these depend, up to a term common to all, on its
coordinates in the affine span of the centroids: K - 1 numbers. A mixture in these coordinates refines the partition of k-means,
and can be judged by criteria such as BIC, for which labels alone are not enough.
"""

import warnings

import numpy as np
from jaxtyping import Float
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from agent.representation.classical.pca import MIN_VARIANCE_SHARE, Basis

RESTARTS = 3
_MAX_ITERATIONS = 100
_TOLERANCE = 1e-3  # of the features' mean variance; smaller moves of the centroids hardly change the partition


def k_means(
    points: Float[np.ndarray, "n features"], weights: Float[np.ndarray, " n"], n_centroids: int, rng: np.random.Generator
) -> Float[np.ndarray, "K features"]:
    """K centroids from the best of several restarts (S. Lloyd, IEEE Trans. Inf. Theory 28, 129, 1982; scikit-learn's `KMeans`).

    Parameters
    ----------
    points
        Shape (n, features).
    weights
        Shape (n,): weight of each point.
    n_centroids
        K. If fewer than K points are different, some centroids are equal.
    rng
        Source of the restarts' seed.
    """
    model = KMeans(n_centroids, n_init=RESTARTS, max_iter=_MAX_ITERATIONS, tol=_TOLERANCE, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # Equal centroids are allowed: their span has fewer dimensions, which the guards detect.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, sample_weight=weights)
    return np.asarray(model.cluster_centers_, dtype=np.float64)


def centroid_basis(
    features: Float[np.ndarray, "n features"], weights: Float[np.ndarray, " n"], d: int, rng: np.random.Generator
) -> Basis:
    """The principal components of the features within the affine span of d + 1 centroids.

    Parameters
    ----------
    features
        Shape (n, features).
    weights
        Shape (n,): weight of each row; rows of weight 0 are ignored.
    d
        Number of latents.
    rng
        Source of the seed of k-means.
    """
    drawn = weights > 0
    # Single precision halves the time; the basis itself is computed in double precision.
    centroids = k_means(features[drawn].astype(np.float32), weights[drawn], d + 1, rng)
    _, lengths, directions = np.linalg.svd(centroids - centroids.mean(axis=0), full_matrices=False)
    spanned = directions[:d][lengths[:d] > np.sqrt(MIN_VARIANCE_SHARE) * lengths[0]]
    span = np.pad(spanned.T, ((0, 0), (0, d - len(spanned))))
    return Basis.within(features, weights, span)
