"""Evidence from partitions of known quality: they explain a given share of the variance, or nothing.

A comment gives the failure rate of each statistical test with other seeds. Bounds are at least four standard deviations wide, as
found in 300 repetitions.
"""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.base import MeasuredResults, Mixture
from rewards.evidence import (
    EXPECTED_SHARE,
    EvidenceSettings,
    blended,
    evidence,
    evidence_weight,
    leave_one_out_r2,
    nearby,
    normal_scores,
    predicted_share,
)
from tests.support.data.clouds import blobs, representation

KAPPA = (1 - EXPECTED_SHARE) / EXPECTED_SHARE


def loops(labels: np.ndarray, eta2: float, columns: int = 5, seed: int = 0) -> np.ndarray:
    """Values of whose variance the labels explain the share eta2."""
    rng = np.random.default_rng(seed)
    shifts = rng.standard_normal((labels.max() + 1, columns))[labels]
    shifts = (shifts - shifts.mean(axis=0)) / shifts.std(axis=0)
    return np.sqrt(eta2) * shifts + np.sqrt(1 - eta2) * rng.standard_normal(shifts.shape)


def refitted(labels: np.ndarray, values: np.ndarray) -> float:
    """The same R² by brute force: each result is left out in turn, and the means are recomputed."""
    y, errors, base = normal_scores(values), [], []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        everything, mine = y[others].mean(axis=0), y[others & (labels == labels[i])]
        predicted = (mine.sum(axis=0) + KAPPA * everything) / (len(mine) + KAPPA)
        errors.append((y[i] - predicted) ** 2)
        base.append((y[i] - everything) ** 2)
    return 1 - np.sum(errors) / np.sum(base)


