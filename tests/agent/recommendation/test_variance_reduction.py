import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.recommendation.similarity_kernel import PlaceKernel, standardised
from agent.recommendation.variance_reduction import VarianceReduction


def kernel(n: int, seed: int = 0, share: float = 0.5) -> PlaceKernel:
    rng = np.random.default_rng(seed)
    return PlaceKernel(rng.normal(size=(n, 3)), rng.uniform(size=(n, 2)), share, 1.0, 0.3)


def summed_variance(k: PlaceKernel, targets: np.ndarray, measured: list[int], noise: float) -> float:
    """Summed posterior variance of the targets by the textbook formula, with one inversion."""
    if not measured:
        return float(len(targets))
    rows = np.array(measured)
    cross = k(targets, rows)
    inner = np.linalg.inv(k(rows, rows) + noise * np.eye(len(rows)))
    return float(len(targets) - np.einsum("tm,mn,tn->", cross, inner, cross))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), given_count=st.integers(0, 4), noise=st.floats(0.01, 1.0))
def test_gains_are_the_textbook_ones_after_any_number_of_measurements(seed: int, given_count: int, noise: float) -> None:
    rng = np.random.default_rng(seed)
    k = kernel(30, seed)
    targets, candidates = np.arange(0, 30, 2), np.arange(5, 25)
    measured = rng.choice(30, given_count, replace=False).tolist()
    posterior = VarianceReduction(k, targets, candidates, np.array(measured, dtype=np.int64), noise)
    for j in [None, *rng.choice(len(candidates), 4).tolist()]:
        if j is not None:
            posterior.update(j)
            measured.append(int(candidates[j]))
        before = summed_variance(k, targets, measured, noise)
        expected = [before - summed_variance(k, targets, [*measured, int(c)], noise) for c in candidates]
        assert posterior.gains == pytest.approx(expected, abs=1e-6)


def test_gains_stay_finite_and_not_negative_where_everything_is_known() -> None:
    k = PlaceKernel(np.zeros((5, 1)), np.zeros((5, 2)), 0.5, 1.0, 1.0)  # five times the same place
    posterior = VarianceReduction(k, np.arange(5), np.arange(5), np.arange(5), 1e-12)
    for _ in range(50):
        posterior.update(0)
        assert np.isfinite(posterior.gains).all()
        assert (posterior.gains >= 0).all()


def test_the_covariance_of_a_place_with_itself_is_one_and_falls_with_distance_and_difference() -> None:
    k = PlaceKernel(np.array([[0.0], [0.0], [9.0]]), np.array([[0.0, 0], [9, 0], [0, 0]]), 0.3, 1.0, 1.0)
    rows = np.arange(3)
    assert np.diag(k(rows, rows)) == pytest.approx(1.0)
    assert k(rows[:1], rows[1:])[0] == pytest.approx([0.3, 0.7], abs=1e-4)


def test_features_are_scaled_to_a_mean_square_of_one_unless_they_are_all_equal() -> None:
    found = standardised(np.random.default_rng(0).normal(3, 7, size=(50, 4)))
    assert (found**2).sum(axis=1).mean() == pytest.approx(1)
    assert found.mean(axis=0) == pytest.approx(0, abs=1e-12)
    assert (standardised(np.ones((4, 2))) == 0).all()
