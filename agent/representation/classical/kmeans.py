"""What k-means sees of its points.

The partition of k-means depends on a point's distances from K centroids, and these, up to a part common to all, on its
coordinates in the affine span of the centroids: K - 1 numbers. A mixture in these coordinates so refines the partition of
k-means, and a mixture's criteria, which labels alone do not allow, can judge it.
"""

import warnings

import numpy as np
from jaxtyping import Float
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from agent.representation.classical.pca import LEAST_SHARE, Basis

RESTARTS = 3
_MOST_ITERATIONS = 100
_TOLERANCE = 1e-3  # of the features' mean variance: a smaller move of the centroids is no other partition worth waiting for


def k_means(
    points: Float[np.ndarray, "n features"], weights: Float[np.ndarray, " n"], n_centroids: int, rng: np.random.Generator
) -> Float[np.ndarray, "K features"]:
    """K centroids, of the best of several restarts (S. Lloyd, IEEE Trans. Inf. Theory 28, 129, 1982; scikit-learn's `KMeans`).

    Parameters
    ----------
    points
        Shape (n, features).
    weights
        Shape (n,): how often each point counts.
    n_centroids
        K. Where fewer points differ, some centroids are equal.
    rng
        Seeds the restarts.
    """
    model = KMeans(n_centroids, n_init=RESTARTS, max_iter=_MOST_ITERATIONS, tol=_TOLERANCE, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # Equal centroids are no failure here: their span is narrower, which the guards find.
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
        Shape (n,): how often each row counts; rows of weight 0 do not take part.
    d
        Latents.
    rng
        Seeds k-means.
    """
    drawn = weights > 0
    # Single precision halves the time; the basis that is kept is computed in double.
    centroids = k_means(features[drawn].astype(np.float32), weights[drawn], d + 1, rng)
    _, lengths, directions = np.linalg.svd(centroids - centroids.mean(axis=0), full_matrices=False)
    spanned = directions[:d][lengths[:d] > np.sqrt(LEAST_SHARE) * lengths[0]]
    span = np.pad(spanned.T, ((0, 0), (0, d - len(spanned))))
    return Basis.within(features, weights, span)
