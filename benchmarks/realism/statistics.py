"""Eight statistics of an amplitude frame, defined in the same way for recorded and simulated frames."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.stats import skew
from skimage.morphology import skeletonize

from instrument_adapters.scan import Scan
from simulators.physics.oscillator import DualTone, invert_linear

STATISTICS: Mapping[str, tuple[str, ...]] = {
    "cv": ("cv",),
    "skew": ("skew",),
    "psd_slope": ("psd_slope_low", "psd_slope_high"),
    "noise": ("noise_fast", "noise_slow"),
    "line_offset_sd": ("line_offset_sd",),
    "wall_density": ("wall_density",),
    "Q": ("Q",),
    "detuning_rms": ("detuning_rms",),
}
DART_ONLY = ("Q", "detuning_rms")

_LOW_CYCLES, _HIGH_CYCLES = (3, 20), (20, 80)  # in a frame of 256 pixels
_CYCLES_OF_PX = 256
_WALL_BLUR_PX, _BACKGROUND_PX = 1.0, 8.0
_WALL_CONTRAST = 0.85  # of the amplitude of the surroundings
_DART = ("Amplitude1", "Amplitude2", "Phase1", "Phase2", "Frequency")
_TONE_SEPARATION_HZ = 1e4
_BRIGHT = 0.5  # relative to the mean amplitude; below it, the phase is too noisy to be inverted


def statistics_of(scan: Scan) -> dict[str, float]:
    """All statistics that the channels of the scan allow; those of `DART_ONLY` need both DART tones.

    Parameters
    ----------
    scan
        Scan with an amplitude channel.
    """
    values = amplitude_statistics(scan.channels[scan.find_channel()])
    if all(any(name.startswith(begin) for name in scan.channels) for begin in _DART):
        values |= dart_statistics(*(scan.channels[scan.find_channel(begin)] for begin in _DART))
    return values


def amplitude_statistics(image: Float[np.ndarray, "rows cols"]) -> dict[str, float]:
    """Statistics of one amplitude image; none depends on its unit.

    `cv` and `skew` are those of the pixels. `psd_slope_low` and `psd_slope_high` are exponents of the power spectral density
    at 3 to 20 and 20 to 80 cycles in 256 pixels. `noise_fast` and `noise_slow` are robust standard deviations, relative to
    the mean, of white noise that has the observed second differences along and across the lines. `line_offset_sd` is the
    standard deviation of the median step from line to line, also relative to the mean. `wall_density` is the share of pixels on
    the skeleton of regions darker than their surroundings.
    """
    pixels = np.asarray(image, np.float64)
    mean = pixels.mean()
    return {
        "cv": float(pixels.std() / mean),
        "skew": float(skew(pixels, axis=None)),
        "psd_slope_low": _slope(pixels, _LOW_CYCLES),
        "psd_slope_high": _slope(pixels, _HIGH_CYCLES),
        "noise_fast": _noise(pixels, axis=1) / mean,
        "noise_slow": _noise(pixels, axis=0) / mean,
        "line_offset_sd": robust_sd(np.median(np.diff(pixels, axis=0), axis=1)) / math.sqrt(2) / mean,
        "wall_density": float(skeletonize(_dark(pixels)).mean()),
    }


def dart_statistics(
    amplitude_1_m: np.ndarray, amplitude_2_m: np.ndarray, phase_1_deg: np.ndarray, phase_2_deg: np.ndarray, centre_Hz: np.ndarray
) -> dict[str, float]:
    """Statistics that need both DART tones: the median quality factor `Q` of bright pixels, and `detuning_rms`.

    `detuning_rms` is the rms of (A1 - A2) / (A1 + A2) over all pixels; it is 0 if the resonance stays midway between the tones.

    Parameters
    ----------
    amplitude_1_m, amplitude_2_m, phase_1_deg, phase_2_deg, centre_Hz
        Channels of equal shape; the tones lie 5 kHz below and above the centre frequency.
    """
    first, second, centre = (np.asarray(a, np.float64) for a in (amplitude_1_m, amplitude_2_m, centre_Hz))
    half = _TONE_SEPARATION_HZ / 2
    lag_1, lag_2 = (np.asarray(phase, np.float64) for phase in (phase_1_deg, phase_2_deg))
    found = invert_linear(DualTone(first, second, lag_1, lag_2, centre - half, centre + half))
    bright = (first + second) / 2 > _BRIGHT * first.mean()
    return {
        "Q": float(np.nanmedian(found.Q[bright])),
        "detuning_rms": float(np.sqrt(np.mean(((first - second) / (first + second)) ** 2))),
    }


def quarters(scan: Scan) -> list[dict[str, float]]:
    """Statistics of `DART_ONLY` for the four quarters of a scan, whose spread stands for that of several scans."""
    channels = [scan.channels[scan.find_channel(begin)] for begin in _DART]
    rows, cols = (n // 2 for n in channels[0].shape)
    corners = [(slice(r, r + rows), slice(c, c + cols)) for r in (0, rows) for c in (0, cols)]
    return [dart_statistics(*(image[corner] for image in channels)) for corner in corners]


def inside(real: Mapping[str, Sequence[float]], simulated: Mapping[str, Sequence[float]]) -> dict[str, bool]:
    """Statistic -> whether the median of the simulated values lies between the smallest and the largest real value.

    If a statistic has two parts (`STATISTICS`), both must.
    """

    def is_inside(part: str) -> bool:
        return min(real[part]) <= float(np.median(simulated[part])) <= max(real[part])

    return {name: all(is_inside(part) for part in parts) for name, parts in STATISTICS.items()}


def radial_spectrum(pixels: Float[np.ndarray, "rows cols"]) -> tuple[Float[np.ndarray, " rings"], Float[np.ndarray, " rings"]]:
    """(cycles per 256 pixels, power spectral density) of a square image with a Hann window, averaged over rings."""
    side = pixels.shape[0]
    window = np.hanning(side)
    power = np.abs(np.fft.fft2((pixels - pixels.mean()) * window[:, None] * window)) ** 2
    k = np.fft.fftfreq(side) * side
    rings = np.arange(1, side // 2)
    return rings * _CYCLES_OF_PX / side, ndimage.mean(power, np.rint(np.hypot(k[:, None], k)).astype(int), rings)


def robust_sd(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation, which a few walls or spikes do not affect."""
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _slope(pixels: np.ndarray, between: tuple[int, int]) -> float:
    side = min(pixels.shape)
    cycles, power = radial_spectrum(pixels[:side, :side])
    chosen = (cycles >= between[0]) & (cycles <= between[1])
    return float(np.polyfit(np.log(cycles[chosen]), np.log(power[chosen]), 1)[0])


def _noise(pixels: np.ndarray, axis: int) -> float:
    return robust_sd(np.diff(pixels, 2, axis=axis)) / math.sqrt(6)


def _dark(pixels: np.ndarray) -> Bool[np.ndarray, "rows cols"]:
    sharp, surroundings = (ndimage.gaussian_filter(pixels, sigma) for sigma in (_WALL_BLUR_PX, _BACKGROUND_PX))
    return np.asarray(sharp < _WALL_CONTRAST * surroundings)
