"""The cantilever as a driven damped oscillator, and the exact inversion of a dual-frequency (DART) measurement.

z(f) = A e^{iφ} f0² / (f0² - f² + i f f0/Q) is recorded at two tones f1 < f2 as amplitudes |z| and phase lags -arg z. The four
recorded numbers determine four unknowns, f0, Q, the drive A and its phase, so the inversion is exact rather than a fit. It must
not be confused with a fit of a whole resonance curve, nor with the tracker, which only keeps the tones around the resonance.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Complex, Float


@dataclass(frozen=True, eq=False)
class DualTone:
    """A DART measurement at any number of points; all arrays of one shape.

    Parameters
    ----------
    amplitude_1_m, amplitude_2_m
        Amplitudes at the lower and the upper tone.
    phase_1_deg, phase_2_deg
        Phase lags at the two tones in degrees; a common constant offset appears in the phase of the drive.
    f1_Hz, f2_Hz
        The tones, f1 < f2.
    """

    amplitude_1_m: Float[np.ndarray, "*shape"]
    amplitude_2_m: Float[np.ndarray, "*shape"]
    phase_1_deg: Float[np.ndarray, "*shape"]
    phase_2_deg: Float[np.ndarray, "*shape"]
    f1_Hz: Float[np.ndarray, "*shape"]
    f2_Hz: Float[np.ndarray, "*shape"]


@dataclass(frozen=True, eq=False)
class Oscillator:
    """Parameters of the oscillator from a DART measurement; NaN where no oscillator explains the four numbers.

    Parameters
    ----------
    f0_Hz, Q
        Resonance frequency and quality factor.
    drive_m
        Amplitude A of the drive, the response far below the resonance.
    drive_phase_deg
        Phase lag of the drive, -φ, plus any constant offset of the recorded phases, in degrees between -180 and 180.
    """

    f0_Hz: Float[np.ndarray, "*shape"]
    Q: Float[np.ndarray, "*shape"]
    drive_m: Float[np.ndarray, "*shape"]
    drive_phase_deg: Float[np.ndarray, "*shape"]


def respond(f_Hz: np.ndarray, f0_Hz: np.ndarray, Q: np.ndarray) -> Complex[np.ndarray, "*shape"]:
    """Complex gain f0² / (f0² - f² + i f f0/Q) of the oscillator at frequency f; arguments broadcast."""
    return np.asarray(f0_Hz**2 / (f0_Hz**2 - f_Hz**2 + 1j * f_Hz * f0_Hz / Q))


def invert_linear(tones: DualTone) -> Oscillator:
    """The oscillator from the ratio R = z1/z2, through an equation that is linear in w = f0² and G = f0/Q.

    w (1 - R) + i G (f2 - R f1) = f2² - R f1², for real and imaginary part. It is well conditioned at every phase difference
    except 0, where both tones give the same information.
    """
    f1, f2 = tones.f1_Hz, tones.f2_Hz
    lag = np.deg2rad(tones.phase_1_deg - tones.phase_2_deg)
    ratio = tones.amplitude_1_m / tones.amplitude_2_m * np.exp(-1j * lag)
    of_w, of_g, right = 1 - ratio, 1j * (f2 - ratio * f1), f2**2 - ratio * f1**2
    determinant = _cross(of_w, of_g)
    with np.errstate(divide="ignore", invalid="ignore"):
        w, g = _cross(right, of_g) / determinant, _cross(of_w, right) / determinant
        f0 = np.sqrt(np.where(w > 0, w, np.nan))
        return _with_drive(tones, f0, f0 / np.where(g > 0, g, np.nan))


def invert_closed(tones: DualTone) -> Oscillator:
    """The oscillator by the closed form of Gannepalli et al., Nanotechnology 22, 355705 (2011).

    Ω = f1 A1/(f2 A2), Φ = tan(P2 - P1), s = sgn Φ √(1 + Φ²), X1 = -(1 - s/Ω)/Φ, X2 = (1 - s Ω)/Φ;
    f0² = f1 f2 (f2 X1 - f1 X2)/(f1 X1 - f2 X2), Q = √[f1 f2 (f2 X1 - f1 X2)(f1 X1 - f2 X2)]/(f2² - f1²).
    It agrees with `invert_linear` to 1e-14 if the tones lie on both sides of the resonance, even at P2 - P1 = 90 degrees, where
    Φ diverges. Near 0 degrees Φ vanishes, and the error of f0 is some fifty times as large (2e-11 at 0.0025 degrees).
    """
    f1, f2 = tones.f1_Hz, tones.f2_Hz
    omega = f1 * tones.amplitude_1_m / (f2 * tones.amplitude_2_m)
    phi = np.tan(np.deg2rad(tones.phase_2_deg - tones.phase_1_deg))
    s = np.sign(phi) * np.sqrt(1 + phi**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        x1, x2 = -(1 - s / omega) / phi, (1 - s * omega) / phi
        upper, lower = f2 * x1 - f1 * x2, f1 * x1 - f2 * x2
        f0 = np.sqrt(f1 * f2 * upper / lower)
        return _with_drive(tones, f0, np.sqrt(f1 * f2 * upper * lower) / (f2**2 - f1**2))


def _with_drive(tones: DualTone, f0: np.ndarray, q: np.ndarray) -> Oscillator:
    f1 = tones.f1_Hz
    detuning, damping = f0**2 - f1**2, f0 * f1 / q
    drive = tones.amplitude_1_m * np.hypot(detuning, damping) / f0**2
    phase = tones.phase_1_deg - np.rad2deg(np.arctan2(damping, detuning))
    return Oscillator(f0, q, drive, np.mod(phase + 180.0, 360.0) - 180.0)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a.real * b.imag - a.imag * b.real)
