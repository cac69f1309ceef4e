"""Failed loops: contact is lost, noise hides the loop, the branches coincide, or the sample does not switch."""

from dataclasses import replace

import numpy as np
from pydantic import Field, model_validator

from simulators.physics.hysteresis import LoopShape
from simulators.settings import NonNegative, Settings

_OUT_OF_REACH_V = 1e3  # a coercive bias that is never reached, so the branch does not switch
_REVERSED_V = (0.2, 1.5)  # range by which the coercive biases of a closed loop are in the wrong order


class FailureConfig(Settings):
    """Relative frequencies of the ways in which loops fail.

    Parameters
    ----------
    lost_contact, noisy, closed, unswitched
        Weights: the tip leaves the sample and only noise remains; the noise is stronger than usual; the branches coincide; the
        response does not switch and changes only by its slope.
    louder
        Smallest factor by which the noise of a noisy loop is multiplied.
    """

    lost_contact: NonNegative = 0.1
    noisy: NonNegative = 0.25
    closed: NonNegative = 0.05
    unswitched: NonNegative = 0.6
    louder: float = Field(default=8.0, ge=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check_weights(self) -> "FailureConfig":
        if not any(self.weights):
            raise ValueError("all weights of failures are 0; give a positive one, or set failure_rate to 0 if no loop is to fail")
        return self

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Weights of lost contact, noisy, closed and unswitched."""
        return self.lost_contact, self.noisy, self.closed, self.unswitched


def draw_failure(shape: LoopShape, config: FailureConfig, rng: np.random.Generator) -> tuple[LoopShape, float, float]:
    """(noise-free loop, factor of the noise, factor of the signal) of a failed loop in place of `shape`."""
    weights = np.array(config.weights)
    way = int(rng.choice(len(weights), p=weights / weights.sum()))
    amount = float(rng.uniform())
    if way == 0:
        return shape, 3.0, 0.0
    if way == 1:
        return shape, config.louder * (1 + amount), 1.0
    if way == 2:
        low, high = _REVERSED_V
        plus = (shape.coercive_plus_V + shape.coercive_minus_V - low - (high - low) * amount) / 2
        minus = plus + low + (high - low) * amount
        return replace(shape, coercive_plus_V=plus, coercive_minus_V=minus, steps_V=(0.0, 0.0)), 1.0, 1.0
    side = _OUT_OF_REACH_V if amount < 0.5 else -_OUT_OF_REACH_V
    return replace(shape, coercive_plus_V=side, coercive_minus_V=side), 1.0, 1.0
