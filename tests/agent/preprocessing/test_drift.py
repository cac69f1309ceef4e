"""Drift is estimated from two scans and targets are corrected for it; compared with the simulator's sealed truth."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from agent.config.drift import DriftSettings
from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.preprocessing import registration
from agent.preprocessing.drift import (
    DriftTrack,
    drift_while_measuring_m,
    line_recorded_s,
    predict_targets,
    to_scan_coordinates,
    update_track,
)
from agent.preprocessing.registration import ScanPair
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
    first = update_track(None, ScanPair(None, scans[0], AMPLITUDE), SETTINGS)
    return update_track(first.record(), ScanPair(scans[0], scans[1], AMPLITUDE), SETTINGS)


def requests(scan: Scan, rc: np.ndarray) -> list[MeasurementRequest]:
    xy = scan.frame.to_metres(rc.astype(float))
    return [
        MeasurementRequest(request_id=f"r-{i}", x_m=x, y_m=y, row=r, col=c, cluster=0, rank=i, core_distance=0.0)
        for i, ((x, y), (r, c)) in enumerate(zip(xy.tolist(), rc.tolist(), strict=True))
    ]


@pytest.mark.slow
def test_the_drift_is_estimated_to_a_nanometre(drifting: tuple) -> None:
    _, scans, truth = drifting
    track = track_of(scans)
    assert track.known
    estimated = np.array(track.knots[1][1:]) - np.array(track.knots[0][1:])
    np.testing.assert_allclose(estimated, (truth[1] - truth[0]).mean(axis=(0, 1)), atol=1e-9)
    assert track.speed_m_per_min == pytest.approx(4e-9, rel=0.05)
    assert track.agreement is not None
    assert track.agreement > 0.9


@pytest.mark.slow
def test_a_target_is_commanded_where_the_sample_will_be(drifting: tuple) -> None:
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
        corrected = commanded + drift.displacement_m(np.array([now_s + at_s]))
        uncorrected = pixel + drift.displacement_m(np.array([now_s + at_s]))
        assert np.hypot(*(corrected - wanted)[0]) < 3e-9
        assert np.hypot(*(uncorrected - wanted)[0]) > 5e-9


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


def test_the_corrections_of_targets_and_of_measured_positions_are_inverse(drifting: tuple) -> None:
    _, scans, _ = drifting
    track = track_of(scans)
    chosen = requests(scans[1], np.array([[100, 100], [30, 200], [220, 20]]))
    moved, _ = predict_targets(track, scans[1], chosen, Limits(), SETTINGS)
    due_s = scans[1].finished_at.timestamp() + SETTINGS.lead_s + SETTINGS.point_s * np.arange(3)
    back = to_scan_coordinates(track, scans[1], np.array([[m.x_m, m.y_m] for m in moved]), due_s)
    np.testing.assert_allclose(back, [[c.x_m, c.y_m] for c in chosen], atol=0.2e-9)


@pytest.mark.parametrize("down", [0.0, 1.0])
def test_each_line_has_the_time_of_its_recording(drifting: tuple, down: float) -> None:
    scan = replace(drifting[1][0], metadata={"ScanDown": down})
    first, last = line_recorded_s(scan, np.array([0.0, 255.0])) - scan.started_at.timestamp()
    whole = (scan.finished_at - scan.started_at).total_seconds()
    assert (first, last) == pytest.approx((whole * 511 / 512, whole / 512) if down else (whole / 512, whole * 511 / 512))


def test_a_track_restarts_with_the_reason_if_scans_cannot_be_compared(drifting: tuple) -> None:
    _, (one, two), _ = drifting
    elsewhere = replace(two, frame=two.frame.model_copy(update={"x_offset_m": 0.0}))
    late = replace(two, started_at=two.started_at + timedelta(days=1), finished_at=two.finished_at + timedelta(days=1))
    noise = np.abs(np.random.default_rng(0).normal(size=(256, 256))).astype(np.float32)
    other = replace(two, channels={AMPLITUDE: noise})
    disabled = DriftSettings(enabled=False)
    few = [
        replace(s, channels={AMPLITUDE: s.channels[AMPLITUDE][:40]}, frame=s.frame.model_copy(update={"rows": 40}))
        for s in (one, two)
    ]
    cases = {
        "scans of 40 x 256 px are too small to be compared; at least 48 px a side are needed": (*few, SETTINGS),
        "the frame differs from that of the last scan": (one, elsewhere, SETTINGS),
        "the last scan is too old": (one, late, SETTINGS),
        "this scan and the last one do not show the same place": (one, other, SETTINGS),
        "the scan has no recording time": (one, replace(two, started_at=None), SETTINGS),
        "drift correction is disabled": (one, two, disabled),
        "this is the first scan of this place": (None, two, SETTINGS),
    }
    for why, (earlier, scan, settings) in cases.items():
        track = update_track(None, ScanPair(earlier, scan, AMPLITUDE), settings)
        assert not track.known
        assert track.record().why_none == why
        assert track.record().nm_per_min is None
        assert drift_while_measuring_m(track, 50, SETTINGS) == 0
    slow = update_track(None, ScanPair(one, two, AMPLITUDE), DriftSettings(fastest_m_per_min=1e-9))
    assert "implausible drift" in slow.why_none


def test_a_target_that_drift_carries_out_of_the_frame_is_dropped(drifting: tuple) -> None:
    _, scans, _ = drifting
    track = DriftTrack(
        ((scans[0].finished_at.timestamp() - 1000.0, 0.0, 0.0), (scans[0].finished_at.timestamp(), -50e-9, 0.0)), 1.0, ""
    )
    moved, lost = predict_targets(track, scans[0], requests(scans[0], np.array([[100, 255], [100, 128]])), Limits(), SETTINGS)
    assert (len(moved), lost) == (1, 1)


@pytest.mark.slow
def test_drift_is_recorded_in_the_decision_and_moves_its_targets(drifting: tuple) -> None:
    _, scans, _ = drifting
    config = Config.model_validate({"search": {"families": ["polar"], "windows_px": [11], "workers": 0}})
    with workers_for(0) as workers:
        agent = Agent(config, workers)
        first = agent.decide(DecisionInputs(scans[0]))
        second = agent.decide(DecisionInputs(scans[1], previous=first, earlier=scans[0]))
        still = agent.decide(DecisionInputs(scans[1], previous=first))
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


@pytest.mark.slow
def test_a_decision_registers_its_scan_with_the_previous_one_only_once(drifting: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    registered = []
    register = registration.register

    def counted(earlier: np.ndarray, later: np.ndarray) -> registration.Registration | None:
        registered.append(register(earlier, later))
        return registered[-1]

    monkeypatch.setattr(registration, "register", counted)
    _, scans, _ = drifting
    config = Config.model_validate({"search": {"families": ["polar"], "windows_px": [11], "workers": 0}})
    with workers_for(0) as workers:
        record = Agent(config, workers).decide(DecisionInputs(scans[1], earlier=scans[0])).record
    assert record.quality.content, "the quality gate has inspected the scan, and compared it with the previous one"
    assert record.drift.agreement == registered[0].agreement
    assert len(registered) == 1


def test_a_pair_of_scans_that_cannot_be_compared_is_not_registered(drifting: tuple) -> None:
    _, (one, two), _ = drifting
    elsewhere = replace(one, frame=one.frame.model_copy(update={"x_offset_m": 0.0}))
    without_channel = replace(one, channels={"Phase1Retrace": one.channels["Phase1Retrace"]})
    assert ScanPair(one, two, AMPLITUDE).registration is not None
    for earlier in (None, elsewhere, without_channel):
        assert ScanPair(earlier, two, AMPLITUDE).registration is None
