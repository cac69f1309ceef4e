from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import Ellipse

from agent.reporting.figures import latent_figure, latent_grid_figure
from agent.reporting.figures.chosen_candidate import Projection, chosen_of
from agent.reporting.figures.latent import ellipse
from agent.reporting.figures.latent_grid import density
from tests.support.data.rendered_figures import offsets, render
from tests.support.history.decision_records import MEMBERS, RECOMMENDED, make_decision, make_guarded_out


class TestLatentFigure:
    @pytest.mark.parametrize("clusters", [1, 3, 10])
    def test_an_ellipse_for_each_component(self, clusters: int) -> None:
        axes = latent_figure(make_decision(clusters=clusters)).axes[0]
        assert sum(isinstance(p, Ellipse) for p in axes.patches) == clusters

    def test_all_points_core_points_and_places_are_their_latents(self) -> None:
        decision = make_decision()
        figure = latent_figure(decision)
        chosen = chosen_of(decision)
        np.testing.assert_allclose(offsets(figure, "all"), chosen.z)
        np.testing.assert_allclose(offsets(figure, "core-1"), chosen.z[chosen.core_of(1)])
        nearest_of_each = [chosen.core_of(k)[rank] for rank in range(RECOMMENDED) for k in range(3)]
        np.testing.assert_allclose(offsets(figure, "recommended"), chosen.z[nearest_of_each])
        assert figure.axes[0].get_aspect() == 1

    @pytest.mark.parametrize("tilt_rad", [0.0, 0.4, 1.2, 2.0, 2.9])
    def test_an_ellipse_is_the_curve_at_two_sigma(self, tilt_rad: float) -> None:
        rotation = np.array([[np.cos(tilt_rad), -np.sin(tilt_rad)], [np.sin(tilt_rad), np.cos(tilt_rad)]])
        covariance = rotation @ np.diag([2.0, 0.3]) @ rotation.T
        drawn = ellipse(np.array([1.0, -1.0]), covariance, 2.0)
        path = drawn.get_patch_transform().transform(drawn.get_path().interpolated(1).vertices[:-1]) - [1.0, -1.0]
        on_curve = path[::3]  # the end points of the Bezier segments
        distance = np.sqrt(np.einsum("ni,ij,nj->n", on_curve, np.linalg.inv(covariance), on_curve))
        np.testing.assert_allclose(distance, 2.0, rtol=1e-6)

    def test_three_latents_are_shown_along_their_principal_axes(self) -> None:
        decision = make_decision(latent_dim=3)
        figure = latent_figure(decision)
        drawn = offsets(figure, "all")
        variances = np.linalg.eigvalsh(np.cov(chosen_of(decision).z, rowvar=False))[::-1]
        np.testing.assert_allclose(drawn.var(axis=0, ddof=1), variances[:2])
        assert "of 3 latents" in figure.axes[0].get_xlabel()
        assert sum(isinstance(p, Ellipse) for p in figure.axes[0].patches) == 3

    def test_a_projected_gaussian_has_the_moments_of_its_projected_points(self) -> None:
        rng = np.random.default_rng(3)
        cluster = make_decision(latent_dim=3).record.clusters[0]
        z = rng.multivariate_normal(cluster.mean, cluster.covariance, size=200_000)
        projection = Projection.of(z * [1.0, 2.0, 3.0])
        mean, covariance = projection.gaussian(cluster)
        np.testing.assert_allclose(projection.points(z).mean(axis=0), mean, atol=0.01)
        np.testing.assert_allclose(np.cov(projection.points(z), rowvar=False), covariance, atol=0.01)

    def test_one_latent_is_a_histogram_with_a_bell_for_each_component(self) -> None:
        decision = make_decision(latent_dim=1)
        figure = latent_figure(decision)
        axes = figure.axes[0]
        all_points = axes.containers[0]
        assert sum(bar.get_height() for bar in all_points) == 3 * MEMBERS
        bells = [line for line in axes.lines if str(line.get_gid()).startswith("gaussian")]
        assert len(bells) == 3
        for bell, cluster in zip(bells, decision.record.clusters, strict=True):
            peak = bell.get_xdata()[np.argmax(bell.get_ydata())]
            assert peak == pytest.approx(cluster.mean[0], abs=0.05)
        assert axes.get_ylabel() == "key points"


