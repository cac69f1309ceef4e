"""Loops that fail: what the tip still hears when contact is lost, noise drowns the loop, or the sample does not switch."""

from dataclasses import replace

import numpy as np
from pydantic import Field, model_validator

from simulators.physics.hysteresis import LoopShape
from simulators.settings import NonNegative, Settings

_NEVER_V = 1e3  # beyond any bias: there the branch does not switch
_REVERSED_V = (0.2, 1.5)  # by how much the branches of a closed loop cross in the wrong order


class FailureConfig(Settings):
    """In which ways loops fail, if they fail.

    Parameters
    ----------
    lost_contact, noisy, closed, unswitched
        How often each way occurs, relative to one another: the tip leaves the sample and only noise is left; the noise is
        `louder` than usual; the branches run on top of each other; the response stays where it was but for its slope.
    louder
        Factor of the noise of a noisy loop, at least.
    """

    lost_contact: NonNegative = 0.1
    noisy: NonNegative = 0.25
    closed: NonNegative = 0.05
    unswitched: NonNegative = 0.6
    louder: float = Field(default=8.0, ge=1, allow_inf_nan=False)

    @model_validator(mode="after")
    def _there_is_a_way(self) -> "FailureConfig":
        if not any(self.weights):
            raise ValueError("no way to fail has a weight above 0; give one, or set failure_rate to 0 if no loop is to fail")
        return self

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Of lost contact, noisy, closed, unswitched."""
        return self.lost_contact, self.noisy, self.closed, self.unswitched


def draw_failure(shape: LoopShape, config: FailureConfig, rng: np.random.Generator) -> tuple[LoopShape, float, float]:
    """(loop without noise, factor of the noise, factor of the signal) of a loop that would have been `shape` and fails."""
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
    side = _NEVER_V if amount < 0.5 else -_NEVER_V
    return replace(shape, coercive_plus_V=side, coercive_minus_V=side), 1.0, 1.0
