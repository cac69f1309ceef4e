"""Decisions on scans with unequal pixels and on scans with wild pixels, with searches that need no training."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.metrics import adjusted_rand_score

from agent.config.model import Config
from agent.dashboard.decision_text import saw
from agent.dashboard.model_view import PatchReconstructor
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.preprocessing.analysed_images import analysed_images
from agent.reporting.figures.chosen_candidate import chosen_of
from agent.reporting.figures.latent import recommended_rows
from agent.reporting.figures.patches import patch_figure
from agent.reporting.figures.scan import scan_figure
from agent.safety.envelope import Target
from agent.schema.decision import Decision, DecisionRecord
from agent.workers.factory import workers_for
from instrument_adapters.scan import Scan
from tests.agent.search.test_search import scan_of
from tests.support.data.images import two_textures
from tests.support.samples import NOW

SEARCH = {"families": ["polar"], "windows_px": [11, 15], "seeds": 2, "workers": 0, "plain_latent_dim": 3}
RAW = {
    "keypoints": "canny_walls",
    "search": SEARCH,
    "reward_options": {"restarts": 2, "components": [1, 2, 3], "near_px": 12.0, "far_px": 24.0},
    "recommend": {"spacing_m": 60e-9, "damage_radius_m": 0.0},
}
CONFIG = Config.model_validate(RAW)
FIRST_RULES = Config.model_validate(RAW | {"scan": {"rules": 1}})
FULL = scan_of(two_textures(257), angle_rad=0.3)


def fewer_lines(scan: Scan, step: int) -> Scan:
    """Every `step`-th line, from the first to the last."""
    channels = {name: np.ascontiguousarray(image[::step]) for name, image in scan.channels.items()}
    rows = len(next(iter(channels.values())))
    assert (scan.frame.rows - 1) % step == 0
    return replace(scan, channels=channels, frame=scan.frame.model_copy(update={"rows": rows}))


def decided(scan: Scan, config: Config = CONFIG) -> Decision:
    with workers_for(0) as workers:
        return Agent(config, workers).decide(DecisionInputs(scan))


def spoiled(scan: Scan, value: float = 200.0, pixels: int = 3) -> Scan:
    image = scan.channels["Amplitude1Retrace"].copy()
    image.flat[np.random.default_rng(0).choice(image.size, pixels, replace=False)] = value
    return replace(scan, channels={**scan.channels, "Amplitude1Retrace": image})


@pytest.fixture(scope="module")
def full() -> Decision:
    return decided(FULL)


@pytest.fixture(scope="module")
def coarse() -> Decision:
    return decided(fewer_lines(FULL, 4))


def agreement(one: Decision, other: Decision) -> float:
    """Adjusted Rand index of the clusters of two decisions, at key points of both within 50 nm."""
    here, there = (d.record.analysed_frame.to_metres(d.arrays["points_rc"].astype(float)) for d in (one, other))
    distance, nearest = cKDTree(there).query(here)
    near = distance < 50e-9
    assert near.mean() > 0.5
    return float(adjusted_rand_score(one.arrays["labels"][near], other.arrays["labels"][nearest[near]]))


@pytest.mark.attack("a fast scan has a quarter of the lines", promise="the same types are found at the same places, in metres")
@pytest.mark.slow
def test_a_scan_with_a_quarter_of_the_lines_shows_the_same_types_at_the_same_places(full: Decision, coarse: Decision) -> None:
    assert (full.record.outcome, len(full.record.clusters)) == ("types_found", 2)
    assert (coarse.record.outcome, len(coarse.record.clusters)) == ("types_found", 2)
    assert agreement(coarse, full) > 0.9
    assert decided(fewer_lines(FULL, 2), FIRST_RULES).record.outcome == "one_type_only"


@pytest.mark.slow
def test_the_decision_says_that_the_scan_was_resampled(coarse: Decision) -> None:
    record = coarse.record
    assert (record.frame.rows, record.analysed_frame.rows, record.analysed_frame.cols) == (65, 257, 257)
    sentence = "The pixels of 7.81 x 31.2 nm were resampled to 257 x 257 square ones by interpolation."
    assert sentence in record.explanation
    assert sentence in saw(record)
    assert "257 x 257 square pixels" in scan_figure(fewer_lines(FULL, 4), coarse).axes[0].get_title(loc="left")
    assert DecisionRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.slow
def test_a_request_gives_its_place_in_metres_exactly_and_the_nearest_recorded_pixel(coarse: Decision) -> None:
    record = coarse.record
    key_points = record.analysed_frame.to_metres(coarse.arrays["points_rc"].astype(float))
    assert record.requests
    for request in record.requests:
        at = np.array([[request.x_m, request.y_m]])
        assert cKDTree(key_points).query(at)[0][0] < 1e-15
        exact = record.frame.to_pixels(at)[0]
        assert np.abs(exact - [request.row, request.col]).max() <= 0.5 + 1e-9
        assert record.shown_rc(request) == pytest.approx(tuple(exact))
        # The envelope sees no drift where there is none, although the point may lie between two recorded lines.
        assert np.hypot(*Target.of(request, record.frame, record.shown_rc(request)).correction_m) < 1e-15
    apart = cKDTree(np.array([[r.x_m, r.y_m] for r in record.requests])).query_pairs(60e-9 * 0.999)
    assert not apart


@pytest.mark.slow
def test_drift_moves_the_points_of_a_scan_with_unequal_pixels_by_what_the_sample_moved() -> None:
    moved_px, wide = 6, two_textures(271)
    scans = []
    for number, first in enumerate((0, moved_px)):
        began = NOW + timedelta(seconds=1000 * number)
        scan = replace(scan_of(wide[:257, first : first + 257]), scan_id=f"scan-{number}", started_at=began)
        scans.append(fewer_lines(replace(scan, finished_at=began + timedelta(seconds=900)), 4))
    with workers_for(0) as workers:
        first_decision = Agent(CONFIG, workers).decide(DecisionInputs(scans[0]))
        record = Agent(CONFIG, workers).decide(DecisionInputs(scans[1], previous=first_decision, earlier=scans[0])).record
    assert record.drift.nm_per_min == pytest.approx(moved_px * 1e3 * 2 / 256 / 1000 * 60, rel=0.05)
    assert record.requests
    speed_m_per_s = record.drift.nm_per_min * 1e-9 / 60
    for request in record.requests:
        target = Target.of(request, record.frame, record.shown_rc(request))
        # Each is measured between 0 and 900 s plus its turn after its line was recorded.
        assert abs(target.correction_m[0]) <= speed_m_per_s * (900 + 60 + 20 * len(record.requests))
        assert abs(target.correction_m[1]) < 1e-9
        assert np.allclose(record.frame.to_pixels(np.array([target.shown_xy]))[0], record.shown_rc(request))


@pytest.mark.slow
def test_figures_and_the_page_show_the_patches_that_were_analysed(coarse: Decision) -> None:
    scan, chosen = fewer_lines(FULL, 4), chosen_of(coarse)
    images = analysed_images(scan, coarse.record)
    assert images.shape == (1, 257, 257)
    assert len(patch_figure(scan, coarse).axes) > 2
    rows = recommended_rows(coarse, chosen)
    labels = [r.cluster for r in coarse.record.requests]
    assert chosen.labels[rows].tolist() == labels
    w = chosen.candidate.window_px
    assert PatchReconstructor.of(scan, coarse).reconstructions(0).shape[1:] == (w, w)


@pytest.mark.slow
def test_lines_that_were_not_recorded_are_in_no_patch() -> None:
    scan = fewer_lines(FULL, 4)
    image = scan.channels["Amplitude1Retrace"].copy()
    image[48:] = np.nan
    decision = decided(replace(scan, channels={**scan.channels, "Amplitude1Retrace": image}))
    assert [p.name for p in decision.record.quality.problems] == ["not_recorded"]
    assert decision.arrays["points_rc"][:, 0].max() + 7 <= 47 * 4


@pytest.mark.slow
def test_the_second_rules_change_no_decision_on_a_scan_with_square_and_sane_pixels(full: Decision) -> None:
    before = decided(FULL, FIRST_RULES)
    assert before.record.model_dump(exclude={"config"}) == full.record.model_dump(exclude={"config"})
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(array, full.arrays[name])


@pytest.mark.slow
def test_a_decision_by_the_first_rules_has_another_id_where_they_decide_otherwise(coarse: Decision) -> None:
    before = decided(fewer_lines(FULL, 4), FIRST_RULES)
    assert before.record.analysed_frame == before.record.frame
    assert before.record.decision_id != coarse.record.decision_id


@pytest.mark.attack("three of 66,049 pixels are hot", promise="the decision is the same, and says that they were replaced")
@pytest.mark.slow
def test_hot_pixels_change_no_types(full: Decision) -> None:
    decision = decided(spoiled(FULL))
    assert decision.record.analysed.wild_pixels == {"Amplitude1Retrace": 3}
    assert "Wild pixels were replaced by the median of their neighbours: 3 of Amplitude1Retrace." in decision.record.explanation
    assert len(decision.record.clusters) == len(full.record.clusters)
    assert agreement(decision, full) > 0.95
    assert decided(spoiled(FULL), FIRST_RULES).record.outcome == "bad_scan"
