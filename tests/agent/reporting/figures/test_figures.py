from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from agent.reporting.figures import (
    FigureError,
    latent_figure,
    latent_grid_figure,
    patch_figure,
    reward_figure,
    scan_figure,
)
from agent.reporting.figures.chosen_candidate import chosen_of
from agent.reporting.figures.reward import rejection_note
from agent.reporting.figures.scan import grey_range, place_labels
from agent.reporting.figures.style import COLOURS, MARKERS, colour, marker, prefixed
from agent.schema.decision import Decision
from instrument_adapters.geometry import Frame
from tests.support.data.drawn import FIGURES, draw_all
from tests.support.data.rendered_figures import offsets, render, texts
from tests.support.history.decision_records import (
    CORE,
    OFFSET,
    PLAIN,
    RECOMMENDED,
    TURNED,
    make_decision,
    make_guarded_out,
    make_scan,
    make_unresolved,
)


def bar_vertices(figure: Figure) -> int:
    segments = [s for c in figure.axes[0].containers for bars in c[2] for s in bars.get_segments()]
    return sum(int(np.isfinite(np.reshape(s, (-1, 2))).all(axis=1).sum()) for s in segments)


def core_xy_um(decision: Decision, frame: Frame, cluster: int) -> np.ndarray:
    a = decision.arrays
    rows = np.flatnonzero((a["core"] == 1) & (a["labels"] == cluster))
    rows = rows[np.argsort(a["core_distance"][rows])]
    return frame.to_metres(a["points_rc"][rows].astype(float)) * 1e6


