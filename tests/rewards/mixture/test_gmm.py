import numpy as np
import pytest

from rewards.mixture.gmm import CRITERIA, MIXTURE_REWARDS, describe, fit_grid, gmm
from tests.support.data.clouds import blobs, representation


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_gains_are_unchanged_by_any_affine_map() -> None:
    z = blobs(3, spread=0.4)
    moved = z @ np.array([[0.02, 0.5], [-3.0, 0.1]]) + np.array([40.0, -7.0])
    here, there = (gmm(representation(x), rng=rng()) for x in (z, moved))
    for gain in ("ll_gain", "bic_gain", "icl_gain"):
        assert there.metrics[gain] == pytest.approx(here.metrics[gain], abs=1e-3)


def test_the_raw_likelihood_does_change_with_scale_which_is_why_it_compares_no_windows() -> None:
    z = blobs(3)
    here, there = (gmm(representation(x), rng=rng(), criterion="log_likelihood") for x in (z, 0.1 * z))
    assert there.value - here.value == pytest.approx(2 * np.log(10), abs=0.01)


def test_the_order_of_the_rows_does_not_matter() -> None:
    z = blobs(4, spread=0.3)
    order = np.random.default_rng(1).permutation(len(z))
    here, there = (gmm(representation(x), rng=rng()).value for x in (z, z[order]))
    assert there == pytest.approx(here, abs=2e-3)


def test_entropy_is_small_for_separated_and_large_for_overlapping_clusters() -> None:
    apart, together = (next(f for f in fit_grid(blobs(3, spread=s), rng(), components=(3,))).entropy for s in (0.1, 1.0))
    assert apart < 1e-3
    assert together > 0.1


def test_the_papers_criteria_hang_together_as_its_equations_say() -> None:
    n = 600
    for fit in fit_grid(blobs(3, spread=0.6), rng(), components=(1, 2, 3, 4)):
        k = fit.K - 1 + 2 * fit.K + 3 * fit.K
        assert fit.bic == pytest.approx(-2 * fit.log_likelihood + k * np.log(n) / n)
        assert fit.aic == pytest.approx(-2 * fit.log_likelihood + 2 * k / n)
        assert fit.icl == pytest.approx(fit.bic + fit.entropy)
        assert fit.icl_2 == pytest.approx(fit.bic / 2 + fit.entropy)
        assert fit.icl_4 == pytest.approx(fit.bic / 4 + fit.entropy)
        assert fit.entropy >= 0


@pytest.mark.parametrize("criterion", CRITERIA)
def test_higher_is_better_for_every_criterion_and_raw_values_keep_the_papers_sign(criterion: str) -> None:
    apart, blurred = (MIXTURE_REWARDS[criterion](representation(blobs(4, spread=s)), rng=rng()) for s in (0.1, 1.2))
    assert apart.value > blurred.value
    raw = apart.metrics[criterion]
    minimised = criterion in ("bic", "aic", "icl", "icl_2", "icl_4", "bic_whitened", "icl_whitened")
    assert apart.value == pytest.approx(-raw if minimised else raw)


def test_an_unknown_criterion_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'bicc' is unknown; use one of log_likelihood, bic"):
        gmm(representation(blobs(2)), rng=rng(), criterion="bicc")


def test_a_gain_without_one_gaussian_to_compare_with_is_refused() -> None:
    with pytest.raises(ValueError, match="include 1"):
        gmm(representation(blobs(2)), rng=rng(), components=(2, 3))


def test_a_mixture_that_is_given_has_the_criteria_of_the_same_mixture_fitted() -> None:
    z = blobs(3, n_each=100)
    fit = fit_grid(z, np.random.default_rng(0), [3])[0]
    again = describe(z, fit.mixture)
    for name in ("K", "log_likelihood", "bic", "aic", "icl", "entropy"):
        assert getattr(again, name) == pytest.approx(getattr(fit, name), abs=1e-9)
    free = gmm(representation(z), rng=np.random.default_rng(0))
    held = gmm(representation(z, types=fit.mixture), rng=np.random.default_rng(0))
    assert held.value == pytest.approx(free.value, abs=1e-6)


def test_the_papers_k_begin_at_two() -> None:
    one = representation(np.random.default_rng(0).standard_normal((400, 2)))
    score = gmm(one, rng=np.random.default_rng(0), criterion="icl", least_components=2)
    assert score.metrics["K"] >= 2
    assert score.metrics["icl_gain"] < 0
    with pytest.raises(ValueError, match="least_components is 99, but no mixture of so many components was fitted"):
        gmm(one, rng=np.random.default_rng(0), least_components=99)
