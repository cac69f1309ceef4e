"""Effect of each fault on frames, files and loops, compared with a run of the same seed without it."""

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instrument_adapters.errors import AdapterError, InstrumentFaultError
from instrument_adapters.scan import Scan
from simulators.errors import FailedLoopError
from simulators.faults import frame_faults as faults_data
from simulators.faults.catalogue import FAULTS
from simulators.faults.injector import FaultInjector
from simulators.faults.schedule import FaultSchedule, Injection
from simulators.faults.sealed_log import SealedEntry
from simulators.mfp3d import SimulatedMFP3D
from simulators.sample.domains import DomainState
from simulators.sample.surface import Surface
from tests.simulators.test_mfp3d import CONFIG, FRAME, altered, request_at

ROWS = 48
Lab = Callable[..., SimulatedMFP3D]


@pytest.fixture
def lab(small_surface: Surface) -> Lab:
    """Factory of instruments with the given faults; `instrument.faults` is the injector."""

    def built(*asked: str | Injection, **changes: object) -> SimulatedMFP3D:
        faults = FaultInjector(FaultSchedule.from_names(*asked))
        instrument = SimulatedMFP3D(altered(CONFIG, **changes), surface=small_surface, faults=faults)
        vars(instrument)["faults"] = faults
        return instrument

    return built


@pytest.fixture(scope="module")
def plain(small_surface: Surface) -> list[Scan]:
    instrument = SimulatedMFP3D(CONFIG, surface=small_surface)
    return [instrument.scan() for _ in range(3)]


def entries(instrument: SimulatedMFP3D) -> tuple[SealedEntry, ...]:
    return vars(instrument)["faults"].log.entries


def different_rows(one: Scan, other: Scan) -> set[int]:
    """Rows in which any channel differs in any bit."""
    differ = [(a.view(np.uint32) != other.channels[name].view(np.uint32)).any(axis=1) for name, a in one.channels.items()]
    return {int(row) for row in np.flatnonzero(np.any(differ, axis=0))}


def rows_of(entry: SealedEntry) -> set[int]:
    assert entry.rows is not None
    return set(range(entry.rows[0], entry.rows[1] + 1))


@pytest.mark.parametrize("scan_down", [True, False])
@pytest.mark.parametrize(
    ("fault", "lines"),
    [
        ("lock_loss", (10, 39)),
        ("contamination_band", (10, 29)),
        ("nan_lines", (10, 14)),
        ("shifted_lines", (10, 29)),
        ("skipped_lines", (10, 47)),
        ("blunting", (10, 47)),
        ("sensitivity_step", (10, 47)),
        ("f0_step", (10, 47)),
        ("crash", (10, 47)),
    ],
)
def test_a_fault_of_lines_changes_exactly_the_lines_that_the_sealed_log_names(
    lab: Lab, fault: str, lines: tuple[int, int], scan_down: bool
) -> None:
    faulty = lab(f"{fault}@1:10", scan_down=scan_down)
    whole, touched = lab(scan_down=scan_down).scan(), faulty.scan()
    (entry,) = entries(faulty)
    assert entry.lines == lines
    assert rows_of(entry) == different_rows(whole, touched)
    recorded = [ROWS - 1 - line for line in lines][::-1] if scan_down else list(lines)
    assert list(entry.rows) == recorded
    assert (entry.fault, entry.scan) == (fault, 1)
    assert entry.simulated_s == pytest.approx(10 / CONFIG.timing.scan_rate_Hz, abs=5.0)


def test_without_lock_the_tones_stand_still(lab: Lab, plain: list[Scan]) -> None:
    scan = lab("lock_loss@1:10").scan()
    lost = scan.channels["FrequencyRetrace"][ROWS - 40 : ROWS - 10]
    assert np.ptp(lost) == 0
    assert np.ptp(plain[0].channels["FrequencyRetrace"][ROWS - 40 : ROWS - 10], axis=1).min() > 100


def test_a_blunt_tip_sees_less_detail_in_the_next_frame_too_until_the_probe_is_changed(lab: Lab, plain: list[Scan]) -> None:
    instrument = lab(Injection("blunting", 1, 0, given={"factor": 2.5}))
    frames = [instrument.scan(), instrument.scan()]
    instrument.controller.microscope.change_probe()
    frames.append(instrument.scan())

    def detail(scan: Scan) -> float:
        return float(np.abs(np.diff(scan.channels["HeightRetrace"], axis=1)).mean())

    ratios = [detail(scan) / detail(whole) for scan, whole in zip(frames, plain, strict=True)]
    assert max(ratios[:2]) < 0.9
    assert different_rows(frames[2], plain[2]) == set()
    assert [e.fault for e in entries(instrument)] == ["blunting", "probe_change"]


