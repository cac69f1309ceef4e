"""Faults that only a comparison with the previous scan shows are found; sound scans have none, whatever was measured between."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.config.quality import QualitySettings
from agent.preprocessing.frame_comparison import line_shifts
from agent.preprocessing.registration import ScanPair, band_pass
from agent.preprocessing.scan_quality import Quality, inspect
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.protocol.messages import MeasurementRequest
from instrument_adapters.scan import Scan
from simulators.faults.injector import FaultInjector
from simulators.faults.schedule import FaultSchedule, Injection
from simulators.mfp3d import SimulatedMFP3D
from simulators.tiers import tier

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data"
AMPLITUDE, PHASE = "Amplitude1Retrace", "Phase1Retrace"
MEASURED = np.array([[-2.9e-6, -6.3e-6], [-2.2e-6, -5.7e-6]])
TwoScans = Callable[..., tuple[Scan, Scan]]


@pytest.fixture(scope="module")
def two_scans() -> TwoScans:
    """Makes two scans of one sample with loops measured between them, the second one with the given faults."""
    config = tier("easy", 0)
    surface = SimulatedMFP3D(config).surface

    def scanned(*faults: Injection) -> tuple[Scan, Scan]:
        instrument = SimulatedMFP3D(config, surface=surface, faults=FaultInjector(FaultSchedule.from_names(*faults)))
        first = instrument.scan()
        for n, (x_m, y_m) in enumerate(MEASURED.tolist()):
            place = {"x_m": x_m, "y_m": y_m, "row": 0, "col": 0, "cluster": 0, "rank": 0, "core_distance": 0.0}
            instrument.measure(MeasurementRequest(request_id=f"q{n}", **place))
        return first, instrument.scan()

    return scanned


@pytest.fixture(scope="module")
def sound(two_scans: TwoScans) -> tuple[Scan, Scan]:
    return two_scans()


def compared(pair: tuple[Scan, Scan], measured_xy: np.ndarray = MEASURED, **more: object) -> Quality:
    first, second = pair
    return inspect(second, AMPLITUDE, pair=ScanPair(first, second, AMPLITUDE), measured_xy=measured_xy, **more)  # type: ignore[arg-type]


def names(quality: Quality) -> list[str]:
    return [p.name for p in quality.problems]


@pytest.mark.slow
def test_sound_scans_of_one_place_have_no_problem(sound: tuple[Scan, Scan]) -> None:
    assert names(compared(sound)) == []
    assert names(compared(sound[::-1])) == []


@pytest.mark.slow
def test_recorded_scans_of_one_place_have_no_problem() -> None:
    if not (RECORDED / "PZT_final0001.h5").exists():
        pytest.skip("../shared/data is absent: no recorded scan on this machine")
    first, second = (read_scan(RECORDED / f"PZT_final000{n}.h5") for n in (1, 2))
    first = replace(first, frame=second.frame)
    channel = second.find_channel()
    assert names(inspect(second, channel, pair=ScanPair(first, second, channel))) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "name", "says"),
    [
        (Injection("skipped_lines", scan=2), "lines_skipped", "lines were probably skipped"),
        (Injection("phase_wrap_offset", scan=2), "phase_turned", "differ by 140 degrees"),
        (Injection("written_spot", scan=2), "written", "px around row 131"),
        (Injection("written_box", scan=2), "written", "was a domain written?"),
    ],
)
def test_what_happened_between_the_scans_is_named_and_reported(
    two_scans: TwoScans, fault: Injection, name: str, says: str
) -> None:
    quality = compared(two_scans(fault))
    assert names(quality) == [name]
    assert says in quality.problems[0].sentence
    assert quality.problems[0].action == "warn"
    assert quality.fatal is None
    assert not quality.bad_lines.any()


@pytest.mark.slow
def test_shifted_lines_are_masked_or_only_reported(two_scans: TwoScans) -> None:
    pair = two_scans(Injection("shifted_lines", scan=2))
    quality = compared(pair)
    assert names(quality) == ["lines_shifted"]
    assert "shifted by 8 px" in quality.problems[0].sentence
    shifted = set(range(108, 128))  # recorded downwards, from line 128 on
    found = set(quality.bad_lines.nonzero()[0].tolist())
    assert len(shifted - found) <= 1
    assert len(found - shifted) <= 8
    warned = compared(pair, settings=QualitySettings(actions={"lines_shifted": "warn"}))
    assert names(warned) == ["lines_shifted"]
    assert not warned.bad_lines.any()


@pytest.mark.slow
def test_a_change_where_something_was_measured_is_no_problem(two_scans: TwoScans) -> None:
    pair = two_scans(Injection("written_spot", scan=2, given={"radius_m": 8e-8}))
    frame = pair[1].frame
    around = frame.to_metres(np.array([[127.5 + r, 127.5 + c] for r in (-6, 0, 6) for c in (-6, 0, 6)]))
    assert names(compared(pair)) == ["written"]
    assert names(compared(pair, np.vstack([MEASURED, around]))) == []


@pytest.mark.slow
def test_a_scan_of_another_place_is_not_compared(sound: tuple[Scan, Scan]) -> None:
    elsewhere = replace(sound[0], frame=sound[0].frame.model_copy(update={"x_offset_m": 0.0}))
    assert names(compared((elsewhere, sound[1]))) == []
    other = replace(sound[0], channels={n: np.ascontiguousarray(i[::-1]) for n, i in sound[0].channels.items()})
    assert names(compared((other, sound[1]))) == []
    assert names(compared((replace(sound[0], channels={PHASE: sound[0].channels[PHASE]}), sound[1]))) == []


def test_missing_lines_do_not_prevent_the_comparison(sound: tuple[Scan, Scan]) -> None:
    first, second = sound
    amplitude = second.channels[AMPLITUDE].copy()
    amplitude[40:50] = np.nan
    holed = replace(second, channels={**second.channels, AMPLITUDE: amplitude})
    assert names(compared((first, holed))) == ["not_recorded"]


def test_line_shifts_finds_how_far_each_line_has_moved(sound: tuple[Scan, Scan]) -> None:
    image = band_pass(sound[0].channels[AMPLITUDE])
    assert image is not None
    moved = np.roll(image, (3, -5), axis=(0, 1))
    shifts, agreement, in_place = line_shifts(image, moved)
    inside = slice(20, -20)
    assert (shifts[inside] == (3, -5)).all()
    assert agreement[inside].min() > 0.95
    assert in_place[inside].mean() < agreement[inside].mean() - 0.1
