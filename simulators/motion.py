"""Where the tip really is: drift, creep and positioning errors, all unknown to the instrument."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from instrument_adapters.geometry import Positive
from simulators.settings import NonNegative, Settings


class MotionConfig(Settings):
    """How well the stage holds its position.

    Parameters
    ----------
    drift_m_per_min
        Speed of the thermal drift; 1 to 10 nm/min on real instruments.
    creep_m, creep_time_s
        How far the stage creeps in all after the approach, and the time constant.
    jitter_m
        Standard deviation of the position from one pixel to the next, along x and y.
    repeatability_m
        Standard deviation of a single move to a point, along x and y.
    """

    drift_m_per_min: NonNegative = 2e-9
    creep_m: NonNegative = 2e-9
    creep_time_s: Positive = 300.0
    jitter_m: NonNegative = 0.4e-9
    repeatability_m: NonNegative = 2.5e-9


@dataclass(frozen=True)
class Drift:
    """Displacement of the tip over the sample since the start: true position = commanded position + displacement.

    Drift and creep have each one direction, drawn at the start: v t + c (1 - exp(-t/τ)).
    """

    config: MotionConfig
    drift_rad: float
    creep_rad: float

    @classmethod
    def drawn(cls, config: MotionConfig, rng: np.random.Generator) -> "Drift":
        """A drift in a random direction with a creep in another one."""
        drift_rad, creep_rad = rng.uniform(0, 2 * math.pi, 2)
        return cls(config, float(drift_rad), float(creep_rad))

    def displacement_m(self, elapsed_s: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
        """Displacement (x, y) in metres at simulated times in seconds since the start."""
        along = self.config.drift_m_per_min / 60 * elapsed_s
        crept = self.config.creep_m * -np.expm1(-elapsed_s / self.config.creep_time_s)
        return np.asarray(along[..., None] * _direction(self.drift_rad) + crept[..., None] * _direction(self.creep_rad))


def _direction(angle_rad: float) -> Float[np.ndarray, " 2"]:
    return np.array([math.cos(angle_rad), math.sin(angle_rad)])
