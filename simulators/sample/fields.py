"""Periodic Gaussian random fields of unit variance, used for textures, warps and slow variations of the gain."""

import math

import numpy as np
from jaxtyping import Float32
from scipy import fft

_Field = Float32[np.ndarray, "side side"]


def smooth_field(
    rng: np.random.Generator, side: int, length_px: float, *, stretch: float = 1.0, angle_rad: float = 0.0
) -> _Field:
    """A field with a Gaussian correlation of scale `length_px`.

    Its autocorrelation is exp(-r²/(2 length²)), because white noise is filtered with exp(-(k length)²/4).

    Parameters
    ----------
    rng
        Random generator.
    side
        Number of rows and of columns.
    length_px
        Correlation length in pixels across `angle_rad`.
    stretch
        Ratio of the correlation length along `angle_rad` to that across it.
    angle_rad
        Direction of the long axis, counted from the columns' axis (x) towards the rows' axis (y).
    """
    k_x, k_y = _wave_numbers(side)
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    along, across = (c * k_x + s * k_y) * length_px * stretch, (c * k_y - s * k_x) * length_px
    return _filtered(rng, side, np.exp(-(along**2 + across**2) / 4))


def power_law_field(rng: np.random.Generator, side: int, slope: float, *, lowest: float = 2.0) -> _Field:
    """A field whose power spectral density falls as k^-slope above `lowest` cycles per side and is flat below."""
    k_x, k_y = _wave_numbers(side)
    cycles = np.hypot(k_x, k_y) * np.float32(side / (2 * np.pi))
    return _filtered(rng, side, np.maximum(cycles, lowest) ** np.float32(-slope / 2))


def _wave_numbers(side: int) -> tuple[np.ndarray, np.ndarray]:
    """(k_x, k_y) in radians per pixel for a half-plane transform, broadcastable to (side, side // 2 + 1)."""
    k_y = (2 * np.pi * fft.fftfreq(side)).astype(np.float32)[:, None]
    k_x = (2 * np.pi * fft.rfftfreq(side)).astype(np.float32)[None, :]
    return k_x, k_y


def _filtered(rng: np.random.Generator, side: int, transfer: np.ndarray) -> _Field:
    transfer = transfer.astype(np.float32)
    transfer[0, 0] = 0.0  # zero mean: a field with few correlation lengths per side would otherwise be almost constant
    white = rng.standard_normal((side, side), dtype=np.float32)
    field = fft.irfft2(fft.rfft2(white) * transfer, s=(side, side))
    return np.asarray(field / field.std(), np.float32)
