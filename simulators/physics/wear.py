"""What befalls a probe of its own accord while it scans: gain steps, dirt on the tip, a tip that changes, a lock that is lost.

These are the natural occurrences of a frame, drawn from rates. They must not be confused with a schedule of faults, which says
what happens when.
"""

import numpy as np
from pydantic import Field, model_validator

from simulators.physics.probe import LineStates, Probe
from simulators.settings import NonNegative, Settings

_BAND_SOFTENING = 1.6  # of the tip's spot while something sticks to it


class WearConfig(Settings):
    """How often what happens; the default is a probe to which nothing happens.

    Parameters
    ----------
    gain_steps
        Mean number of lasting steps of the gain in a frame.
    gain_min, gain_max
        Between which each step leaves the gain, relative to a fresh probe; steps are drawn evenly in its logarithm.
    bands
        Mean number of bands of lines in a frame on which dirt sticks to the tip.
    band_lines_max
        The longest band; the shortest has 3 lines.
    band_response
        Mean magnitude of what the dirt adds to the response, of either sign and any phase.
    tip_changes
        Mean number of times in a frame that the tip's spot takes another size for good.
    blunting_min, blunting_max
        Between which the size of the spot lies after a change, relative to a fresh tip; evenly in its logarithm.
    worn
        Whether the first frame already finds a used probe, its gain and spot drawn from those same ranges.
    lock_losses, lock_loss_lines_max
        Mean number of times in a frame that the tracker loses the resonance, and for how many lines at most; 10 at least.
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
    def _in_order(self) -> "WearConfig":
        for name, low, high in (
            ("gain", self.gain_min, self.gain_max),
            ("blunting", self.blunting_min, self.blunting_max),
        ):
            if low > high:
                raise ValueError(f"{name}_min is {low:g}, larger than {name}_max, {high:g}; exchange them")
        return self


def used(config: WearConfig, rng: np.random.Generator) -> Probe:
    """The probe before the first frame: a fresh one, unless the configuration says that it is `worn`."""
    if not config.worn:
        return Probe()
    return Probe(
        gain=_between(config.gain_min, config.gain_max, rng), blunting=_between(config.blunting_min, config.blunting_max, rng)
    )


def befall(probe: Probe, lines: int, config: WearConfig, rng: np.random.Generator) -> LineStates:
    """The probe's condition on each line of a frame that begins with `probe`.

    Parameters
    ----------
    probe
        Its condition before the frame.
    lines
        Of the frame.
    config
        How often what happens.
    rng
        A generator that serves nothing else, so that a quiet probe leaves every other random number as it was.
    """
    states = LineStates.steady(probe, lines)
    for start in _starts(config.gain_steps, lines, rng):
        states.gain[start:] = _between(config.gain_min, config.gain_max, rng)
    for start in _starts(config.tip_changes, lines, rng):
        states.blunting[start:] = _between(config.blunting_min, config.blunting_max, rng)
    for start in _starts(config.bands, lines, rng):
        # The last line's condition is what lasts, and dirt does not.
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
