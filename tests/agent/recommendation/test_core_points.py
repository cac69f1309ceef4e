import numpy as np
import pytest

from agent.recommendation.core_points import core_order, purity, without_mixed


def test_the_core_is_the_nearest_share_of_a_cluster_nearest_first() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 0])
    distance = np.array([[0.4, 9], [0.1, 9], [0.3, 9], [0.2, 9], [9, 0.5], [9, 0.4], [0.1, 9]])
    first, second = core_order(distance, labels, 0.5)
    assert first.tolist() == [1, 6, 3]  # half of five, rounded up; the earlier of two equals first
    assert second.tolist() == [5]


def test_the_smallest_share_still_has_one_point_and_an_empty_cluster_none() -> None:
    cores = core_order(np.array([[1.0, 1.0], [2.0, 1.0]]), np.array([0, 0]), 0.01)
    assert [c.tolist() for c in cores] == [[0], []]


def test_purity_is_the_mean_probability_of_the_own_cluster_over_a_point_and_its_neighbours() -> None:
    points = np.array([[0, 0], [0, 4], [4, 4], [20, 20]])
    labels = np.array([0, 1, 1, 0])
    tau = np.array([[0.9, 0.1], [0.2, 0.8], [0.0, 1.0], [0.6, 0.4]])
    found = purity(points, labels, tau, 4.0)
    assert found == pytest.approx([(0.9 + 0.2 + 0.0) / 3, (0.8 + 0.1 + 1.0) / 3, (1.0 + 0.1 + 0.8) / 3, 0.6])


def test_purity_does_not_reach_beyond_its_radius() -> None:
    points, tau = np.array([[0, 0], [0, 5]]), np.eye(2)
    assert purity(points, np.array([0, 1]), tau, 4.9).tolist() == [1.0, 1.0]
    assert purity(points, np.array([0, 1]), tau, 5.0).tolist() == [0.5, 0.5]


def test_mixed_points_leave_the_core_and_the_others_keep_their_order() -> None:
    kept, mixed = without_mixed([np.array([3, 0, 1]), np.array([2])], np.array([0.4, 0.5, 0.9, 0.8]), 0.5)
    assert [k.tolist() for k in kept] == [[3, 1], [2]]
    assert mixed.tolist() == [0]


def test_a_cluster_that_is_mixed_everywhere_keeps_its_core() -> None:
    kept, mixed = without_mixed([np.array([1, 0]), np.array([], dtype=np.int64)], np.array([0.1, 0.2]), 0.5)
    assert [k.tolist() for k in kept] == [[1, 0], []]
    assert mixed.tolist() == []
