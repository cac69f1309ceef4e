"""Noise with the correlations of a scan's noise, along lines and from line to line."""

import numpy as np
from jaxtyping import Complex, Float
from scipy import ndimage, signal

_LINE_MEMORY = 0.88  # correlation of the slow part from one line to the next
_SLOW_SHARE = 2 / 3
_PIXELS = 1.2  # standard deviation of the smoothing along a line, in pixels
_STREAK_PX = 12.0


def smooth_noise(shape: tuple[int, int], rng: np.random.Generator) -> Float[np.ndarray, "steps lines"]:
    """Unit-variance noise that is correlated over a few pixels along each line."""
    noise = ndimage.gaussian_filter1d(rng.standard_normal(shape), _PIXELS, axis=0)
    return np.asarray(noise * np.sqrt(2 * _PIXELS * np.sqrt(np.pi)))


def line_offsets(lines: int, rng: np.random.Generator) -> Float[np.ndarray, " lines"]:
    """Unit-variance offsets of the lines in the order of recording: two thirds drifting, one third independent."""
    drive = rng.standard_normal(lines)
    drive[1:] *= np.sqrt(1 - _LINE_MEMORY**2)
    slow = signal.lfilter([1.0], [1.0, -_LINE_MEMORY], drive)
    return np.asarray(np.sqrt(_SLOW_SHARE) * slow + np.sqrt(1 - _SLOW_SHARE) * rng.standard_normal(lines))


def wander(lines: int, rng: np.random.Generator) -> Float[np.ndarray, " lines"]:
    """A random walk over the lines that ends with unit variance."""
    return np.asarray(np.cumsum(rng.standard_normal(lines)) / np.sqrt(lines))


def low_passed(noise: Complex[np.ndarray, "2 steps lines"], pixels: float) -> Complex[np.ndarray, "2 steps lines"]:
    """White noise smoothed over `pixels` along each line, with its variance restored."""
    spread = ndimage.gaussian_filter1d(noise, pixels, axis=1)
    return np.asarray(spread * (noise.std() / spread.std()))


def streaks(shape: tuple[int, int], rng: np.random.Generator) -> Float[np.ndarray, "steps lines"]:
    """Unit-variance noise correlated over a dozen pixels along a line, stronger on some lines, independent between lines."""
    noise = ndimage.gaussian_filter1d(rng.standard_normal(shape), _STREAK_PX, axis=0)
    noise *= np.exp(0.7 * rng.standard_normal(shape[1]))
    return np.asarray(noise / noise.std())
