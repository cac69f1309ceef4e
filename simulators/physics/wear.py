"""Natural wear of a probe while it scans: gain steps, dirt on the tip, tip changes, loss of lock.

These events are drawn at random from rates. They must not be confused with a schedule of faults, which injects given faults at
given places.
"""

import numpy as np
from pydantic import Field, model_validator

from simulators.physics.probe import LineStates, Probe
from simulators.settings import NonNegative, Settings

_BAND_SOFTENING = 1.6  # factor of the tip's spot size while dirt sticks to it


class WearConfig(Settings):
    """Rates and strengths of the wear; by default there is none.

    Parameters
    ----------
    gain_steps
        Mean number of permanent gain steps per frame.
    gain_min, gain_max
        Range of the gain after a step relative to a fresh probe; uniform in its logarithm.
    bands
        Mean number of bands of lines per frame in which dirt sticks to the tip.
    band_lines_max
        Number of lines in the longest band; the shortest has 3.
    band_response
        Mean magnitude of the complex response that the dirt adds, with random phase.
    tip_changes
        Mean number of permanent changes of the tip's spot size per frame.
    blunting_min, blunting_max
        Range of the spot size after a change relative to a fresh tip; uniform in its logarithm.
    worn
        Whether the probe is already used in the first frame, with gain and spot size drawn from the same ranges.
    lock_losses, lock_loss_lines_max
        Mean number of times per frame that the tracker loses the resonance, and longest duration in lines; the shortest is 10.
    """

    gain_steps: NonNegative = 0.0
    gain_min: float = Field(default=0.46, gt=0)
    gain_max: float = Field(default=1.6, gt=0)
    bands: NonNegative = 0.0
    band_lines_max: int = Field(default=30, ge=3)
    band_response: NonNegative = 0.3
    tip_changes: NonNegative = 0.0
    blunting_min: float = Field(default=0.8, gt=0)
    blunting_max: float = Field(default=1.5, gt=0)
    worn: bool = False
    lock_losses: NonNegative = 0.0
    lock_loss_lines_max: int = Field(default=70, ge=10)

    @model_validator(mode="after")
    def _check_ranges(self) -> "WearConfig":
        for name, low, high in (
            ("gain", self.gain_min, self.gain_max),
            ("blunting", self.blunting_min, self.blunting_max),
        ):
            if low > high:
                raise ValueError(f"{name}_min is {low:g}, larger than {name}_max = {high:g}; exchange them")
        return self


def initial_probe(config: WearConfig, rng: np.random.Generator) -> Probe:
    """Condition of the probe before the first frame: fresh, unless `worn` is set."""
    if not config.worn:
        return Probe()
    return Probe(
        gain=_between(config.gain_min, config.gain_max, rng), blunting=_between(config.blunting_min, config.blunting_max, rng)
    )


def draw_wear(probe: Probe, lines: int, config: WearConfig, rng: np.random.Generator) -> LineStates:
    """Condition of the probe on each line of a frame, with random wear.

    Parameters
    ----------
    probe
        Condition before the frame.
    lines
        Number of lines of the frame.
    config
        Rates and strengths of the wear.
    rng
        Random generator that is used for nothing else, so that wear does not change any other random numbers.
    """
    states = LineStates.steady(probe, lines)
    for start in _starts(config.gain_steps, lines, rng):
        states.gain[start:] = _between(config.gain_min, config.gain_max, rng)
    for start in _starts(config.tip_changes, lines, rng):
        states.blunting[start:] = _between(config.blunting_min, config.blunting_max, rng)
    for start in _starts(config.bands, lines, rng):
        # The condition of the last line persists after the frame, but dirt does not.
        band = slice(start, min(start + int(rng.integers(3, config.band_lines_max + 1)), lines - 1))
        dirt = config.band_response * rng.exponential() * np.exp(2j * np.pi * rng.random())
        states.contamination[band] = dirt * (1 + 0.3 * rng.standard_normal(len(states.contamination[band])))
        states.blunting[band] *= _BAND_SOFTENING
        states.gain[band] *= rng.uniform(0.4, 1.0)
    for start in _starts(config.lock_losses, lines, rng):
        states.locked[start : start + int(rng.integers(10, config.lock_loss_lines_max + 1))] = False
    return states


def _starts(mean: float, lines: int, rng: np.random.Generator) -> list[int]:
    return sorted(int(line) for line in rng.integers(0, lines, rng.poisson(mean)))


def _between(low: float, high: float, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
