import time
from dataclasses import replace

import numpy as np
import pytest

from instrument_adapters.geometry import Frame
from simulators.physics.dart import CHANNELS, DartConfig, DartRecording, LineSignals, record_frame, track
from simulators.physics.oscillator import DualTone, Oscillator, invert_closed, invert_linear
from simulators.physics.probe import LineStates, Probe
from simulators.sample.domains import DomainState, SuperdomainKind
from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface
from tests.simulators.conftest import SMALL
from tests.support.cpu import scaled

NOISELESS = DartConfig(
    Q_noise=0,
    amplitude_noise_m=0,
    gain_noise=0,
    line_gain_noise=0,
    frame_gain_drift=0,
    line_frequency_noise_Hz=0,
    pixel_frequency_noise_Hz=0,
    height_noise_m=0,
    line_height_noise_m=0,
)
CENTRE = {"x_offset_m": SMALL.centre_x_m, "y_offset_m": SMALL.centre_y_m}
FRAME = Frame(size_fast_m=1e-6, size_slow_m=1e-6, rows=64, cols=64, **CENTRE)


@pytest.fixture(scope="module")
def uniform_surface() -> Surface:
    """One c+ domain with a few needles, on which a written spot stands out."""
    uniform = SMALL.model_copy(
        update={"superdomain_m": 9e-6, "stripe_share": 0.0, "herringbone_share": 0.0, "c_minus_share": 0.0}
    )
    surface = grow_surface(uniform, np.random.default_rng(0))
    assert (surface.kind == SuperdomainKind.NEEDLES).all()
    return surface


def still(times_s: np.ndarray) -> np.ndarray:
    return np.zeros((*times_s.shape, 2))


def record(surface: Surface, frame: Frame = FRAME, config: DartConfig = NOISELESS, **changes: object) -> DartRecording:
    options = {
        "displacement_m": still,
        "jitter_m": 0.0,
        "started_s": 0.0,
        "line_s": 2.5,
        "scan_down": True,
        "rng": np.random.default_rng(0),
    }
    return record_frame(surface, frame, config, **{**options, **changes})  # type: ignore[arg-type]


def pixel_of_the_change(before: DartRecording, after: DartRecording) -> np.ndarray:
    """(row, col) of the centre of the pixels whose phase changed, which it does by 180° on a c- spot."""
    changed = np.argwhere(np.abs(after.channels["Phase1Retrace"] - before.channels["Phase1Retrace"]) > 90)
    return changed.mean(axis=0)


def test_channels_are_named_as_in_a_file_and_are_finite_float32_images(small_surface: Surface) -> None:
    recording = record(small_surface, config=DartConfig())
    assert list(recording.channels) == list(CHANNELS)
    for image in recording.channels.values():
        assert image.shape == (64, 64)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
    for name in ("Phase1Retrace", "Phase2Retrace"):
        assert recording.channels[name].min() >= -90
        assert recording.channels[name].max() < 270


@pytest.mark.parametrize("scan_down", [True, False])
@pytest.mark.parametrize(
    "frame",
    [
        FRAME,
        Frame(size_fast_m=1.2e-6, size_slow_m=0.8e-6, rows=50, cols=110, x_offset_m=-2.5e-6, y_offset_m=-6.15e-6),
        Frame(size_fast_m=0.9e-6, size_slow_m=0.7e-6, angle_rad=0.5, rows=70, cols=90, **CENTRE),
    ],
    ids=["square", "oblong", "rotated"],
)
def test_a_spot_at_a_stage_position_appears_at_the_pixel_that_the_frame_says(
    uniform_surface: Surface, frame: Frame, scan_down: bool
) -> None:
    x_m, y_m = SMALL.centre_x_m + 130e-9, SMALL.centre_y_m + 210e-9
    written = uniform_surface.with_spot(x_m, y_m, 70e-9, DomainState.C_MINUS)
    seen = pixel_of_the_change(*(record(s, frame, scan_down=scan_down) for s in (uniform_surface, written)))
    expected = frame.to_pixels(np.array([[x_m, y_m]]))[0]
    np.testing.assert_allclose(seen, expected, atol=0.6)


def test_drift_moves_what_is_seen_against_the_frame(uniform_surface: Surface) -> None:
    x_m, y_m = SMALL.centre_x_m, SMALL.centre_y_m
    written = uniform_surface.with_spot(x_m, y_m, 70e-9, DomainState.C_MINUS)
    shift = np.array([160e-9, -80e-9])
    moved = {"displacement_m": lambda times: still(times) + shift}
    seen = pixel_of_the_change(record(uniform_surface, **moved), record(written, **moved))
    np.testing.assert_allclose(seen, FRAME.to_pixels(np.array([[x_m, y_m]]) - shift)[0], atol=0.6)


