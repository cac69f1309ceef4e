import numpy as np
import pytest

from agent.errors import UnusableScanError
from agent.preprocessing.channels import fit_phase_offset, phase_partner, stack_channels
from instrument_adapters.errors import UnknownChannelError
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan


def response(n: int, share_up: float, background: complex, noise: float, seed: int = 0) -> np.ndarray:
    """Response of up and down domains of varied strength along the real axis, with background and noise."""
    rng = np.random.default_rng(seed)
    sign = np.where(rng.random(n) < share_up, 1.0, -1.0)
    strength = sign * (0.6 + 0.4 * rng.random(n))
    return strength + background + noise * (rng.standard_normal(n) + 1j * rng.standard_normal(n))


def recorded(r: np.ndarray, offset_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and phase in degrees, wrapped to [-90, 270) as DART records it."""
    return np.abs(r), np.mod(np.angle(r, deg=True) + offset_deg + 90, 360) - 90


def apart_deg(a: float, b: float) -> float:
    """Angle between two axes in degrees, at most 90."""
    return abs((a - b + 90) % 180 - 90)


def scan_of(offset_deg: float = 25.0, **names: str) -> Scan:
    amplitude, phase = recorded(response(40 * 50, 0.5, 0.0, 0.02).reshape(40, 50), offset_deg)
    height = np.random.default_rng(1).random((40, 50))
    images = {
        names.get("amplitude", "Amplitude1Retrace"): amplitude,
        names.get("phase", "Phase1Retrace"): phase,
        "HeightRetrace": height,
    }
    frame = Frame(size_fast_m=1e-6, size_slow_m=1e-6, rows=40, cols=50)
    return Scan({k: v.astype(np.float32) for k, v in images.items()}, {}, frame, "scan-1")


CASES = {
    "balanced": (0.5, 0.0, 0.05),
    "hardly anything points down": (0.95, 0.0, 0.05),
    "noisy": (0.5, 0.0, 0.4),
    "a background across the axis": (0.5, 0.5j, 0.05),
    "a background larger than the response": (0.3, 1.0 + 1.5j, 0.1),
    "one lobe only": (1.0, 0.0, 0.15),
}


@pytest.mark.parametrize("offset_deg", [-82.639, -30.0, 0.0, 44.0, 89.0, 200.0])
@pytest.mark.parametrize("case", CASES)
def test_the_offset_of_the_instrument_is_found(case: str, offset_deg: float) -> None:
    amplitude, phase = recorded(response(4000, *CASES[case]), offset_deg)
    found = np.degrees(fit_phase_offset(amplitude, np.deg2rad(phase)))
    assert -90 < found <= 90
    assert apart_deg(found, offset_deg) < 2.5


def test_a_few_specks_do_not_set_the_axis() -> None:
    r = response(4000, 0.5, 0.0, 0.05)
    r[:20] = 40j
    amplitude, phase = recorded(r, 30.0)
    assert apart_deg(np.degrees(fit_phase_offset(amplitude, np.deg2rad(phase))), 30.0) < 2.5


def test_the_quadratures_depend_on_the_instruments_offset_only_by_a_common_sign() -> None:
    one, other = (stack_channels(scan_of(o), "Amplitude1Retrace", "vector").values for o in (10.0, 150.0))
    assert np.array_equal(one[0], other[0])
    sign = np.sign(np.corrcoef(one[1].ravel(), other[1].ravel())[0, 1])
    assert one[1:] - 0.5 == pytest.approx(sign * (other[1:] - 0.5), abs=0.02)


def test_opposite_domains_lie_on_both_sides_of_a_half_in_one_quadrature_and_the_other_is_empty() -> None:
    stack = stack_channels(scan_of(), "Amplitude1Retrace", "vector")
    assert stack.values.shape == (3, 40, 50)
    assert stack.values.dtype == np.float32
    assert 0 <= stack.values.min() <= stack.values.max() <= 1
    along, across = stack.values[1], stack.values[2]
    assert 0.4 < (along > 0.7).mean() < 0.6
    assert 0.4 < (along < 0.3).mean() < 0.6
    assert np.abs(across - 0.5).max() < 0.1


def test_a_pixel_without_a_phase_is_invalid_and_has_zero_response() -> None:
    scan = scan_of()
    scan.channels["Phase1Retrace"][3, 4] = np.nan
    stack = stack_channels(scan, "Amplitude1Retrace", "vector")
    assert not stack.image.valid[3, 4]
    assert stack.image.valid.sum() == 40 * 50 - 1
    assert stack.values[1:, 3, 4] == pytest.approx(0.5)


def test_by_default_the_amplitude_is_the_only_channel() -> None:
    stack = stack_channels(scan_of(), "Amplitude1Retrace")
    assert stack.names == ("Amplitude1Retrace",)
    assert np.array_equal(stack.values[0], stack.image.values)
    assert stack.phase_offset_rad is None


def test_mode_auto_is_the_vector_if_there_is_a_phase_and_the_channel_alone_otherwise() -> None:
    scan = scan_of()
    assert len(stack_channels(scan, "Amplitude1Retrace", "auto").names) == 3
    assert stack_channels(scan, "HeightRetrace", "auto").names == ("HeightRetrace",)
    assert stack_channels(scan_of(phase="Phase2Retrace"), "Amplitude1Retrace", "auto").names == ("Amplitude1Retrace",)


def test_a_phase_that_was_not_recorded_leaves_the_amplitude_alone_or_is_refused_with_the_option() -> None:
    scan = scan_of()
    scan.channels["Phase1Retrace"][:] = np.nan
    stack = stack_channels(scan, "Amplitude1Retrace", "auto")
    assert stack.names == ("Amplitude1Retrace",)
    assert stack.image.valid.all()
    with pytest.raises(UnusableScanError, match=r"no pixel holds a number in both .*; rescan, or use channels = 'amplitude'"):
        stack_channels(scan, "Amplitude1Retrace", "vector")


def test_the_topography_can_be_added() -> None:
    stack = stack_channels(scan_of(), "Amplitude1Retrace", "height")
    assert stack.names == ("Amplitude1Retrace", "HeightRetrace")
    assert stack.values.shape == (2, 40, 50)


@pytest.mark.parametrize(("amplitude", "phase"), [("AmplitudeRetrace", "PhaseRetrace"), ("amplitude2trace", "Phase2Trace")])
def test_the_phase_is_found_by_name(amplitude: str, phase: str) -> None:
    assert phase_partner(scan_of(amplitude=amplitude, phase=phase), amplitude) == phase


@pytest.mark.parametrize("channel", ["HeightRetrace", "Amplitude1Retrace"])
def test_a_channel_without_a_phase_is_refused_with_what_there_is(channel: str) -> None:
    with pytest.raises(UnknownChannelError, match=f"'{channel}'.*it holds Amplitude1Retrace, Phase2Retrace, HeightRetrace"):
        phase_partner(scan_of(phase="Phase2Retrace"), channel)
