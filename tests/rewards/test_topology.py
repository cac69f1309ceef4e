import numpy as np
import pytest
from scipy.cluster.hierarchy import linkage

from rewards.topology import count_clusters, persistence, topology
from tests.support.data.clouds import blobs, representation


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_without_births_the_deaths_are_the_merges_of_single_linkage() -> None:
    x = rng().standard_normal((200, 3))
    diagram = persistence(x, neighbours=0)
    assert (diagram[:, 0] == 0).all()
    assert np.sort(diagram[:, 1]) == pytest.approx(np.sort(linkage(x, "single")[:, 2]))


def test_three_points_on_a_line_by_hand() -> None:
    assert sorted(persistence(np.array([[0.0], [1.0], [3.0]]), neighbours=0).tolist()) == [[0, 1], [0, 2]]
    # With one neighbour they are born at 1, 1 and 2, and merge at 1 and 2: no cluster has a lifetime.
    assert len(persistence(np.array([[0.0], [1.0], [3.0]]), neighbours=1)) == 0


@pytest.mark.parametrize("k", [2, 3, 6])
def test_separated_blobs_are_counted(k: int) -> None:
    # Over draws 0-49 of each k the count was right in all, the smallest gap 0.87.
    score = topology(representation(blobs(k, n_each=100, spread=0.3)), rng=rng())
    assert score.metrics["K_topology"] == k
    assert score.value > 0.7


def test_one_gaussian_is_one_cluster() -> None:
    score = topology(representation(rng(3).standard_normal((600, 2))), rng=rng())
    assert score.metrics["K_topology"] == 1
    assert score.value < 0.2


def test_an_outlier_is_no_cluster() -> None:
    z = np.concatenate([blobs(2, n_each=100), [[40.0, 0.0]]])
    assert topology(representation(z), rng=rng()).metrics["K_topology"] == 2


def test_clusters_of_any_shape_are_counted_where_gaussians_are_not_enough() -> None:
    angle = rng().uniform(0, 2 * np.pi, 600)
    ring = np.stack([3 * np.cos(angle), 3 * np.sin(angle)], axis=1)
    z = np.concatenate([ring, np.zeros((300, 2))]) + 0.2 * rng(1).standard_normal((900, 2))
    assert topology(representation(z), rng=rng()).metrics["K_topology"] == 2


def test_neither_affine_maps_nor_the_order_of_rows_matter() -> None:
    z = blobs(3, n_each=100, spread=0.4)
    moved = (z @ np.array([[0.02, 0.5], [-3.0, 0.1]]) + 40)[rng().permutation(len(z))]
    here, there = (topology(representation(x), rng=rng()).value for x in (z, moved))
    assert there == pytest.approx(here, abs=1e-6)


def test_coinciding_points_and_no_deaths_are_no_error() -> None:
    assert np.isfinite(topology(representation(np.repeat(blobs(2, n_each=5), 30, axis=0)), rng=rng()).value)
    assert count_clusters(np.empty((0, 2))) == (1, 0.0)


def test_many_points_are_drawn_from() -> None:
    score = topology(representation(blobs(3, n_each=500)), rng=rng(), most_points=300)
    assert score.metrics["K_topology"] == 3