class TestLatentGridFigure:
    def test_a_row_for_each_invariance_and_a_column_for_each_window(self) -> None:
        figure = latent_grid_figure(make_decision(windows_px=(5, 9, 13)))
        assert [axes.get_ylabel() for axes in figure.axes[::3]] == ["VAE", "r-VAE"]
        assert [axes.get_title().split("\n")[0] for axes in figure.axes[:3]] == ["window 5 px", "window 9 px", "window 13 px"]

    @pytest.mark.slow
    def test_only_the_chosen_panel_is_framed_and_it_shows_the_chosen_candidate(self) -> None:
        decision = make_decision()
        framed = [axes for axes in latent_grid_figure(decision).axes if axes.get_gid() == "chosen"]
        (axes,) = framed
        assert axes.get_title().startswith("window 9 px")
        drawn = np.asarray(axes.collections[0].get_offsets())
        assert sorted(drawn.tolist()) == sorted(chosen_of(decision).z.tolist())

    def test_a_rejected_configuration_says_why(self) -> None:
        titles = [axes.get_title() for axes in latent_grid_figure(make_decision()).axes]
        assert titles[3] == "rejected: collapsed"
        assert titles[2] == "0.50"
        assert titles[1] == "window 9 px\n0.93 ± 0.04"

    @pytest.mark.slow
    @pytest.mark.parametrize(("scale", "shown"), [(0.1, "0.093 ± 0.004"), (1000.0, "925 ± 35")])
    def test_rewards_of_any_size_are_written_with_enough_digits(self, scale: float, shown: str) -> None:
        decision = make_decision()
        scaled = [
            c.model_copy(update={"mean": c.mean * scale, "std": c.std and c.std * scale}) for c in decision.record.configurations
        ]
        record = decision.record.model_copy(update={"configurations": scaled})
        assert latent_grid_figure(replace(decision, record=record)).axes[1].get_title() == f"window 9 px\n{shown}"

    def test_a_stuck_seed_does_not_represent_its_configuration(self) -> None:
        decision = make_decision()
        better = [
            c.model_copy(update={"elbo_per_px": 0.0}) if c.candidate_id == "r-w5-s1" else c for c in decision.record.candidates
        ]
        record = decision.record.model_copy(update={"candidates": better})
        axes = latent_grid_figure(replace(decision, record=record)).axes[2]
        index = [c.candidate_id for c in better].index("r-w5-s0")
        drawn = np.asarray(axes.collections[0].get_offsets())
        assert sorted(drawn.tolist()) == sorted(decision.arrays["latents"][index].astype(float).tolist())

    @pytest.mark.parametrize("latent_dim", [1, 2, 3])
    def test_a_model_that_diverged_leaves_its_panel_empty(self, latent_dim: int) -> None:
        decision = make_decision(latent_dim=latent_dim)
        latents = decision.arrays["latents"].copy()
        latents[-2:] = np.nan
        figure = latent_grid_figure(replace(decision, arrays={**decision.arrays, "latents": latents}))
        assert render(figure)
        assert not figure.axes[3].collections

    def test_all_panels_have_the_same_limits(self) -> None:
        limits = {(axes.get_xlim(), axes.get_ylim()) for axes in latent_grid_figure(make_decision()).axes}
        assert len(limits) == 1

    def test_the_density_is_highest_where_points_are_close(self) -> None:
        rng = np.random.default_rng(0)
        xy = np.concatenate([0.05 * rng.standard_normal((200, 2)), rng.uniform(-0.9, 0.9, (50, 2))])
        shade = density(xy, 1.0)
        assert shade.max() <= 1
        assert shade[:200].min() > np.median(shade[200:])

    def test_when_no_model_can_be_trusted_it_shows_them_all_with_the_reason(self) -> None:
        titles = [axes.get_title() for axes in latent_grid_figure(make_guarded_out()).axes]
        assert all("rejected: collapsed" in title for title in titles)
