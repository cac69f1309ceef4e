import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from instrument_adapters.errors import InstrumentFaultError, LimitError
from instrument_adapters.formats.instrument_note import parse_note
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import Instrument, Measurement
from instrument_adapters.protocol.messages import ArraySpec, ChannelSpec, Limits, MeasurementRequest, ScanMessage
from instrument_adapters.scan import Scan
from simulators.clock import EPOCH, SimulatedClock
from simulators.config import MFP3DConfig, TimingConfig
from simulators.errors import FailedLoopError, InterruptedWaitError
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.motion import MotionConfig
from simulators.physics.spectroscopy import SpectroscopyConfig
from simulators.sample.domains import DomainState
from simulators.sample.surface import Surface, SurfaceConfig
from tests.simulators.conftest import SMALL

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "scan_0001.ibw"
FRAME = Frame(size_fast_m=1.2e-6, size_slow_m=1.2e-6, x_offset_m=SMALL.centre_x_m, y_offset_m=SMALL.centre_y_m, rows=48, cols=48)
NUMBERS = ("Scan", "Fast", "Slow", "XOff", "YOff", "Points", "DriveFreq", "DFRTFreq")
NEVER_FAILING = SpectroscopyConfig(failure_rate=0.0)
CONFIG = MFP3DConfig(frame=FRAME, surface=SMALL, spectroscopy=NEVER_FAILING, charge_latency=False)


@pytest.fixture
def microscope(small_surface: Surface) -> SimulatedMFP3D:
    return SimulatedMFP3D(CONFIG, surface=small_surface)


def request_at(row: float, col: float, frame: Frame = FRAME, name: str = "r") -> MeasurementRequest:
    x_m, y_m = (float(v) for v in frame.to_metres(np.array([[row, col]], float))[0])
    return MeasurementRequest(
        request_id=name, x_m=x_m, y_m=y_m, row=max(0, round(row)), col=max(0, round(col)), cluster=0, rank=0, core_distance=0.0
    )


def measure(microscope: SimulatedMFP3D, row: float, col: float) -> Measurement | None:
    try:
        return microscope.measure(request_at(row, col))
    except FailedLoopError:
        return None


def altered(config: MFP3DConfig, **changes: object) -> MFP3DConfig:
    return MFP3DConfig.model_validate({**dict(config), **changes})


def as_instrument(microscope: SimulatedMFP3D) -> Instrument:
    return microscope


def test_it_is_an_instrument(microscope: SimulatedMFP3D) -> None:
    instrument = as_instrument(microscope)
    assert instrument.instrument_id == "mfp3d-sim"
    assert "simulated" in instrument.model
    assert instrument.limits == Limits()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scan_bit_for_bit_and_another_seed_another_one() -> None:
    first, again, other = (SimulatedMFP3D(altered(CONFIG, seed=seed)).scan() for seed in (5, 5, 6))
    for name, image in first.channels.items():
        np.testing.assert_array_equal(image, again.channels[name])
        assert (image != other.channels[name]).any()
    assert first.metadata == again.metadata


def test_a_frame_takes_lines_over_rate_of_simulated_time_and_scans_are_numbered(microscope: SimulatedMFP3D) -> None:
    first, second = microscope.scan(), microscope.scan()
    assert first.started_at == EPOCH
    assert first.finished_at is not None
    assert (first.finished_at - first.started_at).total_seconds() == pytest.approx(48 / 0.40064, abs=1e-3)
    assert second.started_at is not None
    assert 0 < (second.started_at - first.finished_at).total_seconds() < 2, "a look whether the file is complete, and a stop"
    assert (first.scan_id, second.scan_id) == ("mfp3d-sim-scan-0001", "mfp3d-sim-scan-0002")


def test_a_restarted_instrument_can_go_on_numbering(small_surface: Surface) -> None:
    scan = SimulatedMFP3D(altered(CONFIG, first_scan=12), surface=small_surface).scan()
    assert scan.scan_id == "mfp3d-sim-scan-0012"


def test_a_scan_fits_into_a_scan_message(microscope: SimulatedMFP3D) -> None:
    scan = microscope.scan()
    shape = (len(scan.channels), 48, 48)
    message = ScanMessage(
        id="m",
        sent_at=datetime(2026, 1, 1, tzinfo=UTC),
        arrays=(ArraySpec(name="channels", dtype="<f4", shape=shape),),
        scan_id=scan.scan_id,
        sample_id=scan.sample_id,
        frame=scan.frame,
        channels=tuple(ChannelSpec(name=n, unit=scan.units[n]) for n in scan.channels),
        started_at=scan.started_at,
        finished_at=scan.finished_at,
        metadata=dict(scan.metadata),
    )
    assert message.metadata["MicroscopeModel"] == "MFP3D"
    assert scan.find_channel() == "Amplitude1Retrace"


