import numpy as np
import pyro
import pytest
import torch

from rewards.bayesian_mixture import BayesianMixtureSettings, bgmm, total_overlap
from tests.rewards.clouds import blobs, representation

QUICK = BayesianMixtureSettings(components=6, steps=400, learning_rate=2e-2, scale=0.3)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_separated_blobs_are_found_and_every_one_has_a_component() -> None:
    # Over seeds 0-15 the furthest centre was 0.08 away and three or four components were effective.
    score = bgmm(representation(blobs(3)), rng=rng(), settings=QUICK)
    assert score.mixture is not None
    centres = np.array([[2, 0], [-1, np.sqrt(3)], [-1, -np.sqrt(3)]])
    nearest = np.linalg.norm(score.mixture.means[:, None] - centres, axis=2).min(axis=0)
    assert nearest.max() < 0.3
    assert score.metrics["K_effective"] == score.mixture.n_components


def test_the_value_is_the_papers_reward_turned_round() -> None:
    score = bgmm(representation(blobs(3)), rng=rng(), settings=QUICK)
    assert score.value == pytest.approx(-(score.metrics["neg_elbo"] + score.metrics["entropy"]))
    assert score.metrics["entropy"] >= 0


def test_the_same_seed_gives_the_same_score_and_nothing_global_is_touched() -> None:
    pyro.clear_param_store()
    pyro.param("mine", torch.tensor(1.5))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, two = (bgmm(representation(blobs(2, n_each=80)), rng=rng(), settings=QUICK).value for _ in range(2))
    assert one == two
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(pyro.get_param_store().keys()) == ["mine"]
    pyro.clear_param_store()


def test_the_bhattacharyya_coefficient_of_two_round_gaussians_is_known() -> None:
    factors = 0.5 * torch.eye(2).expand(2, 2, 2)
    gap = 1.3
    overlap = total_overlap(torch.tensor([[0.0, 0.0], [gap, 0.0]]), factors)
    assert float(overlap) == pytest.approx(np.exp(-(gap**2) / (8 * 0.25)), rel=1e-5)


def test_equal_gaussians_overlap_completely_and_each_pair_counts_once() -> None:
    overlap = total_overlap(torch.zeros(4, 3), torch.eye(3).expand(4, 3, 3))
    assert float(overlap) == pytest.approx(6, rel=1e-5)


@pytest.mark.parametrize("d", [1, 3])
def test_other_latent_dimensions_work(d: int) -> None:
    score = bgmm(representation(blobs(2, n_each=80, d=d)), rng=rng(), settings=QUICK)
    assert np.isfinite(score.value)
    assert score.mixture is not None
    assert score.mixture.means.shape[1] == d


def test_the_texts_priors_can_be_chosen_and_a_plain_mapping_of_settings_is_accepted() -> None:
    chosen = {"components": 4, "steps": 50, "mean_prior": "normal", "concentration": 0.01, "overlap_weight": 0.0}
    assert np.isfinite(bgmm(representation(blobs(2, n_each=80)), rng=rng(), settings=chosen).value)


def test_defaults_are_those_of_the_papers_methods() -> None:
    s = BayesianMixtureSettings()
    assert (s.components, s.concentration, s.scale, s.eta, s.overlap_weight) == (20, 0.1, 0.05, 20.0, 0.1)
    assert (s.steps, s.learning_rate, s.mean_prior, s.effective_share) == (500, 5e-3, "uniform", 0.2)


def test_the_score_does_not_depend_on_how_many_threads_pytorch_has() -> None:
    before = torch.get_num_threads()
    values = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            values.append(bgmm(representation(blobs(2, n_each=80)), rng=rng(), settings=QUICK).value)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert values[0] == values[1]
