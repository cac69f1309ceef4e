"""A switching-spectroscopy measurement: bias out, noisy loop in, and the numbers that the instrument draws from it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Positive
from instrument_adapters.loop_analysis import branch, loop_numbers
from simulators.errors import FailedLoopError
from simulators.physics.failed_loops import FailureConfig, draw_failure
from simulators.physics.hysteresis import LoopConfig, draw_shape
from simulators.sample.domains import DomainState, Truth
from simulators.settings import NonNegative, Settings, Share

# After 0 -> +V -> -V -> 0 the last switch went down.
SPOT_STATE = DomainState.C_MINUS

_NOISE_OVERLAP = 0.25  # of a step's noise into its neighbours': real noise is smoother from step to step than white noise
_SPIKE, _SPIKE_SPREAD = 0.2, 0.6  # median height of a spike relative to the loop's, and the log standard deviation


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
    try:
        return loop_numbers(loop.bias_V, loop.response_pm)
    except InstrumentFaultError as error:
        raise FailedLoopError(str(error)) from error


def branch_of(loop: Loop, *, rising: bool) -> tuple[np.ndarray, np.ndarray]:
    """(bias, smoothed response) of one branch in ascending bias; the rising one is put together from its two pieces."""
    return branch(loop.bias_V, loop.response_pm, rising=rising)


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
