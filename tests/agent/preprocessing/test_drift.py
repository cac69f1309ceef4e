"""Drift is told from two scans, and places are commanded where the sample will be; held against the simulator's sealed truth."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from agent.config.drift import DriftSettings
from agent.config.model import Config
from agent.decision.agent import Agent
from agent.preprocessing.drift import DriftTrack, line_s, predict_targets, stretch_m, to_scan_coordinates, update_track
from agent.schema.decision import DriftRecord
from agent.workers.factory import workers_for
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan
from simulators.clock import EPOCH
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.motion import MotionConfig

AMPLITUDE = "Amplitude1Retrace"
SETTINGS = DriftSettings()
FAST = MFP3DConfig(seed=1, motion=MotionConfig(drift_m_per_min=4e-9, creep_m=0.0), charge_latency=False)


@pytest.fixture(scope="module")
def drifting() -> tuple[SimulatedMFP3D, list[Scan], list[np.ndarray]]:
    """A microscope after two scans, the scans, and the true position of each pixel."""
    microscope = SimulatedMFP3D(FAST)
    scans, truth = [], []
    for _ in range(2):
        scans.append(microscope.scan())
        assert microscope.last_recording is not None
        truth.append(microscope.last_recording.true_xy_m)
    return microscope, scans, truth


def track_of(scans: list[Scan]) -> DriftTrack:
    first = update_track(None, None, scans[0], AMPLITUDE, SETTINGS)
    return update_track(first.record(), scans[0], scans[1], AMPLITUDE, SETTINGS)


def requests(scan: Scan, rc: np.ndarray) -> list[MeasurementRequest]:
    xy = scan.frame.to_metres(rc.astype(float))
    return [
        MeasurementRequest(request_id=f"r-{i}", x_m=x, y_m=y, row=r, col=c, cluster=0, rank=i, core_distance=0.0)
        for i, ((x, y), (r, c)) in enumerate(zip(xy.tolist(), rc.tolist(), strict=True))
    ]


def test_the_drift_is_told_to_a_nanometre(drifting: tuple) -> None:
    _, scans, truth = drifting
    track = track_of(scans)
    assert track.known
    told = np.array(track.knots[1][1:]) - np.array(track.knots[0][1:])
    np.testing.assert_allclose(told, (truth[1] - truth[0]).mean(axis=(0, 1)), atol=1e-9)
    assert track.speed_m_per_min == pytest.approx(4e-9, rel=0.05)
    assert track.agreement is not None
    assert track.agreement > 0.9


def test_a_place_is_commanded_where_the_sample_will_be(drifting: tuple) -> None:
    microscope, scans, truth = drifting
    rc = np.argwhere(np.ones((5, 5), bool)) * 40 + 40
    moved, lost = predict_targets(track_of(scans), scans[1], requests(scans[1], rc), Limits(), SETTINGS)
    assert lost == 0
    assert [(m.row, m.col) for m in moved] == [tuple(p) for p in rc.tolist()]
    now_s = microscope.clock.elapsed_s
    for number in (0, 12, 24):
        at_s = scans[1].finished_at.timestamp() - EPOCH.timestamp() + SETTINGS.lead_s + SETTINGS.point_s * number - now_s
        wanted = truth[1][tuple(rc[number])]
        commanded = np.array([[moved[number].x_m, moved[number].y_m]])
        pixel = scans[1].frame.to_metres(rc[[number]].astype(float))
        drift = microscope._microscope._stage
        there = commanded + drift.displacement_m(np.array([now_s + at_s]))
        without = pixel + drift.displacement_m(np.array([now_s + at_s]))
        assert np.hypot(*(there - wanted)[0]) < 3e-9
        assert np.hypot(*(without - wanted)[0]) > 5e-9


def test_a_loop_is_looked_for_where_the_scan_shows_its_spot(drifting: tuple) -> None:
    microscope, scans, truth = drifting
    between_s = scans[0].finished_at.timestamp() + 30.0
    xy = scans[0].frame.to_metres(np.array([[60.0, 80.0], [200.0, 30.0]]))
    spots = xy + microscope._microscope._stage.displacement_m(np.full(2, between_s - EPOCH.timestamp()))
    shown = to_scan_coordinates(track_of(scans), scans[1], xy, np.full(2, between_s))
    rc = np.rint(scans[1].frame.to_pixels(shown)).astype(int)
    assert np.hypot(*(truth[1][tuple(rc.T)] - spots).T).max() < 10e-9, "within a pixel of 9.8 nm"
    plain = np.rint(scans[1].frame.to_pixels(xy)).astype(int)
    assert np.hypot(*(truth[1][tuple(plain.T)] - spots).T).max() > 20e-9


def test_commanding_and_looking_undo_one_another(drifting: tuple) -> None:
    _, scans, _ = drifting
    track = track_of(scans)
    asked = requests(scans[1], np.array([[100, 100], [30, 200], [220, 20]]))
    moved, _ = predict_targets(track, scans[1], asked, Limits(), SETTINGS)
    turn_s = scans[1].finished_at.timestamp() + SETTINGS.lead_s + SETTINGS.point_s * np.arange(3)
    back = to_scan_coordinates(track, scans[1], np.array([[m.x_m, m.y_m] for m in moved]), turn_s)
    np.testing.assert_allclose(back, [[a.x_m, a.y_m] for a in asked], atol=0.2e-9)


@pytest.mark.parametrize("down", [0.0, 1.0])
def test_lines_have_the_time_of_their_recording(drifting: tuple, down: float) -> None:
    scan = replace(drifting[1][0], metadata={"ScanDown": down})
    first, last = line_s(scan, np.array([0.0, 255.0])) - scan.started_at.timestamp()
    whole = (scan.finished_at - scan.started_at).total_seconds()
    assert (first, last) == pytest.approx((whole * 511 / 512, whole / 512) if down else (whole / 512, whole * 511 / 512))


def test_what_cannot_be_compared_begins_anew_and_says_why(drifting: tuple) -> None:
    _, (one, two), _ = drifting
    elsewhere = replace(two, frame=two.frame.model_copy(update={"x_offset_m": 0.0}))
    late = replace(two, started_at=two.started_at + timedelta(days=1), finished_at=two.finished_at + timedelta(days=1))
    noise = np.abs(np.random.default_rng(0).normal(size=(256, 256))).astype(np.float32)
    cases = {
        "the frame lies elsewhere than the last one": update_track(None, one, elsewhere, AMPLITUDE, SETTINGS),
        "the last scan is too old": update_track(None, one, late, AMPLITUDE, SETTINGS),
        "this scan and the last one do not show the same": update_track(
            None, one, replace(two, channels={AMPLITUDE: noise}), AMPLITUDE, SETTINGS
        ),
        "the scan does not say when it was recorded": update_track(None, one, replace(two, started_at=None), AMPLITUDE, SETTINGS),
        "not asked for": update_track(None, one, two, AMPLITUDE, DriftSettings(enabled=False)),
        "the first scan of this place": update_track(None, None, two, AMPLITUDE, SETTINGS),
    }
    for why, track in cases.items():
        assert not track.known
        assert track.record().why_none == why
        assert track.record().nm_per_min is None
        assert stretch_m(track, 50, SETTINGS) == 0
    slow = update_track(None, one, two, AMPLITUDE, DriftSettings(fastest_m_per_min=1e-9))
    assert "is not believed" in slow.why_none


def test_a_place_that_drift_carries_out_of_the_frame_is_left_out(drifting: tuple) -> None:
    _, scans, _ = drifting
    track = DriftTrack(
        ((scans[0].finished_at.timestamp() - 1000.0, 0.0, 0.0), (scans[0].finished_at.timestamp(), -50e-9, 0.0)), 1.0, ""
    )
    moved, lost = predict_targets(track, scans[0], requests(scans[0], np.array([[100, 255], [100, 128]])), Limits(), SETTINGS)
    assert (len(moved), lost) == (1, 1)


def test_drift_stands_in_the_decision_and_moves_its_places(drifting: tuple) -> None:
    _, scans, _ = drifting
    config = Config.model_validate({"search": {"families": ["polar"], "windows_px": [11], "workers": 0}})
    with workers_for(0) as workers:
        agent = Agent(config, workers)
        first = agent.on_scan(scans[0])
        second = agent.on_scan(scans[1], previous=first, earlier=scans[0])
        still = agent.on_scan(scans[1], previous=first)
    assert first.record.drift.nm_per_min is None
    assert second.record.drift.nm_per_min == pytest.approx(4.0, rel=0.05)
    assert "drifts by" in second.record.explanation
    assert second.record.decision_id != still.record.decision_id
    assert DriftRecord.model_validate_json(second.record.drift.model_dump_json()) == second.record.drift
    frame = scans[1].frame
    pixels = frame.to_metres(np.array([[r.row, r.col] for r in second.record.requests], float))
    off = np.hypot(*(np.array([[r.x_m, r.y_m] for r in second.record.requests]) - pixels).T)
    assert off.min() > 10e-9
    assert all(frame.contains(np.array([[r.x_m, r.y_m]]))[0] for r in second.record.requests)
