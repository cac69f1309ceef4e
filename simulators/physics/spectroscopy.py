"""Switching spectroscopy: the bias cycle, the recorded noisy loop, and the parameters that the instrument determines from it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field

from instrument_adapters import loop_analysis
from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Positive
from simulators.errors import FailedLoopError
from simulators.physics.failed_loops import FailureConfig, draw_failure
from simulators.physics.hysteresis import LoopConfig, draw_shape
from simulators.sample.domains import DomainState, Truth
from simulators.settings import NonNegative, Settings, Share

# The last switch of the cycle 0 -> +V -> -V -> 0 is downwards.
SPOT_STATE = DomainState.C_MINUS

_NOISE_OVERLAP = 0.25  # share of a step's noise added to its neighbours, since real noise is smoother than white noise
_SPIKE, _SPIKE_SPREAD = 0.2, 0.6  # median height of a spike relative to the height of the loop, and log standard deviation


class SpectroscopyConfig(Settings):
    """Settings of the measurement of loops.

    Parameters
    ----------
    loop
        Statistics of the noise-free loops.
    bias_max_V, steps
        Amplitude of the triangular bias in volts, and number of its steps.
    noise, noise_floor_pm
        Standard deviation of the noise relative to the height of the loop, and of its additive part.
    spike_rate
        Share of loops with one to four spikes.
    failure_rate, failures
        Share of loops that fail, and the ways in which they fail. A few more fail by chance, if a coercive bias exceeds the
        amplitude of the bias. A third of real loops fail; the default is lower, so that a short session yields loops.
    spot_m
        Radius of the domain that a loop writes, even if it fails.
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
    """A recorded loop: one cycle of the bias 0 -> +V -> -V -> 0, and the response.

    Parameters
    ----------
    bias_V
        Bias of each step in volts.
    response_pm
        Signed response at each step in picometres.
    """

    bias_V: Float[np.ndarray, " steps"]
    response_pm: Float[np.ndarray, " steps"]


def triangle(config: SpectroscopyConfig) -> tuple[Float[np.ndarray, " steps"], Bool[np.ndarray, " steps"]]:
    """(bias in volts, whether it is on the rising branch) of each step of one bipolar cycle that starts at 0."""
    phase = np.arange(config.steps) / config.steps
    bias = config.bias_max_V * np.where(phase < 0.25, 4 * phase, np.where(phase < 0.75, 2 - 4 * phase, 4 * phase - 4))
    return bias, (phase <= 0.25) | (phase > 0.75)


def record_loop(truth: Truth, config: SpectroscopyConfig, rng: np.random.Generator) -> Loop:
    """The loop that the instrument records at the single position that `truth` describes; it may be a failed one."""
    bias, rising = triangle(config)
    shape = draw_shape(truth, config.loop, rng)
    noise_factor, signal_factor = 1.0, 1.0
    if rng.random() < config.failure_rate:
        shape, noise_factor, signal_factor = draw_failure(shape, config.failures, rng)
    noise = shape.height_pm * config.noise * _noise(config.steps, rng) + config.noise_floor_pm * _noise(config.steps, rng)
    spikes = _spikes(config, rng) * shape.height_pm
    return Loop(bias, signal_factor * (shape.respond(bias, rising) + spikes) + noise_factor * noise)


def loop_parameters(loop: Loop) -> dict[str, float]:
    """Parameters of the loop as the instrument's software determines them, from the recorded data alone.

    `coercive_plus_V` and `coercive_minus_V`, where the rising and the falling branch cross the middle between the saturated
    levels; `imprint_V` their mean and `width_V` their difference; `remanent_plus_pm` and `remanent_minus_pm`, the response
    at zero bias after positive and after negative bias; `area_pmV`, the area between the branches. Branches are smoothed with
    a running median of three steps.

    Raises
    ------
    FailedLoopError
        If the loop does not stand out from its noise, if a branch does not cross the middle, or if the branches cross within
        one step of the bias or in the wrong order; the message says which and by how much.
    """
    try:
        return loop_analysis.loop_parameters(loop.bias_V, loop.response_pm)
    except InstrumentFaultError as error:
        raise FailedLoopError(str(error)) from error


def branch_of(loop: Loop, *, rising: bool) -> tuple[np.ndarray, np.ndarray]:
    """(bias, smoothed response) of one branch in ascending bias; the rising branch is joined from its two parts."""
    return loop_analysis.branch(loop.bias_V, loop.response_pm, rising=rising)


def _spikes(config: SpectroscopyConfig, rng: np.random.Generator) -> Float[np.ndarray, " steps"]:
    """Spikes relative to the height of the loop; most loops have none."""
    spikes = np.zeros(config.steps)
    count = int(rng.integers(1, 5)) if rng.random() < config.spike_rate else 0
    where = rng.integers(0, config.steps, count)
    spikes[where] = rng.choice([-1.0, 1.0], count) * _SPIKE * np.exp(_SPIKE_SPREAD * rng.standard_normal(count))
    return spikes


def _noise(steps: int, rng: np.random.Generator) -> Float[np.ndarray, " steps"]:
    """Noise of unit variance that is correlated between neighbouring steps."""
    own = rng.standard_normal(steps)
    return np.asarray((own + _NOISE_OVERLAP * (np.roll(own, 1) + np.roll(own, -1))) / np.sqrt(1 + 2 * _NOISE_OVERLAP**2))