def test_true_positions_are_the_commanded_ones_plus_the_displacement_when_the_pixel_was_recorded(small_surface: Surface) -> None:
    def along_x(times_s: np.ndarray) -> np.ndarray:
        return np.stack([times_s * 1e-9, 0 * times_s], axis=-1)

    recording = record(small_surface, displacement_m=along_x, scan_down=True)
    rows, cols = np.mgrid[:64, :64]
    commanded = FRAME.to_metres(np.stack([rows.ravel(), cols.ravel()], axis=1).astype(float)).reshape(64, 64, 2)
    times_s = (recording.true_xy_m - commanded)[..., 0] / 1e-9
    assert (np.diff(times_s, axis=0) < 0).all(), "a down scan records the last row first"
    assert (np.diff(times_s, axis=1) < 0).all(), "a retrace runs from high to low columns"
    assert times_s.max() < 64 * 2.5


def test_a_noiseless_frame_inverts_to_the_q_that_was_set(small_surface: Surface) -> None:
    channels = {name: image.astype(float) for name, image in record(small_surface).channels.items()}
    half = NOISELESS.tone_separation_Hz / 2
    centre = channels["FrequencyRetrace"]
    names = ("Amplitude1Retrace", "Amplitude2Retrace", "Phase1Retrace", "Phase2Retrace")
    found = invert_linear(DualTone(*(channels[name] for name in names), centre - half, centre + half))
    strong = channels["Amplitude1Retrace"] > 2e-10
    np.testing.assert_allclose(found.Q[strong], 56.0, rtol=1e-3)
    assert np.abs(found.f0_Hz[strong] - NOISELESS.resonance_Hz).max() < 1e4


def test_line_noise_is_shared_by_the_pixels_of_a_line(small_surface: Surface) -> None:
    noisy = NOISELESS.model_copy(update={"line_frequency_noise_Hz": 2e3})
    shift = record(small_surface, config=noisy).channels["FrequencyRetrace"] - record(small_surface).channels["FrequencyRetrace"]
    assert np.median(shift, axis=1).std() > 5 * np.median(shift.std(axis=1))


def both_inversions(recording: DartRecording) -> tuple[Oscillator, Oscillator, np.ndarray]:
    """(linear inversion, closed-form inversion, difference of P2 - P1 from 0 or 180 in degrees)."""
    channels = {name: image.astype(float) for name, image in recording.channels.items()}
    names = ("Amplitude1Retrace", "Amplitude2Retrace", "Phase1Retrace", "Phase2Retrace")
    centre, half = channels["FrequencyRetrace"], NOISELESS.tone_separation_Hz / 2
    tones = DualTone(*(channels[name] for name in names), centre - half, centre + half)
    difference = np.mod(tones.phase_2_deg - tones.phase_1_deg, 180)
    return invert_linear(tones), invert_closed(tones), np.minimum(difference, 180 - difference)


def test_both_inversions_agree_on_a_frame_to_machine_precision(small_surface: Surface) -> None:
    """Both start from the same float32 pixels, so only arithmetic rounding remains (test_oscillator shows where it grows)."""
    linear, closed, away_deg = both_inversions(record(small_surface))
    for name in Oscillator.__annotations__:
        one, other = getattr(linear, name), getattr(closed, name)
        both = np.isfinite(one) & np.isfinite(other) & (away_deg > 1)
        assert both.mean() > 0.8
        np.testing.assert_allclose(one[both], other[both], rtol=1e-10, atol=1e-10)


