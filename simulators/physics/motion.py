"""True position of the tip: drift, creep and positioning errors, all unknown to the instrument.

Every move causes creep in proportion to its length, which decays exponentially. The creep of a piezo itself is logarithmic and
has no limit; a closed-loop stage removes most of it. Between ten seconds (a loop) and twenty minutes (a frame and its loops) an
exponential with 300 s follows the logarithm to within 3 % of its span (root mean square).
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from instrument_adapters.geometry import Positive
from simulators.settings import NonNegative, Settings, Share


class MotionConfig(Settings):
    """Settings of drift, creep and positioning errors.

    Parameters
    ----------
    drift_m_per_min
        Speed of the thermal drift; 1 to 10 nm/min on real instruments.
    creep_m, creep_time_s
        Total creep after the approach, and time constant of all creep.
    step_creep
        Share of a move that is missing on arrival and made up by creep, which displaces a frame or a loop after a long move.
    jitter_m
        Standard deviation of the position from one pixel to the next, along x and y.
    repeatability_m
        Standard deviation of a single move to a point, along x and y.
    """

    drift_m_per_min: NonNegative = 2e-9
    creep_m: NonNegative = 2e-9
    creep_time_s: Positive = 300.0
    step_creep: Share = 0.002
    jitter_m: NonNegative = 0.4e-9
    repeatability_m: NonNegative = 2.5e-9


@dataclass(frozen=True)
class Drift:
    """Displacement of the tip over the sample since the start: true position = commanded position + displacement.

    Drift and creep each have a direction drawn at the start: v t + c (1 - exp(-t/τ)).
    """

    config: MotionConfig
    drift_rad: float
    creep_rad: float

    @classmethod
    def random(cls, config: MotionConfig, rng: np.random.Generator) -> "Drift":
        """Drift and creep in independent random directions."""
        drift_rad, creep_rad = rng.uniform(0, 2 * math.pi, 2)
        return cls(config, float(drift_rad), float(creep_rad))

    def displacement_m(self, elapsed_s: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
        """Displacement (x, y) in metres at simulated times in seconds since the start."""
        along = self.config.drift_m_per_min / 60 * elapsed_s
        crept = self.config.creep_m * -np.expm1(-elapsed_s / self.config.creep_time_s)
        return np.asarray(along[..., None] * _direction(self.drift_rad) + crept[..., None] * _direction(self.creep_rad))


class StageMotion:
    """The stage: drift and creep since the approach, and the creep after each move.

    Parameters
    ----------
    drift
        Displacement that does not depend on the moves.
    """

    def __init__(self, drift: Drift) -> None:
        self._drift = drift
        self._at_m: Float[np.ndarray, " 2"] | None = None
        self._unfinished_m, self._since_s = np.zeros(2), 0.0

    def go_to(self, x_m: float, y_m: float, at_s: float) -> None:
        """Move to (x, y) at simulated time `at_s`; the first move is the approach, whose creep is part of the drift."""
        there = np.array([x_m, y_m])
        if self._at_m is not None:
            step = self._drift.config.step_creep * (there - self._at_m)
            self._unfinished_m, self._since_s = self._residual_creep_m(np.array(at_s)) + step, at_s
        self._at_m = there

    def displacement_m(self, elapsed_s: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
        """True minus commanded position (x, y) in metres at simulated times after the last move."""
        return np.asarray(self._drift.displacement_m(elapsed_s) - self._residual_creep_m(elapsed_s))

    def _residual_creep_m(self, elapsed_s: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape 2"]:
        left = np.exp(-(elapsed_s - self._since_s) / self._drift.config.creep_time_s)
        return np.asarray(left[..., None] * self._unfinished_m)


def _direction(angle_rad: float) -> Float[np.ndarray, " 2"]:
    return np.array([math.cos(angle_rad), math.sin(angle_rad)])
