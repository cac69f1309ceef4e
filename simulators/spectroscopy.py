"""A switching-spectroscopy measurement: bias out, noisy loop in, and the numbers that the instrument draws from it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field
from scipy import ndimage

from instrument_adapters.geometry import Positive
from simulators.domains import DomainState, Truth
from simulators.errors import FailedLoopError
from simulators.failures import FailureConfig, draw_failure
from simulators.loops import LoopConfig, draw_shape
from simulators.settings import NonNegative, Settings, Share

# After 0 -> +V -> -V -> 0 the last switch went down.
SPOT_STATE = DomainState.C_MINUS

_NOISE_OVERLAP = 0.25  # of a step's noise into its neighbours': real noise is smoother from step to step than white noise
_SPIKE, _SPIKE_SPREAD = 0.2, 0.6  # median height of a spike relative to the loop's, and the log standard deviation
_MEDIAN_STEPS = 3
_END_SHARE = 0.15  # of each branch: from there the levels of the saturated states are taken
_CONTRAST_MIN = 6.0  # heights below so many times the noise are no loop


class SpectroscopyConfig(Settings):
    """How loops are measured.

    Parameters
    ----------
    loop
        Statistics of the loops themselves.
    bias_max_V, steps
        Amplitude of the triangular bias and the number of its steps.
    noise, noise_floor_pm
        Standard deviation of the noise relative to the loop's height, and its additive part.
    spike_rate
        Share of loops that carry one to four spikes.
    failure_rate, failures
        Share of loops that fail, and in which ways; a few more come to nothing by chance, where the coercive biases are out
        of the bias' reach. Of the real loops a third fails; the default is milder, so that a short session shows loops.
    spot_m
        Radius of the domain that a loop leaves behind, also when it fails.
    """

    loop: LoopConfig = LoopConfig()
    bias_max_V: Positive = 8.5
    steps: int = Field(default=64, ge=16, le=4096, multiple_of=4)
    noise: NonNegative = 0.037
    noise_floor_pm: NonNegative = 0.3
    spike_rate: Share = 0.2
    failure_rate: Share = 0.1
    failures: FailureConfig = FailureConfig()
    spot_m: Positive = 45e-9


@dataclass(frozen=True, eq=False)
class Loop:
    """A recorded loop: one cycle of bias 0 -> +V -> -V -> 0, and the response to it.

    Parameters
    ----------
    bias_V
        Bias of each step.
    response_pm
        Response at each step in picometres, with its sign.
    """

    bias_V: Float[np.ndarray, " steps"]
    response_pm: Float[np.ndarray, " steps"]


def triangle(config: SpectroscopyConfig) -> tuple[Float[np.ndarray, " steps"], Bool[np.ndarray, " steps"]]:
    """(bias in volts, whether it is on the rising branch) of each step of one bipolar cycle that starts at 0."""
    phase = np.arange(config.steps) / config.steps
    bias = config.bias_max_V * np.where(phase < 0.25, 4 * phase, np.where(phase < 0.75, 2 - 4 * phase, 4 * phase - 4))
    return bias, (phase <= 0.25) | (phase > 0.75)


def record_loop(truth: Truth, config: SpectroscopyConfig, rng: np.random.Generator) -> Loop:
    """The loop that the instrument records at the one place that `truth` describes; it may be one that has failed."""
    bias, rising = triangle(config)
    shape = draw_shape(truth, config.loop, rng)
    louder, heard = 1.0, 1.0
    if rng.random() < config.failure_rate:
        shape, louder, heard = draw_failure(shape, config.failures, rng)
    noise = shape.height_pm * config.noise * _noise(config.steps, rng) + config.noise_floor_pm * _noise(config.steps, rng)
    spikes = _spikes(config, rng) * shape.height_pm
    return Loop(bias, heard * (shape.respond(bias, rising) + spikes) + louder * noise)


def loop_parameters(loop: Loop) -> dict[str, float]:
    """Numbers that describe the loop, as the instrument's software draws them, with nothing known about how it came about.

    `coercive_plus_V` and `coercive_minus_V`, where the rising and the falling branch cross the middle between the saturated
    levels; `imprint_V` their mean and `width_V` their difference; `remanent_plus_pm` and `remanent_minus_pm`, the response
    at zero bias after positive and after negative bias; `area_pmV`, what the branches enclose. Branches are smoothed with a
    running median of three steps.

    Raises
    ------
    FailedLoopError
        If the loop does not stand out from its noise, if a branch does not cross the middle, or if the branches cross within
        one step of the bias or in the wrong order; the message says which and by how much.
    """
    rising_v, rising = branch_of(loop, rising=True)
    falling_v, falling = branch_of(loop, rising=False)
    count = max(2, round(_END_SHARE * len(rising)))
    low = float(np.median([*rising[:count], *falling[:count]]))
    high = float(np.median([*rising[-count:], *falling[-count:]]))
    _refuse_noise(loop, high - low)
    plus = _crossing(rising_v, rising, (low + high) / 2, "rising")
    minus = _crossing(falling_v, falling, (low + high) / 2, "falling")
    if plus - minus < np.abs(np.diff(loop.bias_V)).max():
        raise FailedLoopError(
            f"the loop is closed: it rises at {plus:.2f} V and falls at {minus:.2f} V, which is less than a step of the bias "
            "apart; measure another point"
        )
    grid = np.linspace(max(rising_v[0], falling_v[0]), min(rising_v[-1], falling_v[-1]), len(loop.bias_V))
    gap = np.interp(grid, falling_v, falling) - np.interp(grid, rising_v, rising)
    return {
        "coercive_plus_V": plus,
        "coercive_minus_V": minus,
        "imprint_V": (plus + minus) / 2,
        "width_V": plus - minus,
        "remanent_plus_pm": float(np.interp(0.0, falling_v, falling)),
        "remanent_minus_pm": float(np.interp(0.0, rising_v, rising)),
        "area_pmV": float(np.trapezoid(gap, grid)),
    }


def branch_of(loop: Loop, *, rising: bool) -> tuple[np.ndarray, np.ndarray]:
    """(bias, smoothed response) of one branch in ascending bias; the rising one is put together from its two pieces."""
    top, bottom = int(np.argmax(loop.bias_V)), int(np.argmin(loop.bias_V))
    if rising:
        steps = np.concatenate([np.arange(bottom, len(loop.bias_V)), np.arange(top + 1)])
    else:
        steps = np.arange(bottom, top - 1, -1)
    return loop.bias_V[steps], ndimage.median_filter(loop.response_pm[steps], _MEDIAN_STEPS, mode="nearest")


def _spikes(config: SpectroscopyConfig, rng: np.random.Generator) -> Float[np.ndarray, " steps"]:
    """Spikes relative to the loop's height: in most loops none."""
    spikes = np.zeros(config.steps)
    count = int(rng.integers(1, 5)) if rng.random() < config.spike_rate else 0
    where = rng.integers(0, config.steps, count)
    spikes[where] = rng.choice([-1.0, 1.0], count) * _SPIKE * np.exp(_SPIKE_SPREAD * rng.standard_normal(count))
    return spikes