def test_sensitivity_and_resonance_step_and_stay(lab: Lab, plain: list[Scan]) -> None:
    instrument = lab("sensitivity_step@1:0", "f0_step@1:0")
    for whole in plain[:2]:
        scan = instrument.scan()
        bright = whole.channels["Amplitude1Retrace"] > np.quantile(whole.channels["Amplitude1Retrace"], 0.5)
        amplitude, frequency = (
            (scan.channels[n][bright], whole.channels[n][bright]) for n in ("Amplitude1Retrace", "FrequencyRetrace")
        )
        assert np.median(amplitude[0] / amplitude[1]) == pytest.approx(0.55, abs=0.05)
        assert np.median(frequency[0] - frequency[1]) == pytest.approx(5e3, abs=500)


def test_after_a_crash_there_is_noise_only_and_loops_fail_without_a_trace_on_the_sample(lab: Lab) -> None:
    instrument = lab("crash@1:20")
    noise = CONFIG.dart.amplitude_noise_m * (np.pi / 2) ** 0.5
    first, second = instrument.scan(), instrument.scan()
    assert first.channels["Amplitude1Retrace"][: ROWS - 20].mean() == pytest.approx(noise, rel=0.05)
    assert first.channels["Amplitude1Retrace"][ROWS - 20 :].mean() > 5 * noise
    assert second.channels["Amplitude1Retrace"].mean() == pytest.approx(noise, rel=0.05)
    before = instrument.surface
    with pytest.raises(FailedLoopError):
        instrument.measure(request_at(24, 24))
    assert instrument.surface is before


@pytest.mark.parametrize(("fault", "axis"), [("skipped_lines", 0), ("shifted_lines", 1)])
def test_lines_out_of_place_show_what_lies_further_on(lab: Lab, plain: list[Scan], fault: str, axis: int) -> None:
    steps = -4 if axis == 0 else 8  # recorded downwards: later lines are lower rows
    seen = lab(f"{fault}@1:10").scan().channels["HeightRetrace"][ROWS - 30 : ROWS - 10]
    place = (
        (slice(ROWS - 30 + steps, ROWS - 10 + steps), slice(0, -8))
        if axis == 0
        else (slice(ROWS - 30, ROWS - 10), slice(8, None))
    )
    elsewhere, here = plain[0].channels["HeightRetrace"][place], plain[0].channels["HeightRetrace"][ROWS - 30 : ROWS - 10, :-8]
    assert np.corrcoef(seen[:, :-8].ravel(), elsewhere.ravel())[0, 1] > 0.97
    assert np.corrcoef(seen[:, :-8].ravel(), here.ravel())[0, 1] < 0.95


@pytest.mark.parametrize(
    ("fault", "alter"),
    [
        ("wrong_units", lambda scan: faults_data.wrong_units(scan, 1e9)),
        ("swapped_labels", faults_data.swapped_labels),
        ("transposed_axes", faults_data.transposed_axes),
        ("saturation", lambda scan: faults_data.saturation(scan, 0.15)),
        ("phase_wrap_offset", lambda scan: faults_data.phase_wrap_offset(scan, 140.0)),
        ("nan_lines", lambda scan: faults_data.nan_lines(scan, slice(19, 24))),
    ],
)
def test_a_fault_of_the_data_is_a_function_of_the_frame_and_spares_the_next_one(
    lab: Lab, plain: list[Scan], fault: str, alter: Callable[[Scan], Scan]
) -> None:
    instrument = lab(f"{fault}@1")
    scan, after = instrument.scan(), instrument.scan()
    expected = alter(plain[0])
    assert scan.units == plain[0].units
    assert different_rows(scan, expected) == set()
    assert different_rows(scan, plain[0]) != set()
    assert different_rows(after, plain[1]) == set()


def test_what_the_functions_of_the_data_do(plain: list[Scan]) -> None:
    scan = plain[0]
    amplitude, phase = scan.channels["Amplitude1Retrace"], scan.channels["Phase1Retrace"]
    np.testing.assert_allclose(faults_data.wrong_units(scan, 1e9).channels["Amplitude1Retrace"], 1e9 * amplitude, rtol=1e-6)
    np.testing.assert_array_equal(faults_data.swapped_labels(scan).channels["Phase1Retrace"], amplitude)
    np.testing.assert_array_equal(faults_data.transposed_axes(scan).channels["Phase1Retrace"], phase.T)
    capped = faults_data.saturation(scan, 0.2).channels["Amplitude1Retrace"]
    assert (capped == capped.max()).mean() == pytest.approx(0.2, abs=0.01)
    turned = faults_data.phase_wrap_offset(scan, 140.0).channels["Phase1Retrace"]
    assert (turned.min() >= -90) & (turned.max() < 270)
    np.testing.assert_allclose(np.exp(1j * np.deg2rad(turned - phase)), np.exp(1j * np.deg2rad(140.0)), atol=1e-5)


