import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

from simulators.physics.oscillator import DualTone, Oscillator, invert_closed, invert_linear, respond

ONE = np.ones(1)


def measured(f0: float, q: float, drive: float, drive_lag_deg: float, centre: float, width: float = 1e4) -> DualTone:
    f1, f2 = centre * ONE - width / 2, centre * ONE + width / 2
    z1, z2 = (drive * np.exp(-1j * np.deg2rad(drive_lag_deg)) * respond(f, f0 * ONE, q * ONE) for f in (f1, f2))
    return DualTone(np.abs(z1), np.abs(z2), -np.angle(z1, deg=True), -np.angle(z2, deg=True), f1, f2)


def test_far_below_the_resonance_the_gain_is_one() -> None:
    assert respond(np.array(1.0), np.array(371e3), np.array(56.0)) == pytest.approx(1.0, abs=1e-6)


def test_at_the_resonance_the_gain_is_q_and_lags_by_a_quarter_turn() -> None:
    assert respond(np.array(371e3), np.array(371e3), np.array(56.0)) == pytest.approx(-56j)


def test_the_amplitude_peaks_at_f0_times_the_root_of_one_minus_half_over_q_squared() -> None:
    f0, q = 371e3, 20.0
    f = np.linspace(0.98 * f0, 1.01 * f0, 30_001)
    peak = f[np.argmax(np.abs(respond(f, np.array(f0), np.array(q))))]
    assert peak == pytest.approx(f0 * np.sqrt(1 - 1 / (2 * q**2)), abs=1.0)


@given(
    f0=st.floats(300e3, 450e3),
    q=st.floats(20, 200),
    drive=st.floats(1e-13, 1e-10),
    lag=st.floats(-179, 179),
    detuning=st.floats(-2e3, 2e3),
)
def test_the_exact_inversion_returns_what_was_put_in(f0: float, q: float, drive: float, lag: float, detuning: float) -> None:
    found = invert_linear(measured(f0, q, drive, lag, f0 + detuning))
    assert found.f0_Hz[0] == pytest.approx(f0, rel=1e-9)
    assert found.Q[0] == pytest.approx(q, rel=1e-7)
    assert found.drive_m[0] == pytest.approx(drive, rel=1e-7)
    assert np.mod(found.drive_phase_deg[0] - lag + 180, 360) - 180 == pytest.approx(0, abs=1e-5)


def test_both_inversions_agree_to_machine_precision() -> None:
    """Tones on both sides of the resonance."""
    rng = np.random.default_rng(0)
    f0, q = rng.uniform(350e3, 390e3, 500), rng.uniform(50, 70, 500)
    f1, f2 = f0 - 5e3 + rng.normal(0, 300, 500), f0 + 5e3
    z1, z2 = (20e-12 * np.exp(0.4j) * respond(f, f0, q) for f in (f1, f2))
    tones = DualTone(np.abs(z1), np.abs(z2), -np.angle(z1, deg=True), -np.angle(z2, deg=True), f1, f2)
    linear, closed = invert_linear(tones), invert_closed(tones)
    for name in Oscillator.__annotations__:
        np.testing.assert_allclose(getattr(linear, name), getattr(closed, name), rtol=1e-11, atol=1e-11)


def errors(tones: DualTone, f0: float, q: float) -> list[float]:
    """Relative errors of f0 and Q, linear and closed."""
    found = invert_linear(tones), invert_closed(tones)
    return [abs(value[0] / truth - 1) for one in found for value, truth in ((one.f0_Hz, f0), (one.Q, q))]


@pytest.mark.parametrize("off_deg", [0.0, 1e-10, 1e-6, 1e-3, 1.0])
def test_at_a_right_angle_both_inversions_are_exact(off_deg: float) -> None:
    f0, q = 371e3, 56.0

    def miss_deg(width: float) -> float:
        tones = measured(f0, q, 20e-12, 10.0, f0, width)
        return float(tones.phase_2_deg[0] - tones.phase_1_deg[0]) - 90 - off_deg

    width = brentq(miss_deg, 5e3, 9e3, xtol=1e-11)
    assert max(errors(measured(f0, q, 20e-12, 10.0, f0, width), f0, q)) < 1e-13


def test_far_beside_the_resonance_where_the_phases_agree_the_closed_form_loses_digits_first() -> None:
    f0, q = 371e3, 56.0
    tones = measured(f0, q, 20e-12, 10.0, f0 + 1e6)
    assert float(tones.phase_2_deg[0] - tones.phase_1_deg[0]) == pytest.approx(0.0025, abs=1e-4)
    linear_f0, _, closed_f0, _ = errors(tones, f0, q)
    assert linear_f0 < 3e-12
    assert closed_f0 < 1e-9
    assert closed_f0 > 5 * linear_f0


def test_a_common_phase_offset_moves_the_phase_of_the_drive_and_nothing_else() -> None:
    plain = measured(371e3, 56.0, 20e-12, 10.0, 371e3)
    moved = DualTone(
        plain.amplitude_1_m, plain.amplitude_2_m, plain.phase_1_deg - 82.6, plain.phase_2_deg - 82.6, plain.f1_Hz, plain.f2_Hz
    )
    np.testing.assert_allclose(invert_linear(moved).Q, invert_linear(plain).Q)
    assert invert_linear(moved).drive_phase_deg[0] == pytest.approx(10.0 - 82.6)


def test_numbers_that_no_oscillator_gives_come_back_as_not_a_number() -> None:
    found = invert_linear(DualTone(ONE, ONE, 100 * ONE, 0 * ONE, 366e3 * ONE, 376e3 * ONE))
    assert np.isnan(found.Q[0])
