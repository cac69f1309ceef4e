"""Mixture rewards on clouds with a known number of types, and against published numbers.

Draws are fixed; a comment in each test states how often another draw would fail.
"""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

from rewards.base import Score
from rewards.mixture.gmm import PAPER, fit_grid, gmm
from tests.support.data.clouds import blobs, representation


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def score_of(z: np.ndarray, max_components: int = 8) -> Score:
    return gmm(representation(z), rng=rng(), components=range(1, max_components + 1), restarts=4)


@pytest.mark.parametrize("k", range(1, 7))
def test_icl_and_bic_say_k_for_k_separated_blobs(k: int) -> None:
    # Over draws 0-49 of each k, 1 of 300 was called otherwise (k = 2), by both criteria.
    score = score_of(blobs(k, n_each=100))
    assert (score.metrics["K_icl"], score.metrics["K_bic"]) == (k, k)
    assert score.mixture is not None
    assert score.mixture.n_components == k
    assert (score.value > 0.5) == (k > 1)


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 2, 6])
def test_one_gaussian_is_one_type(d: int) -> None:
    # Over draws 0-99 of each d neither criterion failed once; AIC did in 3 to 30 of 100.
    metrics = score_of(rng(4).standard_normal((500, d)), max_components=3).metrics
    assert (metrics["K_icl"], metrics["K_bic"]) == (1, 1)
    assert metrics["icl_gain"] == metrics["bic_gain"] == 0


def test_touching_clusters_are_split_by_bic_and_merged_by_icl() -> None:
    # Two round Gaussians three standard deviations apart: of draws 0-49, BIC said 2 in 50 and ICL 1 in 49.
    z = rng(0).standard_normal((600, 2))
    z[:300, 0] += 3.0
    metrics = score_of(z).metrics
    assert (metrics["K_bic"], metrics["K_icl"], metrics["K_icl_4"]) == (2, 1, 1)


def test_elongated_clusters_are_not_cut_up() -> None:
    # Two parallel needles of aspect 20, longer than they are apart: of draws 0-49 both criteria said 2 in 50.
    z = rng(0).standard_normal((600, 2)) * np.array([3.0, 0.15])
    z[:300, 1] += 1.0
    metrics = score_of(z).metrics
    assert (metrics["K_bic"], metrics["K_icl"]) == (2, 2)


def test_a_bent_cluster_is_cut_up_and_less_by_icl_than_by_bic() -> None:
    # A half ring is not Gaussian: over draws 0-49 BIC used 4 or 5 components; ICL never more, and fewer in 26 of 50.
    angle = rng(0).uniform(0, np.pi, 600)
    z = 3 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.3 * rng(1).standard_normal((600, 2))
    metrics = score_of(z).metrics
    assert metrics["K_bic"] > metrics["K_icl"] >= metrics["K_icl_4"] > 1


def test_the_more_the_entropy_weighs_the_fewer_clusters() -> None:
    for seed in range(5):
        z = rng(seed).standard_normal((400, 2)) * rng(seed).uniform(0.3, 2, (400, 1))
        metrics = score_of(z, max_components=5).metrics
        assert metrics["K_bic"] >= metrics["K_icl"] >= metrics["K_icl_2"] >= metrics["K_icl_4"]


@pytest.mark.parametrize("angle_rad", [0.3, 2.0])
def test_no_criterion_changes_when_the_latent_space_is_turned(angle_rad: float) -> None:
    z, (c, s) = blobs(3, n_each=100, spread=0.3), (np.cos(angle_rad), np.sin(angle_rad))
    here, there = (score_of(x, max_components=4).metrics for x in (z, z @ np.array([[c, -s], [s, c]])))
    for name in (*PAPER, "ll_gain", "bic_gain", "icl_gain"):
        assert there[name] == pytest.approx(here[name], abs=2e-3)


def test_whitened_criteria_and_gains_do_not_change_with_any_affine_map_and_say_the_same() -> None:
    z = blobs(3, n_each=100, spread=0.4)
    moved = z @ np.array([[0.02, 0.5], [-3.0, 0.1]]) + np.array([40.0, -7.0])
    here, there = (score_of(x, max_components=4).metrics for x in (z, moved))
    for name in ("ll_whitened", "bic_whitened", "icl_whitened", "ll_gain", "bic_gain", "bic_gain_per_d", "icl_gain"):
        assert there[name] == pytest.approx(here[name], abs=2e-3)
    # One Gaussian fitted to n whitened points (unit covariance with n - 1) has this likelihood, whatever the points.
    n = len(z)
    alone = -0.5 * 2 * (np.log(2 * np.pi * (n - 1) / n) + 1)
    assert here["ll_whitened"] - here["ll_gain"] == pytest.approx(alone, abs=1e-4)
    assert here["bic_gain_per_d"] == here["bic_gain"] / 2


def test_totals_are_the_papers_sums_over_all_points() -> None:
    metrics = score_of(blobs(3, n_each=50), max_components=4).metrics
    for name in PAPER:
        assert metrics[f"{name}_total"] == pytest.approx(150 * metrics[name])


def test_iris_has_the_numbers_of_mclust_and_of_scikit_learn() -> None:
    # R's mclust, model VVV of Fisher's iris data: log-likelihood -214.3547 and BIC -574.0178 (its sign) for two components.
    z = load_iris().data
    fits = {f.K: f for f in fit_grid(z, rng(), (1, 2, 3))}
    assert fits[2].log_likelihood * 150 == pytest.approx(-214.3547, abs=0.01)
    assert fits[2].bic * 150 == pytest.approx(574.0178, abs=0.02)
    for K in (1, 2):
        reference = GaussianMixture(K, n_init=5, max_iter=500, tol=1e-6, random_state=0).fit(z)
        assert fits[K].log_likelihood == pytest.approx(reference.score(z), abs=1e-3)
        assert fits[K].bic * 150 == pytest.approx(reference.bic(z), abs=0.1)
        assert fits[K].aic * 150 == pytest.approx(reference.aic(z), abs=0.1)
    # The best known mixture of three has a total of -180.19; with other starts, agreement within 0.1 nats per point is expected.
    assert fits[3].log_likelihood == pytest.approx(-180.1855 / 150, abs=0.1)