def test_what_is_written_on_the_sample_shows_where_the_log_says(lab: Lab, plain: list[Scan]) -> None:
    place = {"row_share": 0.3, "col_share": 0.6, "state": "C_MINUS"}
    instrument = lab(
        Injection("written_box", 1, given=place | {"side_m": 400e-9}),
        Injection("written_spot", 2, given=place | {"state": "C_PLUS"}),
    )
    spots = FRAME.to_metres(np.array([[0.3, 0.6]]) * (ROWS - 1))
    instrument.scan()
    around = spots + np.array([[0, 0], [190e-9, 190e-9], [-190e-9, 190e-9], [0, 100e-9]])
    assert (instrument.surface.truth_at(around).state == DomainState.C_MINUS).all()
    outside = spots + np.array([[210e-9, 0], [0, -210e-9]])
    untouched = SimulatedMFP3D(CONFIG, surface=instrument.surface).surface.truth_at(outside).state
    assert (instrument.surface.truth_at(outside).state == untouched).all()
    scan = instrument.scan()
    changed = np.argwhere(np.abs(scan.channels["Phase1Retrace"] - plain[1].channels["Phase1Retrace"]) > 90)
    np.testing.assert_allclose(changed.mean(axis=0), [0.3 * (ROWS - 1), 0.6 * (ROWS - 1)], atol=6)
    assert instrument.surface.truth_at(around).state.tolist() == [0, 1, 1, 0]


def test_a_truncated_file_is_a_fault_and_the_next_frame_is_read_again(lab: Lab) -> None:
    instrument = lab("truncated_file@1")
    with pytest.raises(InstrumentFaultError, match="no complete frame"):
        instrument.scan()
    assert instrument.scan().channels["HeightRetrace"].shape == (ROWS, ROWS)


def test_a_file_that_is_still_being_written_is_waited_for(lab: Lab, plain: list[Scan]) -> None:
    instrument, quick = lab("file_still_being_written@1"), lab()
    assert different_rows(instrument.scan(), quick.scan()) == set()
    assert instrument.clock.elapsed_s - quick.clock.elapsed_s == pytest.approx(20.0, abs=2.0)
    loops = [one.measure(request_at(20, 20)).measured_at - one.clock.now() for one in (instrument, quick)]
    assert loops == [timedelta(0)] * 2, "the files of loops are not late"


def test_a_stale_newest_file_is_not_taken_for_the_frame(lab: Lab) -> None:
    instrument = lab("stale_newest_file@2")
    first = instrument.scan()
    with pytest.raises(InstrumentFaultError, match="no complete frame"):
        instrument.scan()
    later = instrument.scan()
    assert different_rows(first, later) == set(range(ROWS))


def test_a_duplicate_scan_id_names_another_frame(lab: Lab) -> None:
    instrument = lab("duplicate_scan_id@2")
    scans = [instrument.scan() for _ in range(3)]
    assert scans[0].scan_id == scans[1].scan_id != scans[2].scan_id
    assert different_rows(scans[0], scans[1]) == set(range(ROWS))


@pytest.mark.parametrize(("fault", "row"), [("frozen_position", 20), ("silent_clamp", 2)])
def test_where_the_stage_is_not_where_it_was_sent_nothing_is_measured_until_a_frame_has_ended_it(
    lab: Lab, fault: str, row: int
) -> None:
    instrument = lab(f"{fault}@point:2")
    instrument.scan()
    instrument.measure(request_at(40, 40))
    before = instrument.surface
    for _ in range(2):
        with pytest.raises(InstrumentFaultError):
            instrument.measure(request_at(row, 20))
    assert instrument.surface is before
    if fault == "silent_clamp":
        with pytest.raises(InstrumentFaultError, match="from the frame that was set"):
            instrument.scan()
    instrument.scan()
    instrument.measure(request_at(row, 20))
    assert [(e.fault, e.scan, e.point) for e in entries(instrument)] == [(fault, 1, 2)]


def test_a_worn_stage_still_reaches_the_near_part_of_the_frame(lab: Lab) -> None:
    instrument = lab("silent_clamp@1")
    instrument.scan()
    near, far = request_at(ROWS - 4, 20), request_at(3, 20)  # the frame lies below the centre of the stage
    assert instrument.measure(near).y_m == near.y_m
    with pytest.raises(InstrumentFaultError):
        instrument.measure(far)


def worked(surface: Surface, seed: int, rates: dict[str, float]) -> tuple[list[dict[str, bytes]], tuple[SealedEntry, ...]]:
    """(bytes of each frame, sealed log) of a run with random faults."""
    frame = FRAME.model_copy(update={"rows": 20, "cols": 24})
    faults = FaultInjector(FaultSchedule.random(rates, np.random.default_rng(seed)))
    instrument = SimulatedMFP3D(altered(CONFIG, frame=frame, seed=seed), surface=surface, faults=faults)
    frames = []
    for n in range(3):
        try:
            frames.append({name: image.tobytes() for name, image in instrument.scan().channels.items()})
            instrument.measure(request_at(6 * n + 2, 10, frame))
        except AdapterError as error:
            frames.append({"error": type(error).__name__.encode()})  # its message may name a temporary folder
    return frames, faults.log.entries


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(seed=st.integers(0, 99), rates=st.dictionaries(st.sampled_from(sorted(FAULTS)), st.floats(0, 2), max_size=8))
def test_whatever_happens_nothing_but_declared_errors_comes_out_and_the_same_seed_does_it_again(
    small_surface: Surface, seed: int, rates: dict[str, float]
) -> None:
    assert worked(small_surface, seed, rates) == worked(small_surface, seed, rates)
