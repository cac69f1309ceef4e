"""Properties of a domain pattern that the tip senses: electromechanical response, topography, contact resonance."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int8
from scipy import ndimage

from simulators.sample.fields import power_law_field, smooth_field
from simulators.sample.superdomains import Partition
from simulators.sample.surface import SurfaceConfig

_TEXTURE_LENGTH_M = 28e-9
_FINE_TEXTURE_LENGTH_M = 11e-9
_SPOT_LENGTH_M = 22e-9
_RELIEF_SLOPE = 3.2
_SPOT_THRESHOLD = 1.6


@dataclass(frozen=True, eq=False)
class Pattern:
    """Images of the a domains: mask, family, and whether the number of the lamella is even."""

    in_plane: Bool[np.ndarray, "rows cols"]
    family: Int8[np.ndarray, "rows cols"]
    even: Bool[np.ndarray, "rows cols"]


def response(
    config: SurfaceConfig, partition: Partition, pattern: Pattern, c_minus: np.ndarray, tilt: float, rng: np.random.Generator
) -> Float32[np.ndarray, "rows cols"]:
    """Signed vertical response, about ±1 on c domains.

    a domains respond with a_response plus buckling, which acts through the in-plane polarisation along the slow axis and
    alternates in sign from lamella to lamella. The gain varies between superdomains, over long distances and as texture.
    """
    side = config.pixels
    sign = np.where(c_minus, -config.c_minus_response, 1.0).astype(np.float32)
    lever = np.abs(np.sin(tilt + np.array([0.0, np.pi / 2])))[pattern.family]
    in_plane = config.a_response + config.a_buckling * lever * np.where(pattern.even, 1.0, -1.0)
    own = np.clip(rng.normal(1, config.contrast_spread, partition.count), 0.5, 1.5)[partition.index]
    gain = own * np.exp(
        config.gain_spread * power_law_field(rng, side, config.gain_slope)
        + config.texture * smooth_field(rng, side, _TEXTURE_LENGTH_M / config.pitch_m)
    )
    gain = np.where(partition.border_m < config.boundary_width_m, config.boundary_response, 1.0) * gain
    gain = gain * np.exp(_feature_gain(config, pattern, tilt, rng))
    return np.asarray(np.where(pattern.in_plane, in_plane, 1.0) * sign * gain, np.float32)


def height(
    config: SurfaceConfig, partition: Partition, pattern: Pattern, rng: np.random.Generator
) -> Float32[np.ndarray, "rows cols"]:
    """Topography in metres: long waves, roughness, depressed a domains and boundaries, a level for each superdomain."""
    fine, coarse = (smooth_field(rng, config.pixels, length / config.pitch_m) for length in (60e-9, 600e-9))
    level = rng.normal(0, 2.0, partition.count)[partition.index]
    groove = 3.0 * np.exp(-((partition.border_m / 25e-9) ** 2))
    return np.asarray(1e-9 * (0.5 * fine + 2.5 * coarse - 0.7 * pattern.in_plane + level - groove), np.float32)


def relief(config: SurfaceConfig, rng: np.random.Generator) -> Float32[np.ndarray, "rows cols"]:
    """Topography of the film and its substrate in metres, with spectrum k^-3.2."""
    return np.asarray(config.relief_m * power_law_field(rng, config.pixels, _RELIEF_SLOPE), np.float32)


def resonance_shift(
    config: SurfaceConfig, partition: Partition, pattern: Pattern, rng: np.random.Generator
) -> Float32[np.ndarray, "rows cols"]:
    """Shift of the contact resonance in Hz: it follows topography, stiffness of a domains and softness of boundaries."""
    coarse, fine = (smooth_field(rng, config.pixels, length / config.pitch_m) for length in (300e-9, 60e-9))
    soft = 2500.0 * np.exp(-((partition.border_m / 30e-9) ** 2))
    return (1500.0 * coarse + 900.0 * fine + 700.0 * pattern.in_plane - soft).astype(np.float32)


def _feature_gain(
    config: SurfaceConfig, pattern: Pattern, tilt: float, rng: np.random.Generator
) -> Float32[np.ndarray, "rows cols"] | float:
    """Log gain of features within domains: inclined walls, fine texture, bright spots, nested lamellae; 0 if all are off."""
    side, pitch = config.pixels, config.pitch_m
    log_gain: Float32[np.ndarray, "rows cols"] | float = 0.0
    if config.wall_shading:
        log_gain = log_gain + config.wall_shading * _shading(pattern.in_plane, config.wall_shading_m / pitch, tilt)
    if config.fine_texture:
        log_gain = log_gain + config.fine_texture * smooth_field(rng, side, _FINE_TEXTURE_LENGTH_M / pitch)
    if config.bright_spots:
        spots = smooth_field(rng, side, _SPOT_LENGTH_M / pitch)
        log_gain = log_gain + config.bright_spots * np.maximum(spots - _SPOT_THRESHOLD, 0)
    if config.nested_depth:
        log_gain = log_gain + config.nested_depth * _nested(side, config.nested_period_m / pitch, tilt, rng)
    return log_gain


def _shading(in_plane: Bool[np.ndarray, "rows cols"], length_px: float, tilt: float) -> Float32[np.ndarray, "rows cols"]:
    """Slope of the blurred a domains along one diagonal of the crystal, of unit variance: the effect of inclined walls."""
    mask = in_plane.astype(np.float32)
    along = tilt + np.pi / 4
    slope = sum(
        np.float32(part) * ndimage.gaussian_filter(mask, length_px, order=order, mode="mirror")
        for part, order in ((np.sin(along), (1, 0)), (np.cos(along), (0, 1)))
    )
    deviation = np.std(slope)
    return np.asarray(slope / deviation if deviation else slope, np.float32)


def _nested(side: int, period_px: float, tilt: float, rng: np.random.Generator) -> Float32[np.ndarray, "rows cols"]:
    """Nested lamellae of unit amplitude, wavy, fading in and out over a few periods, of alternating family."""
    axis = np.arange(side, dtype=np.float32)
    patches = smooth_field(rng, side, 4 * period_px)
    waves = [2 * np.pi * 0.3 * smooth_field(rng, side, 3 * period_px) for _ in range(2)]
    c, s = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    first, second = c * axis[None, :] + s * axis[:, None], c * axis[:, None] - s * axis[None, :]
    phases = [2 * np.pi * place / period_px + wave for place, wave in zip((first, second), waves, strict=True)]
    strength = np.clip(np.abs(patches) - 0.5, 0, 1)
    return np.asarray(strength * np.sin(np.where(patches > 0, *phases)), np.float32)
