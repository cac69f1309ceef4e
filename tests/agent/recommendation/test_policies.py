import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from agent.recommendation import policies
from agent.recommendation.policies import Area, Equal, Informative, Policy, Spread
from agent.recommendation.similarity_kernel import PlaceKernel
from tests.support.cpu import scaled

NOWHERE, NOTHING = np.empty((0, 2)), np.empty(0, dtype=np.int64)


def order(policy: Policy, allowed: np.ndarray, count: int) -> list[int]:
    allowed, rows = allowed.copy(), []
    while len(rows) < count and (row := policy.choose(allowed)) is not None:
        assert allowed[row]
        policy.accept(row)
        allowed[row] = False
        rows.append(row)
    return rows


def square(side: int) -> np.ndarray:
    return np.stack(np.unravel_index(np.arange(side**2), (side, side)), axis=1)


def informative(
    points: np.ndarray, allowed: np.ndarray, *, share: float = 0.0, features: np.ndarray | None = None
) -> Informative:
    features = np.zeros((len(points), 1)) if features is None else features
    kernel = PlaceKernel(features, points.astype(float), share, 1.0, 0.15 * max(1.0, np.ptp(points)))
    return Informative(kernel, points, allowed, np.arange(len(points))[:1500], NOTHING, 0.3, np.random.default_rng(0))


def test_clusters_take_turns_and_a_point_that_is_not_allowed_costs_no_turn() -> None:
    cores = [np.array([4, 0, 1]), np.array([2]), np.array([3, 5])]
    allowed = np.array([True, True, True, True, False, True])
    assert order(Equal(cores), allowed, 9) == [0, 2, 3, 1, 5]
    assert order(Equal(cores, max_each=1), allowed, 9) == [0, 2, 3]


def test_spread_chooses_the_point_farthest_from_selected_and_measured_ones() -> None:
    xy = np.array([[0.0, 0], [1, 0], [4, 0], [10, 0]])
    assert order(Spread(xy, np.array([[0.0, 0]])), np.ones(4, bool), 4) == [3, 2, 1, 0]
    assert order(Spread(xy, NOWHERE), np.ones(4, bool), 2) == [0, 3]


@pytest.mark.slow
def test_area_gives_clusters_points_in_proportion_to_their_size() -> None:
    labels = np.repeat([0, 1], [75, 25])
    found = order(Area(square(10).astype(float), NOWHERE, labels), np.ones(100, bool), 20)
    assert np.bincount(labels[found]).tolist() == [15, 5]


def test_the_share_of_a_cluster_without_allowed_points_goes_to_the_others() -> None:
    labels = np.repeat([0, 1], [75, 25])
    found = order(Area(square(10).astype(float), NOWHERE, labels), labels == 1, 99)
    assert sorted(found) == list(range(75, 100))


def test_the_most_informative_point_is_in_the_middle_and_of_equal_ones_the_first() -> None:
    points = square(9)
    assert order(informative(points, np.ones(81, bool)), np.ones(81, bool), 1) == [40]
    corners = np.isin(np.arange(81), [0, 8, 72, 80])
    assert order(informative(points, corners), corners, 1) == [0]


def test_two_kinds_of_patch_are_both_measured_before_either_is_measured_twice() -> None:
    points = square(6)
    features = np.where(np.arange(36) < 24, 0.0, 50.0)[:, None]
    found = order(informative(points, np.ones(36, bool), share=1.0, features=features), np.ones(36, bool), 2)
    assert [features[i, 0] for i in found] == [0.0, 50.0]


def test_informative_points_leave_less_variance_than_random_ones() -> None:
    points = square(16)
    policy = informative(points, np.ones(256, bool))
    chosen = np.array(order(policy, np.ones(256, bool), 12))
    rng = np.random.default_rng(0)

    def remaining_variance(rows: np.ndarray) -> float:
        kernel = PlaceKernel(np.zeros((256, 1)), points.astype(float), 0.0, 1.0, 0.15 * 15)
        cross = kernel(np.arange(256), rows)
        return float(256 - np.einsum("tm,tm->", cross @ np.linalg.inv(kernel(rows, rows) + 0.3 * np.eye(len(rows))), cross))

    assert remaining_variance(chosen) < min(remaining_variance(rng.choice(256, 12, replace=False)) for _ in range(20))


def test_a_policy_chooses_among_a_subset_of_very_many_points(monkeypatch) -> None:
    monkeypatch.setattr(policies, "_MAX_CANDIDATES", 10)
    allowed = np.ones(81, bool)
    found = order(informative(square(9), allowed), allowed, 81)
    assert len(found) == len(set(found)) == 10


@pytest.mark.slow
def test_choosing_200_of_2600_points_takes_less_than_two_seconds() -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 256, size=(2600, 2))
    allowed = np.ones(2600, bool)
    with threadpool_limits(1):  # as in a decision; threads that wait for each other would count as processor time
        start = time.process_time()
        found = order(informative(points, allowed, share=0.6, features=rng.normal(size=(2600, 8)) / np.sqrt(8)), allowed, 200)
        assert time.process_time() - start < scaled(2)
    assert len(set(found)) == 200