def test_the_note_speaks_of_the_frame_in_the_instruments_own_units(small_surface: Surface) -> None:
    turned = FRAME.model_copy(update={"angle_rad": 0.1, "size_fast_m": 1.0e-6, "size_slow_m": 0.5e-6})
    note = SimulatedMFP3D(altered(CONFIG, frame=turned), surface=small_surface).scan().metadata
    numbers = {key: float(value) for key, value in note.items() if key.startswith(NUMBERS) and key != "ScanMode"}
    assert numbers["ScanAngle"] == pytest.approx(np.rad2deg(0.1))
    assert (numbers["ScanSize"], numbers["FastScanSize"], numbers["SlowScanSize"]) == (1.0e-6, 1.0e-6, 0.5e-6)
    assert (numbers["XOffset"], numbers["YOffset"]) == (SMALL.centre_x_m, SMALL.centre_y_m)
    assert numbers["ScanLines"] == numbers["ScanPoints"] == numbers["PointsLines"] == 48
    assert numbers["DriveFrequency1"] - numbers["DriveFrequency"] == numbers["DFRTFrequencyWidth"] == 1e4


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data is absent: no recorded scan on this machine")
def test_every_key_of_the_note_is_one_that_a_real_file_has(microscope: SimulatedMFP3D) -> None:
    binarywave = pytest.importorskip("igor2.binarywave")
    real = parse_note(binarywave.load(str(REAL))["wave"]["note"])
    assert set(microscope.scan().metadata) <= set(real)


def test_nothing_of_the_truth_leaves_with_a_scan_or_a_measurement(microscope: SimulatedMFP3D) -> None:
    scan = microscope.scan()
    measurement = measure(microscope, 20, 20)
    assert measurement is not None
    assert set(vars(scan)) == set(Scan.__dataclass_fields__)
    words = " ".join([*scan.metadata, *map(str, scan.metadata.values()), *measurement.parameters, *measurement.arrays]).lower()
    assert not any(word in words for word in ("truth", "wall", "seed", "needle", "stripe", "state", "eta"))
    commanded = request_at(20, 20)
    assert (measurement.x_m, measurement.y_m) == (commanded.x_m, commanded.y_m), "the stage does not know its drift"


def test_a_loop_takes_about_ten_seconds_and_carries_bias_and_response(microscope: SimulatedMFP3D) -> None:
    before = microscope.clock.elapsed_s
    measurement = microscope.measure(request_at(10, 10))
    measurement = microscope.measure(request_at(10, 20))
    # Twice: a move (four commands), the loop and a check of its file; for the first also a tuning and two readings of the place.
    assert microscope.clock.elapsed_s - before == pytest.approx(2 * (4 * 0.35 + 8.1 + 0.5) + 5.35 + 2 * 0.7)
    assert measurement.measured_at == microscope.clock.now()
    assert measurement.arrays["bias_V"].shape == measurement.arrays["response"].shape == (64,)
    assert "coercive_plus_V" in measurement.parameters


def test_a_loop_writes_a_spot_at_the_true_position_and_the_next_scan_shows_it() -> None:
    up_only = SMALL.model_copy(update={"c_minus_share": 0.0})
    config = altered(CONFIG, surface=up_only, motion=MotionConfig(drift_m_per_min=10e-9, repeatability_m=0.0))
    microscope = SimulatedMFP3D(config)
    microscope.clock.advance(1200.0)
    measure(microscope, 24, 24)
    written = np.argwhere(microscope.surface.state == DomainState.C_MINUS)
    spot = SMALL.square.to_metres(written.mean(axis=0)[None, :])
    wanted = FRAME.to_metres(np.array([[24.0, 24.0]]))
    assert np.hypot(*(spot - microscope.true_position(wanted))[0]) < 5e-9
    assert np.hypot(*(spot - wanted)[0]) == pytest.approx(200e-9, abs=10e-9)
    turned = np.argwhere(microscope.scan().channels["Phase1Retrace"] > 90)
    np.testing.assert_allclose(np.median(turned, axis=0), [24, 24], atol=1.5)


def test_the_truth_under_a_commanded_point_moves_with_the_drift(small_surface: Surface) -> None:
    microscope = SimulatedMFP3D(altered(CONFIG, motion=MotionConfig(drift_m_per_min=10e-9)), surface=small_surface)
    grid = FRAME.to_metres(np.stack(np.meshgrid(np.arange(5.0, 45.0), np.arange(5.0, 45.0)), axis=-1).reshape(-1, 2))
    first = microscope.surface.truth_at(microscope.true_position(grid)).state
    microscope.clock.advance(1800.0)
    later = microscope.true_position(grid)
    assert np.hypot(*(later - grid).T) == pytest.approx(300e-9, abs=5e-9)
    assert (microscope.surface.truth_at(later).state != first).mean() > 0.1


def test_points_outside_stage_or_frame_are_refused_and_nothing_moves(microscope: SimulatedMFP3D) -> None:
    before = microscope.clock.elapsed_s
    beyond_stage = request_at(0, 0).model_copy(update={"x_m": 46e-6})
    for bad, says in [(beyond_stage, "stage's range"), (request_at(-1, 5), "outside the scanned frame")]:
        with pytest.raises(LimitError, match=says):
            microscope.measure(bad)
    assert microscope.clock.elapsed_s == before