def _noise(steps: int, rng: np.random.Generator) -> Float[np.ndarray, " steps"]:
    """Of unit variance; neighbouring steps share some of it."""
    own = rng.standard_normal(steps)
    return np.asarray((own + _NOISE_OVERLAP * (np.roll(own, 1) + np.roll(own, -1))) / np.sqrt(1 + 2 * _NOISE_OVERLAP**2))


def _refuse_noise(loop: Loop, height_pm: float) -> None:
    steps = np.diff(loop.response_pm)
    noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / np.sqrt(2)
    if height_pm < _CONTRAST_MIN * noise:
        raise FailedLoopError(
            f"no hysteresis: the response rises by {height_pm:.2f} pm where its noise is {noise:.2f} pm and a height of "
            f"{_CONTRAST_MIN:.0f} times the noise is needed; the tip may have lost contact, so retune and measure another point"
        )


def _crossing(bias_V: np.ndarray, response: np.ndarray, level: float, branch: str) -> float:
    """Bias at which the branch crosses `level` upwards; of several crossings (spikes) the median."""
    below = response < level
    at = np.nonzero(below[:-1] & ~below[1:])[0]
    if not len(at):
        raise FailedLoopError(
            f"the {branch} branch never crosses the middle of the loop within {bias_V[0]:.1f} to {bias_V[-1]:.1f} V: "
            "the sample did not switch there; measure another point or raise the bias"
        )
    share = (level - response[at]) / (response[at + 1] - response[at])
    return float(np.median(bias_V[at] + share * (bias_V[at + 1] - bias_V[at])))