def changed(surface: Surface, rows: slice, **fields: object) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Channels with a steady probe and with one changed on some lines, counted from the last row, which is scanned first."""
    steady = LineStates.steady(Probe(), FRAME.rows)
    states = {name: getattr(steady, name).copy() for name in fields}
    for name, value in fields.items():
        states[name][rows] = value
    first, second = record(surface), record(surface, states=replace(steady, **states))
    return tuple({name: image[::-1] for name, image in one.channels.items()} for one in (first, second))  # type: ignore[return-value]


BAND = slice(20, 40)
ELSEWHERE = np.r_[0:20, 40:64]


def test_a_blunt_tip_blurs_its_own_lines_only(small_surface: Surface) -> None:
    sharp, blunt = changed(small_surface, BAND, blunting=3.0)
    for name in CHANNELS:
        np.testing.assert_array_equal(sharp[name][ELSEWHERE], blunt[name][ELSEWHERE])
    rough = [np.abs(np.diff(one["HeightRetrace"][BAND], 2, axis=1)).mean() for one in (sharp, blunt)]
    assert rough[1] < 0.5 * rough[0]


def test_without_lock_the_tones_stand_where_the_last_locked_line_left_them(small_surface: Surface) -> None:
    locked, lost = changed(small_surface, BAND, locked=False)
    frequency = lost["FrequencyRetrace"]
    assert (frequency[BAND] == frequency[19, 0]).all(), "the retrace ends at column 0"
    for name in CHANNELS:
        np.testing.assert_array_equal(locked[name][ELSEWHERE], lost[name][ELSEWHERE])
    unbalanced = [np.abs(one["Amplitude1Retrace"] - one["Amplitude2Retrace"])[BAND].mean() for one in (locked, lost)]
    assert unbalanced[1] > 2 * unbalanced[0]


def test_a_frame_that_begins_without_lock_stands_at_the_nominal_resonance(small_surface: Surface) -> None:
    _, lost = changed(small_surface, slice(0, 10), locked=False)
    assert (lost["FrequencyRetrace"][:10] == NOISELESS.resonance_Hz).all()


def test_without_contact_there_is_no_response(small_surface: Surface) -> None:
    _, lifted = changed(small_surface, BAND, contact=False)
    assert (lifted["Amplitude1Retrace"][BAND] == 0).all()
    assert (lifted["Amplitude1Retrace"][ELSEWHERE] > 0).any(axis=1).all()


def test_dirt_on_the_tip_adds_its_own_response(uniform_surface: Surface) -> None:
    clean, dirty = changed(uniform_surface, BAND, contamination=2.0)
    ratio = dirty["Amplitude1Retrace"][BAND].mean() / clean["Amplitude1Retrace"][BAND].mean()
    assert ratio == pytest.approx(1 + 2.0 / 1.2, rel=0.15), "c+ and background respond with about 1.2"


def test_noise_of_the_contact_potential_is_common_to_both_tones(uniform_surface: Surface) -> None:
    noisy = NOISELESS.model_copy(update={"background_noise": 0.1})
    first, second = (
        record(uniform_surface, config=noisy).channels[f"Amplitude{n}Retrace"]
        - record(uniform_surface).channels[f"Amplitude{n}Retrace"]
        for n in (1, 2)
    )
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.8


def test_filtered_noise_keeps_its_size_and_runs_along_the_lines(uniform_surface: Surface) -> None:
    white, filtered = (
        record(uniform_surface, config=NOISELESS.model_copy(update={"amplitude_noise_m": 2e-11, "amplitude_noise_px": px}))
        .channels["Amplitude1Retrace"]
        .astype(float)
        - record(uniform_surface).channels["Amplitude1Retrace"]
        for px in (0.0, 2.0)
    )
    assert filtered.std() == pytest.approx(white.std(), rel=0.3)
    assert np.abs(np.diff(filtered, axis=1)).mean() < 0.6 * np.abs(np.diff(filtered, axis=0)).mean()


def test_streaks_run_along_single_lines(uniform_surface: Surface) -> None:
    streaky = record(uniform_surface, config=NOISELESS.model_copy(update={"streaks": 0.2})).channels["Amplitude1Retrace"]
    relative = np.log(streaky / record(uniform_surface).channels["Amplitude1Retrace"])
    assert np.abs(np.diff(relative, axis=1)).mean() < 0.3 * np.abs(np.diff(relative, axis=0)).mean()


def test_the_noise_of_frames_differs_where_it_may_spread(uniform_surface: Surface) -> None:
    config = NOISELESS.model_copy(update={"amplitude_noise_m": 2e-11, "noise_spread": 1.0})
    plain = record(uniform_surface).channels["Amplitude1Retrace"]
    levels = [
        (record(uniform_surface, config=config, rng=np.random.default_rng(seed)).channels["Amplitude1Retrace"] - plain).std()
        for seed in range(6)
    ]
    assert max(levels) > 2 * min(levels)


def constant_signals(steps: int, lines: int, f0_Hz: float, q: float = 56.0, force_m: float = 20e-12) -> LineSignals:
    shape = (steps, lines)
    zero = np.zeros((2, *shape), complex)
    return LineSignals(np.full(shape, force_m, complex), np.full(shape, f0_Hz), np.full(shape, q), zero)


def test_the_tracker_settles_where_both_amplitudes_are_equal() -> None:
    f0 = np.full((60, 1), 371e3)
    f0[5:] += 2e3
    constant = constant_signals(60, 1, 371e3)
    centre, tones = track(LineSignals(constant.force_m, f0, constant.Q, constant.noise_m), DartConfig())
    amplitude = np.abs(tones[:, -1, 0])
    assert amplitude[0] == pytest.approx(amplitude[1], rel=1e-6)
    assert centre[-1, 0] == pytest.approx(373e3, abs=200)


def test_the_tracker_is_slower_where_the_response_is_weak() -> None:
    errors = []
    for force_m in (20e-12, 2e-12):
        constant = constant_signals(8, 1, 371e3, force_m=force_m)
        f0 = constant.f0_Hz.copy()
        f0[1:] += 2e3
        centre, _ = track(LineSignals(constant.force_m, f0, constant.Q, constant.noise_m), DartConfig())
        errors.append(abs(centre[-1, 0] - 373e3))
    assert errors[1] > 2 * errors[0]


def test_the_tracker_never_looks_ahead() -> None:
    signals = constant_signals(30, 4, 371e3)
    changed = signals.f0_Hz.copy()
    changed[20:] += 5e3
    first, _ = track(signals, DartConfig())
    second, _ = track(LineSignals(signals.force_m, changed, signals.Q, signals.noise_m), DartConfig())
    np.testing.assert_array_equal(first[:20], second[:20])
    assert (first[21:] != second[21:]).all()


def test_a_frame_of_256_lines_is_computed_in_seconds(small_surface: Surface) -> None:
    """It takes a third of a second on one idle core; the bound allows for a busy machine."""
    began = time.process_time()
    record(small_surface, FRAME.model_copy(update={"rows": 256, "cols": 256}), DartConfig())
    assert time.process_time() - began < scaled(4)
