"""Labels along walls."""

import numpy as np
import pytest

from rewards.base import Mixture, WallGraph
from rewards.mixture.wall_field import wall_labels, wall_posteriors

TWO = Mixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.0]]), np.ones((2, 1, 1)))


def chain(n: int, step_px: float = 5.0) -> WallGraph:
    pairs = np.array([(i, j) for i in range(n) for j in range(i + 1, n)])
    return WallGraph(pairs, step_px * (pairs[:, 1] - pairs[:, 0]).astype(float))


def test_an_ambiguous_point_takes_the_type_of_its_wall():
    z = np.array([[-1.2], [-0.9], [0.2], [-1.0], [-1.1]])
    assert TWO.labels(z).tolist() == [0, 0, 1, 0, 0]
    assert wall_labels(TWO, z, chain(5), 2.0).tolist() == [0] * 5


def test_a_point_of_which_its_patch_is_sure_keeps_its_type():
    z = np.array([[-1.2], [-0.9], [6.0], [-1.0], [-1.1]])
    assert wall_labels(TWO, z, chain(5), 1.0).tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(("walls", "smoothing"), [(WallGraph.empty(), 2.0), (chain(40), 0.0), (chain(40, 30.0), 2.0)])
def test_without_near_neighbours_or_smoothing_nothing_changes(walls, smoothing):
    z = np.random.default_rng(0).normal(size=(40, 1))
    assert np.array_equal(wall_posteriors(TWO, z, walls, smoothing), TWO.responsibilities(z))
    assert np.array_equal(wall_labels(TWO, z, walls, smoothing), TWO.labels(z))


def test_probabilities_sum_to_one_and_do_not_depend_on_the_order_of_the_points():
    rng = np.random.default_rng(1)
    z, walls = rng.normal(size=(30, 1)), chain(30)
    tau = wall_posteriors(TWO, z, walls, 2.0)
    assert tau.sum(axis=1) == pytest.approx(np.ones(30))
    order = rng.permutation(30)
    assert wall_posteriors(TWO, z[order], walls.take(order), 2.0) == pytest.approx(tau[order])


def test_a_subset_keeps_its_pairs():
    taken = chain(4).take(np.array([3, 1]))
    assert taken.pairs.tolist() == [[0, 1]]
    assert taken.along_px.tolist() == [10.0]
    assert len(chain(4).take(np.array([2])).pairs) == 0
    assert len(WallGraph.empty().take(np.array([0, 1])).pairs) == 0