@settings(max_examples=20, deadline=None)
@given(m=st.integers(3, 40), k=st.integers(1, 12), seed=st.integers(0, 1000))
def test_the_closed_form_is_that_of_leaving_each_result_out(m: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, values = rng.integers(k, size=m), rng.standard_normal((m, 2))
    assert leave_one_out_r2(labels, values) == pytest.approx(refitted(labels, values), abs=1e-9)


@pytest.mark.parametrize(("eta2", "within"), [(0.1, 0.03), (0.3, 0.035), (0.6, 0.09)])
def test_a_partition_that_explains_a_share_of_the_variance_predicts_that_share(eta2: float, within: float) -> None:
    labels = np.random.default_rng(1).integers(6, size=3000)
    assert leave_one_out_r2(labels, loops(labels, eta2)) == pytest.approx(eta2, abs=within)  # fails below 1 in 10,000


@pytest.mark.parametrize(("m", "k"), [(20, 2), (20, 10), (50, 6), (200, 10)])
def test_clusters_that_say_nothing_predict_nothing_on_average(m: int, k: int) -> None:
    rng = np.random.default_rng(2)
    values, labels = loops(rng.integers(6, size=m), 0.3), rng.integers(k, size=m)
    shuffled = [leave_one_out_r2(rng.permutation(labels), values) for _ in range(400)]
    error = np.std(shuffled) / np.sqrt(len(shuffled))
    assert -1 / (4 * KAPPA) - 4 * error < np.mean(shuffled) < 4 * error  # each side fails below 1 in 10,000


def test_one_cluster_and_as_many_as_results_predict_exactly_nothing() -> None:
    values = np.random.default_rng(3).standard_normal((30, 4))
    assert leave_one_out_r2(np.zeros(30, dtype=int), values) == pytest.approx(0, abs=1e-12)
    assert leave_one_out_r2(np.arange(30), values) == pytest.approx(0, abs=1e-12)


def test_neither_units_nor_logarithms_nor_names_of_clusters_matter() -> None:
    labels = np.random.default_rng(4).integers(4, size=80)
    values = loops(labels, 0.4, columns=3)
    r2 = leave_one_out_r2(labels, values)
    in_other_units = np.stack([1e9 * values[:, 0] + 7, np.exp(values[:, 1]), -values[:, 2]], axis=1)
    assert leave_one_out_r2(labels, in_other_units) == pytest.approx(r2, abs=1e-12)
    assert leave_one_out_r2(np.array([7, 2, 30, 1])[labels], values) == pytest.approx(r2, abs=1e-12)
    assert leave_one_out_r2(np.eye(4)[labels], values) == pytest.approx(r2, abs=1e-12)
    order = np.random.default_rng(5).permutation(80)
    assert leave_one_out_r2(labels[order], values[order]) == pytest.approx(r2, abs=1e-12)


def test_spikes_in_a_fifth_of_the_loops_do_not_hide_a_good_partition() -> None:
    rng = np.random.default_rng(6)
    labels = rng.integers(4, size=800)
    values = loops(labels, 0.6)
    spiky = (rng.random(800) < 0.2)[:, None]
    spiked = np.where(spiky, 1000 * rng.standard_normal(values.shape), values)
    y = (spiked - spiked.mean(axis=0)) / spiked.std(axis=0)
    as_they_are = 1 - sum(((y[labels == k] - y[labels == k].mean(axis=0)) ** 2).sum() for k in range(4)) / y.size
    assert leave_one_out_r2(labels, spiked) > 0.08 > 0.02 > as_they_are  # fails below 1 in 10,000


def test_more_clusters_than_the_results_can_tell_apart_earn_less() -> None:
    rng, gain = np.random.default_rng(7), []
    for seed in range(100):
        labels = rng.integers(2, size=20)
        split = 5 * labels + rng.integers(5, size=20)
        values = loops(labels, 0.4, seed=seed)
        gain.append(leave_one_out_r2(labels, values) - leave_one_out_r2(split, values))
    assert np.mean(gain) > 0.1  # fails below 1 in 10,000


def test_undecided_memberships_predict_what_the_clusters_have_in_common() -> None:
    labels = np.random.default_rng(8).integers(2, size=100)
    values = loops(labels, 0.5)
    undecided = np.full((100, 2), 0.5)
    assert leave_one_out_r2(undecided, values) == pytest.approx(0, abs=1e-12)
    half_decided = leave_one_out_r2(0.6 * np.eye(2)[labels] + 0.2, values)
    assert 0 < half_decided < leave_one_out_r2(labels, values)  # fails below 1 in 10,000


@pytest.mark.parametrize("values", [np.empty((0, 3)), np.ones((2, 3)), np.ones((9, 3)), np.empty((9, 0))])
def test_without_results_that_vary_the_evidence_is_0(values: np.ndarray) -> None:
    assert leave_one_out_r2(np.arange(len(values)) % 2, values) == 0


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number; leave out such results"):
        leave_one_out_r2(np.arange(3), np.array([[1.0], [np.nan], [2.0]]))
    with pytest.raises(ValueError, match="expected_share is 1"):
        leave_one_out_r2(np.arange(3), np.ones((3, 1)), expected_share=1.0)
    with pytest.raises(ValueError, match=r"weight of the evidence is 1\.5"):
        blended(np.zeros(2), np.zeros(2), 1.5)


def test_normal_scores_share_ranks_and_leave_out_what_does_not_vary() -> None:
    scores = normal_scores(np.array([[3.0, 1.0], [1.0, 1.0], [1.0, 1.0], [9.0, 1.0]]))
    assert scores.shape == (4, 1)
    assert scores[1, 0] == scores[2, 0] == pytest.approx(-0.6745, abs=1e-3)  # Φ⁻¹(1/4)
    assert scores[3, 0] == pytest.approx(1.1503, abs=1e-3)  # Φ⁻¹(7/8)


def test_the_weight_rises_from_the_fewest_results_on() -> None:
    weights = [evidence_weight(n, EvidenceSettings()) for n in (0, 19, 20, 50, 200, 10_000)]
    assert weights == pytest.approx([0, 0, 20 / 70, 0.5, 0.8, 10_000 / 10_050])
    assert evidence_weight(30, EvidenceSettings(fewest_results=31)) == 0
    assert evidence_weight(30, EvidenceSettings(half_weight_results=30)) == 0.5
    assert evidence_weight(30, EvidenceSettings(enabled=False)) == 0


def test_a_blend_is_the_reward_without_weight_and_the_order_of_the_evidence_with_all_of_it() -> None:
    intrinsic, r2 = np.array([10.0, 20.0, 40.0]), np.array([0.02, 0.03, -0.01])
    assert np.array_equal(blended(intrinsic, r2, 0.0), intrinsic)
    assert np.array_equal(blended(intrinsic, r2, 1.0).argsort(), r2.argsort())
    half = blended(intrinsic, r2, 0.5)
    assert half == pytest.approx(blended(1e6 * intrinsic - 3, 5 * r2, 0.5))  # neither scale matters
    assert half.argmax() == 1
    assert blended(np.ones(3), r2, 0.5).argsort().tolist() == r2.argsort().tolist()


def measured(labels_of: np.ndarray, points_rc: np.ndarray, offset_px: float = 0.0) -> MeasuredResults:
    return MeasuredResults(points_rc + offset_px, loops(labels_of, 0.7), ("a", "b", "c", "d", "e"))


def test_results_belong_to_the_clusters_of_the_nearest_key_point() -> None:
    z = blobs(3, n_each=60)
    types = Mixture(np.ones(3) / 3, z.reshape(3, 60, 2).mean(axis=1), np.tile(np.eye(2), (3, 1, 1)))
    labels = np.repeat(np.arange(3), 60)
    seen = representation(z, points_rc=10 * np.stack([np.arange(180), np.arange(180)], axis=1))
    results = measured(labels, seen.points_rc, 2.0)
    assert predicted_share(seen, types, results) > 0.5
    elsewhere = replace(results, points_rc=results.points_rc[::-1] * 7 % 1790)
    assert predicted_share(seen, types, elsewhere) < 0.05
    assert predicted_share(seen, types, nearby(results, seen.points_rc, 1.0)) == 0  # no result is left


def test_only_results_near_a_key_point_are_nearby() -> None:
    results = MeasuredResults(np.array([[0.0, 3.0], [0.0, 6.0]]), np.array([[1.0], [2.0]]), ("a",))
    near = nearby(results, np.array([[0, 0]]), 5.0)
    assert near.values.tolist() == [[1.0]]
    assert near.names == ("a",)
    assert not len(nearby(near, np.array([[90, 90]]), 5.0).values)


def test_the_reward_of_that_name_is_the_share_that_is_predicted_and_0_without_results() -> None:
    z = blobs(3, n_each=60)
    points = 10 * np.stack([np.arange(180), np.arange(180)], axis=1)
    results = measured(np.repeat(np.arange(3), 60), points)
    away = np.where(np.arange(180) < 100, 0, 5000)[:, None]
    far = replace(results, points_rc=results.points_rc + away)
    seen, in_part, without = (
        evidence(representation(z, points_rc=points, results=r), rng=np.random.default_rng(0), components=(1, 2, 3), restarts=2)
        for r in (results, far, None)
    )
    assert seen.value == seen.metrics["R2_results"] > 0.5
    assert (in_part.metrics["results_used"], in_part.metrics["results_far"]) == (100, 80)
    assert (without.value, without.metrics["results_used"]) == (0, 0)
    assert without.mixture is not None
    assert without.mixture.n_components == 3
