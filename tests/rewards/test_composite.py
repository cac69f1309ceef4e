import numpy as np
import pytest

from rewards.composite import (
    criteria_table,
    dominates,
    pareto_front,
    pareto_ranks,
    rank_sum,
    weighted_sum,
)
from rewards.metrics import METRICS, UnknownMetricError, higher_is_better
from rewards.mixture.gmm import PAPER

NAN = float("nan")


def table(n: int = 40, m: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, m))


def increasing(x: np.ndarray) -> np.ndarray:
    """A different increasing map for each of three criteria."""
    return np.stack([np.exp(x[:, 0]), 1e6 * x[:, 1] - 3, x[:, 2] ** 3], axis=1)


def test_the_paper_minimises_its_criteria_and_maximises_the_likelihood() -> None:
    assert {name: higher_is_better(name) for name in PAPER} == {
        "log_likelihood": True,
        "bic": False,
        "aic": False,
        "icl": False,
        "icl_2": False,
        "icl_4": False,
    }
    assert not higher_is_better("neg_elbo_plus_entropy")
    assert higher_is_better("NMI_rot")


def test_the_direction_of_an_unknown_metric_is_refused_unless_it_is_given() -> None:
    with pytest.raises(
        UnknownMetricError, match=r"metric 'contrast' is unknown; use one of log_likelihood.*'\+contrast' to maximise"
    ):
        higher_is_better("contrast")
    assert higher_is_better("+contrast")
    assert not higher_is_better("-contrast")


@pytest.mark.parametrize("name", [name for name, sign in METRICS.items() if sign == 0])
def test_counts_and_sums_have_no_better_direction(name: str) -> None:
    with pytest.raises(UnknownMetricError, match="cannot be compared"):
        higher_is_better(name)


def test_the_table_negates_what_is_minimised_and_marks_what_is_missing() -> None:
    result = criteria_table([{"bic": 2.0, "NMI_rot": 0.5}, {"bic": None, "NMI_rot": float("inf")}], ["bic", "NMI_rot"])
    assert np.array_equal(result, [[-2.0, 0.5], [NAN, NAN]], equal_nan=True)


@pytest.mark.parametrize(
    ("criteria", "sentence"),
    [
        ([], "name at least one"),
        (["bic", "-bic"], "each only once"),
        (["aic"], "no candidate has the metric aic"),
    ],
)
def test_criteria_that_cannot_be_used_are_refused(criteria: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        criteria_table([{"bic": 2.0}, {"bic": 1.0}], criteria)


def test_no_candidates_make_an_empty_table_that_everything_accepts() -> None:
    empty = criteria_table([], ["bic", "NMI_rot"])
    assert empty.shape == (0, 2)
    for function in (rank_sum, weighted_sum, pareto_front, pareto_ranks):
        assert len(function(empty)) == 0


def test_a_rank_sum_by_hand() -> None:
    assert rank_sum(np.array([[1.0, 5.0], [3.0, 5.0], [2.0, NAN]])).tolist() == [1 + 2.5, 3 + 2.5, 2 + 1]


def test_a_rank_sum_does_not_change_with_increasing_maps() -> None:
    assert np.array_equal(rank_sum(table()), rank_sum(increasing(table())))


def test_what_a_rank_sum_prefers_is_on_the_front() -> None:
    for seed in range(50):
        x = np.round(table(seed=seed), 1)
        assert pareto_front(x)[rank_sum(x).argmax()]


def test_a_weighted_sum_does_not_change_with_units() -> None:
    x = table()
    assert weighted_sum(x * np.array([1e9, 1e-9, 3.0]) + np.array([5, 0, -2]), [1, 2, 0.5]) == pytest.approx(
        weighted_sum(x, [1, 2, 0.5]), abs=1e-9
    )


def test_a_weight_of_zero_leaves_a_criterion_out_and_a_constant_one_says_nothing() -> None:
    x = table()
    assert weighted_sum(x, [1, 1, 0]) == pytest.approx(weighted_sum(x[:, :2]))
    assert weighted_sum(np.column_stack([x, np.full(len(x), 0.1)])) == pytest.approx(weighted_sum(x))


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, -1], [1, 1, NAN]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="for 3 criteria; give one weight of 0 or more for each"):
        weighted_sum(table(), weights)


def test_a_missing_criterion_is_worse_than_the_worst() -> None:
    x = np.array([[1.0, 3.0], [1.0, 1.0], [1.0, NAN]])
    for combined in (rank_sum(x), weighted_sum(x)):
        assert combined[0] > combined[1] > combined[2]
    assert pareto_ranks(x).tolist() == [0, 1, 2]
    assert len(rank_sum(np.full((3, 1), NAN))) == 3


def test_the_front_is_what_no_other_dominates_one_by_one() -> None:
    x = table()
    slow = [not any((y >= z).all() and (y > z).any() for y in x) for z in x]
    assert pareto_front(x).tolist() == slow
    assert np.array_equal(pareto_front(increasing(x)), pareto_front(x))


def test_equal_candidates_do_not_dominate_each_other() -> None:
    assert not dominates(np.ones((3, 2))).any()
    assert pareto_front(np.ones((3, 2))).all()


def test_ranks_peel_the_fronts_off_one_after_another() -> None:
    x = table()
    ranks = pareto_ranks(x)
    left = x
    for rank in range(ranks.max() + 1):
        assert np.array_equal(x[ranks == rank], left[pareto_front(left)])
        left = left[~pareto_front(left)]
    assert len(left) == 0
