import numpy as np
import pytest

from agent.representation.classical.kmeans import centroid_basis, k_means


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - centroids, axis=2).argmin(axis=1)


def patches_of(types: int, n: int = 600, features: int = 49, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    labels = rng().integers(types, size=n)
    return rng(1).random((types, features))[labels] + noise * rng(2).standard_normal((n, features)), labels


@pytest.mark.parametrize("K", [2, 3, 7])
@pytest.mark.parametrize("noise", [0.1, 1.0], ids=["types apart", "mostly noise"])
def test_the_nearest_centroid_in_the_latents_is_the_nearest_centroid_of_the_patches(K: int, noise: float) -> None:
    patches, _ = patches_of(K, noise=noise)
    weights = rng(3).integers(0, 3, size=len(patches)).astype(np.float64)
    centroids = k_means(patches[weights > 0].astype(np.float32), weights[weights > 0], K, rng(4))
    basis = centroid_basis(patches, weights, K - 1, rng(4))
    in_span = nearest(basis.encode(patches) * basis.scale, basis.encode(centroids) * basis.scale)
    assert np.array_equal(in_span, nearest(patches, centroids))
    assert len(np.unique(in_span)) == K


def test_axes_are_orthonormal_and_latents_of_unit_variance_without_correlation() -> None:
    patches, _ = patches_of(5)
    basis = centroid_basis(patches, np.ones(len(patches)), 4, rng())
    assert basis.axes.T @ basis.axes == pytest.approx(np.eye(4), abs=1e-10)
    assert np.cov(basis.encode(patches), rowvar=False, bias=True) == pytest.approx(np.eye(4), abs=1e-6)


def test_planted_types_are_found() -> None:
    patches, labels = patches_of(4)
    found = nearest(patches, k_means(patches, np.ones(len(patches)), 4, rng()))
    assert all(len(np.unique(found[labels == t])) == 1 for t in range(4))


def test_fewer_distinct_patches_than_centroids_span_fewer_directions() -> None:
    patches = np.repeat(np.eye(3), 20, axis=0)
    z = centroid_basis(patches, np.ones(60), 5, rng()).encode(patches)
    assert (z.std(axis=0) > 0.5).sum() == 2
    assert not z[:, 2:].any()


def test_the_same_seed_gives_the_same_centroids() -> None:
    patches, _ = patches_of(3)
    one, again = (k_means(patches, np.ones(len(patches)), 3, rng(7)) for _ in range(2))
    assert np.array_equal(one, again)