class TestScanFigure:
    @pytest.mark.parametrize("frame", [PLAIN, OFFSET, TURNED], ids=["plain", "offset", "turned"])
    def test_core_points_and_places_lie_where_the_stage_would_go(self, frame: Frame) -> None:
        decision = make_decision(frame)
        figure = scan_figure(make_scan(frame), decision)
        for k in range(3):
            drawn = offsets(figure, f"core-{k}")
            assert len(drawn) == CORE
            np.testing.assert_allclose(drawn, core_xy_um(decision, frame, k))
        places = [(r.x_m * 1e6, r.y_m * 1e6) for r in decision.record.requests]
        np.testing.assert_allclose(offsets(figure, "recommended"), places)

    @pytest.mark.parametrize("frame", [PLAIN, OFFSET, TURNED], ids=["plain", "offset", "turned"])
    def test_each_pixel_is_drawn_where_its_key_point_is_drawn(self, frame: Frame) -> None:
        figure = scan_figure(make_scan(frame), make_decision(frame))
        axes = figure.axes[0]
        (image,) = axes.images
        figure.draw_without_rendering()
        row_col = np.array([[0, 0], [0, frame.cols - 1], [frame.rows - 1, 0], [7, 11]], dtype=float)
        on_screen = image.get_transform().transform(row_col[:, ::-1])
        np.testing.assert_allclose(axes.transData.inverted().transform(on_screen), frame.to_metres(row_col) * 1e6, atol=1e-9)

    def test_the_pixel_under_a_marker_shows_the_value_at_its_row_and_column(self) -> None:
        scan, decision = make_scan(TURNED), make_decision(TURNED)
        (request, *_) = decision.record.requests
        dark = np.full((TURNED.rows, TURNED.cols), 1e-10, dtype=np.float32)
        dark[request.row, request.col] = 9e-10
        dark[: TURNED.rows // 3] = 9e-10  # so that the percentiles differ
        figure = scan_figure(replace(scan, channels={"AmplitudeRetrace": dark}), make_unresolved(TURNED))
        figure.draw_without_rendering()
        axes = figure.axes[0]
        (image,) = axes.images
        screen = axes.transData.transform((request.x_m * 1e6, request.y_m * 1e6))
        col, row = image.get_transform().inverted().transform(screen)
        assert (round(row), round(col)) == (request.row, request.col)
        assert image.get_array()[round(row), round(col)] == pytest.approx(900)

    def test_the_whole_frame_is_inside_the_axes_and_a_micrometre_is_as_long_up_as_across(self) -> None:
        axes = scan_figure(make_scan(TURNED), make_decision(TURNED)).axes[0]
        corners = np.array([[0, 0], [0, TURNED.cols - 1], [TURNED.rows - 1, 0], [TURNED.rows - 1, TURNED.cols - 1]], dtype=float)
        xy = TURNED.to_metres(corners) * 1e6
        assert axes.get_xlim()[0] < xy[:, 0].min() < xy[:, 0].max() < axes.get_xlim()[1]
        assert axes.get_ylim()[0] < xy[:, 1].min() < xy[:, 1].max() < axes.get_ylim()[1]
        assert axes.get_aspect() == 1

    def test_places_are_numbered_in_the_order_of_measuring(self) -> None:
        axes = scan_figure(make_scan(), make_decision()).axes[0]
        numbers = [t.get_text() for t in axes.texts]
        assert numbers == [str(i + 1) for i in range(3 * RECOMMENDED)]

    def test_rings_carry_the_colour_of_their_cluster(self) -> None:
        decision = make_decision()
        axes = scan_figure(make_scan(), decision).axes[0]
        (rings,) = (c for c in axes.collections if c.get_gid() == "recommended")
        expected = [to_rgba(colour(r.cluster)) for r in decision.record.requests]
        np.testing.assert_allclose(rings.get_edgecolors(), expected)

    def test_the_grey_scale_spans_the_percentiles_of_the_configuration_in_the_unit_of_the_colour_bar(self) -> None:
        scan = make_scan()
        axes = scan_figure(scan, make_decision()).axes[0]
        expected = np.percentile(scan.channels["AmplitudeRetrace"], [1, 95]) * 1e12
        np.testing.assert_allclose(axes.images[0].get_clim(), expected, rtol=1e-5)
        assert "AmplitudeRetrace (pm)" in texts(axes.figure)

    def test_the_legend_says_share_and_core_points_of_each_cluster(self) -> None:
        figure = scan_figure(make_scan(), make_decision())
        labels = [t.get_text() for t in figure.legends[0].get_texts()]
        assert labels[:3] == [f"cluster {k}: 33%\n{CORE} core points" for k in range(3)]

    def test_without_places_the_legend_has_no_entry_for_them(self) -> None:
        figure = scan_figure(make_scan(), make_decision(places=0))
        assert len(figure.legends[0].get_texts()) == 3
        assert not any(c.get_gid() == "recommended" for c in figure.axes[0].collections)

    @pytest.mark.slow
    def test_nothing_resolved_shows_the_scan_under_the_reason(self) -> None:
        decision = make_unresolved()
        figure = scan_figure(make_scan(), decision)
        title = figure.axes[0].get_title(loc="left")
        assert "so rescan." in title.replace("\n", " ")
        assert "\n" in title
        assert not figure.legends
        assert not figure.axes[0].collections

    @pytest.mark.parametrize("value", [np.nan, 0.0, -2e-9], ids=["no number", "zero", "constant"])
    def test_an_image_without_contrast_is_drawn(self, value: float) -> None:
        scan = replace(make_scan(), channels={"AmplitudeRetrace": np.full((48, 48), value, dtype=np.float32)})
        assert render(scan_figure(scan, make_unresolved()))

    def test_a_channel_that_the_scan_does_not_hold_gives_the_first_one(self) -> None:
        assert "AmplitudeRetrace" in texts(scan_figure(make_scan(), make_unresolved(channel="Phase")))


class TestRewardFigure:
    def test_the_star_is_the_chosen_configuration(self) -> None:
        ((x, y),) = offsets(reward_figure(make_decision()), "chosen")
        assert round(x) == 9
        assert y == pytest.approx(0.925)

    def test_lines_are_means_with_gaps_where_all_seeds_were_guarded_out(self) -> None:
        axes = reward_figure(make_decision()).axes[0]
        plain, turned = (container[0].get_ydata(orig=False) for container in axes.containers)
        np.testing.assert_allclose(plain, [0.525, 0.925])
        np.testing.assert_allclose(turned, [0.5, np.nan])

    def test_dots_are_the_seeds_that_were_scored(self) -> None:
        figure = reward_figure(make_decision())
        np.testing.assert_allclose(offsets(figure, "seeds-v")[:, 1], [0.5, 0.55, 0.9, 0.95])
        np.testing.assert_allclose(offsets(figure, "seeds-r")[:, 1], [0.5])

    def test_rings_are_the_tie_set(self) -> None:
        axes = reward_figure(make_decision()).axes[0]
        rings = np.concatenate([c.get_offsets() for c in axes.collections if c.get_gid() == "ties"])
        assert rings[:, 1].tolist() == [pytest.approx(0.925)]

    def test_the_reward_is_named_and_rejected_candidates_are_counted(self) -> None:
        figure = reward_figure(make_decision())
        assert "icl_gain" in figure.axes[0].get_ylabel()
        note = "Not shown: 3 of 8 candidates, rejected by the guards (2 collapsed, 1 stuck)."
        assert note in texts(figure)

    def test_a_search_without_rejections_has_no_note(self) -> None:
        record = make_decision().record
        assert rejection_note(record.model_copy(update={"candidates": record.candidates[:2]})) == ""

    def test_one_seed_has_no_error_bar(self) -> None:
        figure = reward_figure(make_decision(seeds=1))
        assert render(figure)
        assert bar_vertices(figure) == 0
        assert bar_vertices(reward_figure(make_decision(seeds=2))) == 4  # of the two configurations with two seeds


class TestPatchFigure:
    @pytest.mark.slow
    def test_a_strip_is_the_mean_core_patch_and_then_the_most_typical_patches(self) -> None:
        scan, decision = make_scan(), make_decision()
        figure = patch_figure(scan, decision)
        strip = [axes for axes in figure.axes if axes.images][: CORE + 1]
        mean, first, *_ = (np.asarray(axes.images[0].get_array()) for axes in strip)
        chosen = chosen_of(decision)
        row, col = chosen.points_rc[chosen.core_of(0)[0]]
        image = scan.channels["AmplitudeRetrace"]
        low, high = np.percentile(image, [1, 95])
        window = np.clip((image - low) / (high - low), 0, 1)[row - 4 : row + 5, col - 4 : col + 5]
        np.testing.assert_allclose(first, window, atol=1e-5)
        np.testing.assert_allclose(mean, np.mean([axes.images[0].get_array() for axes in strip[1:]], axis=0), atol=1e-6)

    @pytest.mark.slow
    def test_every_cluster_has_a_strip_of_its_colour(self) -> None:
        figure = patch_figure(make_scan(), make_decision(clusters=10))
        drawn = [axes for axes in figure.axes if axes.images]
        assert len(drawn) == 10 * (CORE + 1)
        assert [drawn[i * (CORE + 1)].spines["left"].get_edgecolor() for i in range(10)] == [to_rgba(c) for c in COLOURS]

    @pytest.mark.slow
    @pytest.mark.parametrize(("invariance", "warned"), [("v", False), ("r", True), ("rt", True)])
    def test_the_title_says_when_patches_are_not_aligned(self, invariance: str, warned: bool) -> None:
        figure = patch_figure(make_scan(), make_decision(invariance=invariance))
        assert ("as recorded" in texts(figure)) == warned
        assert "window 9 px (383 × 383 nm)" in texts(figure)

    def test_a_cluster_without_points_has_an_empty_strip(self) -> None:
        decision = make_decision()
        labels = np.where(decision.arrays["labels"] == 2, 1, decision.arrays["labels"])
        assert render(patch_figure(make_scan(), replace(decision, arrays={**decision.arrays, "labels": labels})))


class TestAllFigures:
    @pytest.mark.slow
    @pytest.mark.parametrize(("clusters", "latent_dim"), [(1, 2), (10, 2), (3, 1), (3, 3)])
    def test_they_can_be_drawn_and_colour_is_not_the_only_cue(self, clusters: int, latent_dim: int) -> None:
        figures = draw_all(make_scan(OFFSET), make_decision(OFFSET, clusters=clusters, latent_dim=latent_dim))
        assert set(figures) == set(FIGURES)
        for figure in figures.values():
            figure.draw_without_rendering()
            assert figure.get_figwidth() == pytest.approx(180 / 25.4)
        cores = [c for c in figures["scan"].axes[0].collections if isinstance(c, PathCollection) and "core" in str(c.get_gid())]
        shapes = {tuple(c.get_paths()[0].vertices.ravel().round(3)) for c in cores}
        assert len(shapes) == clusters

    @pytest.mark.slow
    @pytest.mark.parametrize("frame", [PLAIN, OFFSET, TURNED], ids=["plain", "offset", "turned"])
    def test_no_text_leaves_the_page_and_no_legend_covers_the_data(self, frame: Frame) -> None:
        for name, figure in draw_all(make_scan(frame), make_decision(frame)).items():
            figure.draw_without_rendering()
            drawn = [axes.get_tightbbox() for axes in figure.axes]
            drawn += [part.get_window_extent() for part in (*figure.texts, *figure.legends)]
            page = figure.bbox
            for box in drawn:
                assert page.x0 - 1 <= box.x0 <= box.x1 <= page.x1 + 1, name
                assert page.y0 - 1 <= box.y0 <= box.y1 <= page.y1 + 1, name
            for legend in figure.legends:
                assert not any(legend.get_window_extent().overlaps(axes.get_tightbbox()) for axes in figure.axes), name

    def test_a_decision_that_resolved_nothing_has_the_scan_only(self) -> None:
        assert set(draw_all(make_scan(), make_unresolved())) == {"scan"}

    def test_a_decision_that_rejected_every_model_shows_their_latents_too(self) -> None:
        assert set(draw_all(make_scan(), make_guarded_out())) == {"scan", "latent_grid"}

    @pytest.mark.parametrize("draw", [latent_figure, reward_figure, latent_grid_figure, lambda d: patch_figure(make_scan(), d)])
    def test_what_a_decision_does_not_hold_is_refused_in_one_sentence(self, draw) -> None:
        with pytest.raises(FigureError, match=r"decision d-1 .*; use scan_figure instead"):
            draw(make_unresolved())

    @pytest.mark.slow
    def test_no_global_setting_is_touched(self) -> None:
        before = dict(mpl.rcParams)
        for figure in draw_all(make_scan(), make_decision()).values():
            figure.draw_without_rendering()
        assert dict(mpl.rcParams) == before


class TestStyle:
    def test_colour_and_marker_together_are_unique(self) -> None:
        assert len({(colour(k), marker(k)) for k in range(100)}) == 100
        assert len(set(COLOURS)) == len(set(MARKERS)) == 10

    @pytest.mark.parametrize(
        ("unit", "magnitude", "expected"),
        [
            ("m", 3e-11, (1e12, "pm")),
            ("m", 1e-9, (1e9, "nm")),
            ("m", 2e-6, (1e6, "µm")),
            ("V", 0.02, (1e3, "mV")),
            ("V", 2.0, (1.0, "V")),
            ("Hz", 3.5e5, (1e-3, "kHz")),
            ("m", 1e-18, (1e15, "fm")),
            ("deg", 0.01, (1.0, "deg")),
            ("", 5.0, (1.0, "")),
            ("m", 0.0, (1.0, "m")),
        ],
    )
    def test_units_get_a_suitable_prefix(self, unit: str, magnitude: float, expected: tuple[float, str]) -> None:
        factor, name = prefixed(unit, magnitude)
        assert (pytest.approx(factor), name) == expected

    def test_grey_range_ignores_what_is_not_a_number(self) -> None:
        image = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
        image[0, 0] = np.nan
        low, high = grey_range(image, 0.0, 100.0)
        assert 0 < low < high == 1

    def test_labels_keep_clear_of_points_and_of_the_border(self) -> None:
        points = np.array([[0.02, 0.02], [0.5, 0.5], [0.56, 0.56], [0.98, 0.98]])
        labels = place_labels(points, 0.06, np.zeros(2), np.ones(2))
        assert ((labels > 0.02) & (labels < 0.98)).all()
        between = np.hypot(*(labels[:, None] - points[None]).transpose(2, 0, 1))
        assert between.min() > 0.055