def test_a_point_too_near_to_one_measured_since_the_last_scan_is_refused(microscope: SimulatedMFP3D) -> None:
    measure(microscope, 10, 10)
    near = request_at(10, 10 + 80e-9 / FRAME.pitch_m[1])
    with pytest.raises(LimitError, match="80 nm from one measured since the last scan, 100 nm are needed"):
        microscope.measure(near)
    measure(microscope, 10, 10 + 110e-9 / FRAME.pitch_m[1])
    microscope.scan()  # drift may have moved the first spot; only a comparison of scans can locate it
    measure(microscope, 10, 10 + 80e-9 / FRAME.pitch_m[1])


def test_only_so_many_points_are_measured_after_a_scan(small_surface: Surface) -> None:
    microscope = SimulatedMFP3D(altered(CONFIG, limits=Limits(points_max=2)), surface=small_surface)
    for col in (5, 15):
        measure(microscope, 5, col)
    with pytest.raises(LimitError, match="2 are allowed"):
        microscope.measure(request_at(5, 30))
    microscope.scan()
    measure(microscope, 5, 30)


def test_a_failed_loop_is_a_fault_and_has_damaged_the_sample_all_the_same(small_surface: Surface) -> None:
    config = altered(CONFIG, spectroscopy=SpectroscopyConfig(failure_rate=1.0))
    microscope = SimulatedMFP3D(config, surface=small_surface)
    with pytest.raises(InstrumentFaultError, match="measure another point"):
        microscope.measure(request_at(24, 24))
    assert microscope.surface is not small_surface
    with pytest.raises(LimitError, match="0 nm from one measured since the last scan"):
        microscope.measure(request_at(24, 24))


def test_a_slow_agent_pays_in_drift(small_surface: Surface) -> None:
    wall = {"now": 0.0}
    clock = SimulatedClock(None, wall=lambda: wall["now"])
    microscope = SimulatedMFP3D(altered(CONFIG, charge_latency=True), clock=clock, surface=small_surface)
    microscope.scan()
    before = clock.elapsed_s
    wall["now"] += 120.0
    measure(microscope, 10, 10)
    assert clock.elapsed_s - before == pytest.approx(120.0 + 10.0 + 5.35 + 2 * 0.7)


def test_the_loop_of_a_slow_agent_lies_off_its_place_by_what_drifted_meanwhile(small_surface: Surface) -> None:
    spots = []
    for thought_s in (0.0, 600.0):
        wall = {"now": 0.0}
        clock = SimulatedClock(None, wall=lambda: wall["now"])  # noqa: B023 - called within the round
        config = altered(CONFIG, charge_latency=True, motion=MotionConfig(drift_m_per_min=10e-9, creep_m=0.0))
        microscope = SimulatedMFP3D(config, clock=clock, surface=small_surface)
        microscope.scan()
        wall["now"] += thought_s
        measure(microscope, 20, 20)
        written = np.argwhere(microscope.surface.response != small_surface.response)
        spots.append(SMALL.square.to_metres(written.mean(axis=0)[None, :])[0])
    assert np.hypot(*(spots[1] - spots[0])) == pytest.approx(100e-9, abs=5e-9)


def test_closing_stops_a_scan_in_real_time_and_nothing_works_afterwards(small_surface: Surface) -> None:
    stop = threading.Event()
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 4:  # the first one is the command's
            microscope.close()

    clock = SimulatedClock(1.0, stop=stop, sleep=nap, wall=lambda: 0.0)
    microscope = SimulatedMFP3D(CONFIG, clock=clock, surface=small_surface)
    with pytest.raises(InstrumentFaultError, match="after 2 of 48 lines"):
        microscope.scan()
    for again in (microscope.scan, lambda: microscope.measure(request_at(5, 5))):
        with pytest.raises(InterruptedWaitError):
            again()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame": FRAME.model_copy(update={"x_offset_m": 0.0})}, "beyond the simulated surface"),
        ({"frame": FRAME.model_copy(update={"angle_rad": 0.7})}, "beyond the simulated surface"),
        ({"limits": Limits(y_min_m=-5e-6)}, "stage's range"),
        ({"timing": TimingConfig(scan_rate_Hz=10.0)}, "30.0 um/s, at most 20.0 um/s is allowed"),
        ({"limits": Limits(bias_max_V=5.0)}, "the bias of loops is 8.5 V, the limit is 5 V"),
    ],
    ids=["off the surface", "turned off the surface", "off the stage", "too fast", "too much bias"],
)
def test_a_configuration_that_breaks_its_own_limits_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        altered(CONFIG, **changes)


def test_a_surface_from_another_configuration_is_refused(small_surface: Surface) -> None:
    with pytest.raises(ValueError, match="another configuration"):
        SimulatedMFP3D(altered(CONFIG, surface=SurfaceConfig()), surface=small_surface)
