"""Each fault of a scan is found and named, and sound scans, simulated and recorded, pass."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.config.quality import DEFAULT_ACTIONS, QualitySettings
from agent.preprocessing import line_artifacts
from agent.preprocessing.normalise import normalise
from agent.preprocessing.registration import ScanPair
from agent.preprocessing.scan_quality import Quality, inspect, sharpness
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.scan import Scan
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data"
AMPLITUDE, PHASE, FREQUENCY = "Amplitude1Retrace", "Phase1Retrace", "FrequencyRetrace"
Change = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


@pytest.fixture(scope="module")
def sound() -> Scan:
    return SimulatedMFP3D(MFP3DConfig(seed=3)).scan()


def inspected(scan: Scan, **more: object) -> Quality:
    return inspect(scan, AMPLITUDE, **more)  # type: ignore[arg-type]


def changed(scan: Scan, **images: np.ndarray) -> Scan:
    return replace(scan, channels={**scan.channels, **{n: i.astype(np.float32) for n, i in images.items()}})


def names(quality: Quality) -> list[str]:
    return [p.name for p in quality.problems]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_sound_scan_has_no_problem(seed: int) -> None:
    quality = inspected(SimulatedMFP3D(MFP3DConfig(seed=seed)).scan())
    assert names(quality) == []
    assert quality.fatal is None
    assert not quality.bad_lines.any()


@pytest.mark.slow
@pytest.mark.parametrize("file", ["scan_0001.ibw", "PTO_Funakubo0001.h5", "PTO_Funakubo0002.h5", "PZT_final0001.h5"])
def test_recorded_scans_have_no_problem(file: str) -> None:
    if not (RECORDED / file).exists():
        pytest.skip("../shared/data is absent: no recorded scan on this machine")
    scan = read_scan(RECORDED / file)
    assert names(inspect(scan, scan.find_channel())) == []


@pytest.mark.attack(
    "a phase channel that was never recorded, called 'between nan and nan, as radians'",
    promise="the decision says that the phase is missing, and uses the amplitude",
)
def test_a_phase_that_was_not_recorded_is_named_as_such_and_does_not_stop_the_scan(sound: Scan) -> None:
    quality = inspected(changed(sound, **{PHASE: np.full_like(sound.channels[PHASE], np.nan)}))
    (problem,) = quality.problems
    assert (problem.name, problem.action, quality.fatal) == ("phase_missing", "warn", None)
    assert problem.sentence.startswith("Phase1Retrace holds no number, so the phase was not recorded")


def test_two_scans_without_a_phase_are_compared_by_nothing_that_needs_one(sound: Scan) -> None:
    missing = changed(sound, **{PHASE: np.full_like(sound.channels[PHASE], np.nan)})
    pair = ScanPair(sound, missing, AMPLITUDE)
    assert names(inspected(missing, pair=pair)) == ["phase_missing"]


FAULTS: Mapping[str, tuple[str, str, Change]] = {
    "nanometres": ("wrong_unit", "has the unit m but reaches", lambda c: {AMPLITUDE: c[AMPLITUDE] * 1e9}),
    "kilohertz": ("wrong_unit", "has the unit Hz", lambda c: {FREQUENCY: c[FREQUENCY] / 1e6}),
    "radians": ("wrong_unit", "in radians", lambda c: {PHASE: np.deg2rad(c[PHASE])}),
    "labels": ("mislabelled", "labels swapped", lambda c: {AMPLITUDE: c[PHASE], PHASE: c[AMPLITUDE]}),
    "height for amplitude": ("mislabelled", "negative", lambda c: {AMPLITUDE: c["HeightRetrace"]}),
    "transposed": ("transposed", "exchanged", lambda c: {n: i.T for n, i in c.items()}),
    "saturated": ("saturated", "saturated", lambda c: {AMPLITUDE: np.minimum(c[AMPLITUDE], np.percentile(c[AMPLITUDE], 97))}),
    "noise": ("no_signal", "only noise", lambda c: {AMPLITUDE: np.abs(np.random.default_rng(0).normal(size=(256, 256))) * 1e-11}),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_and_forbids_a_decision(sound: Scan, case: str) -> None:
    name, says, change = FAULTS[case]
    quality = inspected(changed(sound, **change(sound.channels)))
    assert names(quality)[0] == name
    assert quality.fatal is not None
    assert says in quality.fatal.sentence
    assert quality.fatal.action == DEFAULT_ACTIONS[quality.fatal.name]


@pytest.mark.slow
def test_missing_lines_and_lines_without_lock_are_masked(sound: Scan) -> None:
    amplitude, frequency = sound.channels[AMPLITUDE].copy(), sound.channels[FREQUENCY].copy()
    amplitude[10:14] = np.nan
    frequency[200:230] = frequency[199, 0]
    quality = inspected(changed(sound, **{AMPLITUDE: amplitude, FREQUENCY: frequency}))
    assert names(quality) == ["not_recorded", "lock_lost"]
    assert quality.fatal is None
    assert quality.bad_lines.nonzero()[0].tolist() == [*range(10, 14), *range(200, 230)]
    assert "4 lines (10 to 13) of 256" in quality.problems[0].sentence


def test_few_lines_without_contact_are_masked_and_many_require_a_new_scan(sound: Scan) -> None:
    for lines, action in ((40, "mask"), (110, "rescan")):
        amplitude = sound.channels[AMPLITUDE].copy()
        amplitude[:lines] = 1e-12 * np.abs(np.random.default_rng(0).normal(size=(lines, 256)))
        quality = inspected(changed(sound, **{AMPLITUDE: amplitude}))
        assert [(p.name, p.action) for p in quality.problems] == [("contact_lost", action)]
        assert quality.bad_lines.sum() == (lines if action == "mask" else 0)


def test_a_featureless_part_of_the_surface_is_not_lost_contact(sound: Scan) -> None:
    amplitude = sound.channels[AMPLITUDE].copy()
    amplitude[:110] = np.median(amplitude) * (1 + 0.005 * np.random.default_rng(0).normal(size=(110, 256)))
    assert names(inspected(changed(sound, **{AMPLITUDE: amplitude}))) == []


def test_too_many_bad_lines_require_a_new_scan(sound: Scan) -> None:
    amplitude = sound.channels[AMPLITUDE].copy()
    amplitude[:100] = np.nan
    quality = inspected(changed(sound, **{AMPLITUDE: amplitude}))
    assert quality.fatal is not None
    assert (quality.fatal.name, quality.fatal.action) == ("not_recorded", "rescan")


@pytest.mark.slow
def test_a_scan_that_is_sent_twice_is_recognised(sound: Scan) -> None:
    first = inspected(sound)
    again = inspected(sound, content_before=first.content, sharpness_before=first.sharpness)
    assert names(again) == ["repeated"]
    other = inspected(SimulatedMFP3D(MFP3DConfig(seed=4)).scan(), content_before=first.content)
    assert names(other) == []


@pytest.mark.slow
def test_a_blunted_tip_shows_against_the_last_scan_and_a_changed_gain_or_noise_does_not(sound: Scan) -> None:
    def scan_with(**dart: float) -> Scan:
        config = MFP3DConfig(seed=3)
        return SimulatedMFP3D(config.model_copy(update={"dart": config.dart.model_copy(update=dart)})).scan()

    before = sharpness(sound.channels[AMPLITUDE])
    blunt, weak = scan_with(tip_m=28e-9), scan_with(sensitivity_m_per_V=4e-12, amplitude_noise_m=12e-12)
    assert names(inspected(blunt, sharpness_before=before)) == ["blunt_tip"]
    assert inspected(blunt, sharpness_before=before).fatal is None, "it is reported, and a decision is made"
    assert names(inspected(weak, sharpness_before=before)) == []


def test_the_action_for_a_problem_can_be_configured(sound: Scan) -> None:
    nanometres = changed(sound, **{AMPLITUDE: sound.channels[AMPLITUDE] * 1e9})
    quality = inspected(nanometres, settings=QualitySettings(actions={"wrong_unit": "warn"}))
    assert [p.action for p in quality.problems] == ["warn"]
    assert quality.fatal is None


@pytest.mark.parametrize("shape", [(2, 2), (3, 40), (40, 3), (16, 16)])
def test_small_constant_and_empty_scans_are_inspected_without_an_error(shape: tuple[int, int]) -> None:
    frame = MFP3DConfig().frame.model_copy(update={"rows": shape[0], "cols": shape[1]})
    for image in (np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32), np.ones(shape, np.float32)):
        inspect(Scan({AMPLITUDE: image}, {AMPLITUDE: "m"}, frame, "s"), AMPLITUDE)


def test_the_quality_gate_and_the_mask_find_flat_lines_with_the_same_function(
    sound: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    amplitude = sound.channels[AMPLITUDE].copy()
    amplitude[30:50] *= 0.01
    lost = [row in range(30, 50) for row in range(256)]
    calls = []
    flat_lines = line_artifacts.flat_lines

    def counted(image: np.ndarray, *args: float) -> np.ndarray:
        calls.append(flat_lines(image, *args))
        return calls[-1]

    monkeypatch.setattr(line_artifacts, "flat_lines", counted)
    quality = inspected(changed(sound, **{AMPLITUDE: amplitude}))
    scaled = normalise(amplitude)
    assert names(quality) == ["contact_lost"]
    assert quality.bad_lines.tolist() == (~scaled.valid.any(axis=1)).tolist() == lost
    assert [found.tolist() for found in calls] == [lost, lost]
