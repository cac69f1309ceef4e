import numpy as np
import pytest

from rewards.base import Mixture, Score
from rewards.closed_form import smallest_eigenvalue, total_variance, variance_product
from rewards.density import dense_enough, equal_subset, relative_density
from rewards.guards import GuardSettings, degenerate, guard_mixture, guard_seeds, scatter
from rewards.mixture.gmm import fit_grid
from tests.support.data.clouds import representation


def normal(n: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 2))


def test_a_healthy_seed_passes() -> None:
    assert guard_seeds([representation(normal())], [500]) == [None]


def test_a_collapse_along_an_axis_is_left_out() -> None:
    z = normal() * np.array([1.0, 0.05])
    (reason,) = guard_seeds([representation(z)], [500])
    assert reason is not None
    assert reason.startswith("collapsed")
    assert variance_product(z) < 0.01


def test_a_tilted_collapse_is_left_out_though_the_papers_product_does_not_see_it() -> None:
    t = np.pi / 4
    z = (normal() * np.array([1.4, 0.05])) @ np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    assert variance_product(z) > 0.9
    assert smallest_eigenvalue(z) < 0.01
    (reason,) = guard_seeds([representation(z)], [500])
    assert reason is not None
    assert reason.startswith("collapsed")


def test_a_seed_that_got_stuck_is_left_out_and_the_others_stay() -> None:
    seeds = [representation(normal(seed=s), elbo_per_px=e) for s, e in enumerate((-0.5500, -0.5510, -0.5600))]
    reasons = guard_seeds(seeds, [500, 500, 500])
    assert reasons[:2] == [None, None]
    assert reasons[2] is not None
    assert reasons[2].startswith("stuck: held-out ELBO 0.0100")


@pytest.mark.parametrize("where", ["elbo", "latent"])
def test_a_diverged_seed_is_left_out_and_does_not_spoil_the_others(where: str) -> None:
    z = normal()
    z[3, 1] = np.nan if where == "latent" else z[3, 1]
    bad = representation(z, elbo_per_px=float("nan") if where == "elbo" else -0.55)
    reasons = guard_seeds([bad, representation(normal())], [500, 500])
    assert reasons[0] == "diverged: the training loss is not finite"
    assert reasons[1] is None


def test_too_few_survivors_are_left_out_with_the_number() -> None:
    (reason,) = guard_seeds([representation(normal())], [42], GuardSettings(min_points=100))
    assert reason == "too few points: 42 left by the density filter, at least 100 needed"


def test_total_variance_of_the_prior_is_the_number_of_latents() -> None:
    assert total_variance(normal(20_000)) == pytest.approx(2, abs=0.05)


def test_relative_density_is_the_plain_kernel_sum() -> None:
    z = normal(200)
    squared = ((z[:, None] - z) ** 2).sum(axis=2)
    expected = np.exp(-0.5 * squared / 0.05**2).sum(axis=1)
    assert relative_density(z) == pytest.approx(expected / expected.max(), abs=1e-4)


def test_the_filter_keeps_dense_clusters_and_drops_the_cloud_around_them() -> None:
    rng = np.random.default_rng(0)
    dense = 0.05 * rng.standard_normal((400, 2))
    cloud = rng.uniform(-3, 3, (200, 2))
    kept = dense_enough(np.concatenate([dense, cloud]), threshold=0.05)
    assert kept[:400].mean() > 0.9
    assert kept[400:].mean() < 0.1


def test_a_threshold_of_zero_keeps_everything() -> None:
    assert dense_enough(normal(), threshold=0.0).all()


def test_the_equal_subset_is_drawn_from_the_kept_rows_without_repeats() -> None:
    kept = np.arange(100) % 3 == 0
    rows = equal_subset(kept, 20, np.random.default_rng(0))
    assert len(set(rows.tolist())) == 20
    assert kept[rows].all()


def seeds_of(elbos: np.ndarray) -> list[str | None]:
    z = normal(100)
    return guard_seeds([representation(z, elbo_per_px=float(e)) for e in elbos], [500] * len(elbos))


def test_of_many_seeds_hardly_a_healthy_one_is_left_out_and_the_stuck_ones_are() -> None:
    # 400 simulated sets of ten with a scatter of 0.001. In 2,000 sets, a healthy seed was rejected in 4 %, with the fixed limit
    # in 12 %.
    rng = np.random.default_rng(0)
    healthy = 0.001 * rng.standard_normal((400, 10)) - 0.55
    limit = GuardSettings().elbo_gap_per_px
    fixed = np.mean([(e.max() - e > limit).any() for e in healthy])
    robust = np.mean([(e.max() - e > max(limit, 6 * scatter(e))).any() for e in healthy])
    assert robust < 0.08 < fixed
    stuck = healthy[0] - 0.02 * (np.arange(10) < 3)
    assert [i for i, reason in enumerate(seeds_of(stuck)) if reason] == [0, 1, 2]


@pytest.mark.slow
def test_scatter_is_that_of_the_healthy_seeds_though_most_got_stuck_and_needs_five() -> None:
    # Over draws 0-199 the estimate lay between 0.0006 and 0.0048.
    elbos = 0.001 * np.random.default_rng(0).standard_normal(20)
    elbos[:12] -= np.linspace(0.005, 0.05, 12)
    assert 0.0003 < scatter(elbos) < 0.006
    assert scatter(elbos[:4]) == 0


def mixture(weights: list[float], *covariances: np.ndarray) -> Mixture:
    d = len(covariances[0])
    means = 3.0 * np.arange(len(weights))[:, None] * np.ones(d)
    return Mixture(np.array(weights), means, np.stack(covariances))


def test_clusters_that_have_points_and_width_are_trusted() -> None:
    assert degenerate(mixture([0.9, 0.1], np.eye(2), 0.01 * np.eye(2)), 100) is None
    assert guard_mixture(Score(1.0, {}, mixture([1.0], 1e-8 * np.eye(2))), 100) is None
    assert guard_mixture(Score(1.0), 100) is None


def test_a_component_on_fewer_points_than_a_covariance_needs_is_named() -> None:
    reason = degenerate(mixture([0.98, 0.02], np.eye(2), np.eye(2)), 100)
    assert reason == "degenerate: component 1 of 2 rests on 2.0 points, at least 3 are needed in 2 dimensions"


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_a_flat_component_is_named_however_it_lies(turn: float) -> None:
    c, s = np.cos(turn), np.sin(turn)
    flat = np.array([[c, -s], [s, c]]) @ np.diag([1.0, 1e-6]) @ np.array([[c, s], [-s, c]])
    reason = guard_mixture(Score(1.0, {}, mixture([0.5, 0.5], np.eye(2), flat)), 1000)
    assert reason is not None
    assert reason.startswith("degenerate: component 1 of 2 has ")
    assert guard_mixture(Score(1.0, {}, mixture([0.5, 0.5], np.eye(2), flat)), 1000, GuardSettings(component_below=0)) is None


def test_a_spike_that_em_found_is_caught_and_the_same_cloud_without_it_is_not() -> None:
    z = np.concatenate([normal(400), np.tile([6.0, 6.0], (12, 1))])
    for cloud, caught in ((z, True), (z[:400], False)):
        fit = fit_grid(cloud, np.random.default_rng(0), (1, 2))[-1]
        assert (degenerate(fit.mixture, len(cloud)) is not None) == caught
