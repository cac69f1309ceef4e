"""The noise-free hysteresis loop of a position: the two-branch loop form, and the dependence of its parameters on microstructure.

The parameter η² sets the explained variance: for points on walls, with all wall types equally frequent, the type explains the
share η² of the variance of each latent parameter. The influence of the type decays with the distance from the wall.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import erf

from instrument_adapters.geometry import Positive
from simulators.sample.domains import WALL_TYPES, DomainState, Truth, WallType
from simulators.settings import NonNegative, Settings, Share

_STEEPNESS_PER_V = 1000.0  # steepness of the transition between the two widths of a branch: practically a step
_WIDTH_MIN_V, _WIDTH_MAX_V = 0.15, 5.0
_WIDTH_OWN_SPREAD = 0.35  # log standard deviation between the four ends of one loop
_OPENING_MIN_V = 2.5
_STEP_WIDTH = 0.5  # width of each of two steps, relative to a branch that switches in one step
_STEP_SPREAD = 0.4  # half range of the distance between two steps, relative to its mean

# Shifts of (log height, V+, V-, log transition width) for each wall type; only their ratios matter, since each column is
# standardised below. Boundaries and herringbone walls have small heights, 180° walls switch early, needles are imprinted.
_WALL_SHIFTS = {
    WallType.STRIPE: (-0.6, -0.4, -0.1, 0.9),
    WallType.NEEDLE_PLUS: (0.1, 0.7, -0.4, 0.2),
    WallType.NEEDLE_MINUS: (0.1, -0.6, -1.1, 0.2),
    WallType.HERRINGBONE: (-1.2, 1.3, -1.2, 0.8),
    WallType.C_C_180: (0.5, -1.2, 1.2, -0.6),
    WallType.GRAIN_BOUNDARY: (-1.5, 0.6, 0.6, 1.0),
}
_STATE_SHIFTS = {
    DomainState.C_PLUS: (0.4, 0.2, 0.1, -0.3),
    DomainState.C_MINUS: (0.4, -0.2, -0.3, -0.3),
    DomainState.A_FIRST: (-0.9, 0.3, -0.2, 0.5),
    DomainState.A_SECOND: (-0.9, 0.3, -0.2, 0.5),
}


class LoopConfig(Settings):
    """Statistics of the loops; the defaults were measured on 2,500 loops of PbTiO3, except for the unit of the height.

    Parameters
    ----------
    eta2
        Share of the variance of the latent parameters on walls that the wall type explains.
    wall_decay_m
        Distance over which the influence of a wall decays to 1/e.
    height_pm, height_spread
        Median height of a loop and the log standard deviation.
    plus_V, plus_spread_V, minus_V, minus_spread_V
        Mean and standard deviation of the two coercive biases.
    width_V, width_spread
        Median width of a transition and the log standard deviation.
    two_step_share, two_step_V
        Share of the branches that switch in two steps, and mean distance between the steps.
    """

    eta2: Share = 0.35
    wall_decay_m: Positive = 25e-9
    height_pm: Positive = 40.0
    height_spread: NonNegative = 0.75
    plus_V: float = 4.95
    plus_spread_V: NonNegative = 1.75
    minus_V: float = -2.98
    minus_spread_V: NonNegative = 1.4
    width_V: Positive = 1.0
    width_spread: NonNegative = 0.6
    two_step_share: Share = 0.14
    two_step_V: NonNegative = 4.0


@dataclass(frozen=True)
class LoopShape:
    """The noise-free loop of one position.

    Parameters
    ----------
    offset_pm, height_pm
        Response at large negative bias, and its increase to large positive bias.
    coercive_plus_V, coercive_minus_V
        Bias at the middle of the rising and of the falling branch.
    slope_pm_per_V
        Slope of the linear background.
    widths_V
        Transition widths (rising before and after, falling before and after the coercive bias, in ascending bias).
    steps_V
        Distance between the two halves of the switching (rising, falling); 0 where the branch switches in one step.
    """

    offset_pm: float
    height_pm: float
    coercive_plus_V: float
    coercive_minus_V: float
    slope_pm_per_V: float
    widths_V: tuple[float, float, float, float]
    steps_V: tuple[float, float] = (0.0, 0.0)

    def respond(self, bias_V: Float[np.ndarray, " n"], rising: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Response in picometres at each bias: the rising branch where `rising` is true, the falling one elsewhere.

        y = a0 + a1 [g erf((V - Vc)/g) + b_lo]/(b_lo + b_hi) + a4 V, g = (b_hi - b_lo)/2 (erf(1000 (V - Vc)) + 1) + b_lo.
        A branch with two steps is the mean of two such curves on either side of Vc.
        """
        apart = np.where(rising, *self.steps_V)
        switched = (self._switched(bias_V + apart / 2, rising) + self._switched(bias_V - apart / 2, rising)) / 2
        return np.asarray(self.offset_pm + self.height_pm * switched + self.slope_pm_per_V * bias_V)

    def _switched(self, bias_V: Float[np.ndarray, " n"], rising: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        narrowed = np.where(np.where(rising, *self.steps_V) > 0, _STEP_WIDTH, 1.0)
        low, high = (narrowed * np.where(rising, self.widths_V[end], self.widths_V[end + 2]) for end in (0, 1))
        above = bias_V - np.where(rising, self.coercive_plus_V, self.coercive_minus_V)
        width = (high - low) / 2 * (erf(_STEEPNESS_PER_V * above) + 1) + low
        return np.asarray((width * erf(above / width) + low) / (low + high))


def latent_parameters(truth: Truth, config: LoopConfig, rng: np.random.Generator) -> Float[np.ndarray, "n 4"]:
    """Standardised (log height, V+, V-, log width) at n positions: the expected values plus √(1 - η²) times noise."""
    expected = expected_latents(truth, config)
    return np.asarray(expected + np.sqrt(1 - config.eta2) * rng.standard_normal(expected.shape))


def expected_latents(truth: Truth, config: LoopConfig) -> Float[np.ndarray, "n 4"]:
    """Expected (log height, V+, V-, log width) at n positions: √η² times the shift due to the microstructure.

    The shift is that of the wall type at a wall and changes to that of the domain state with the distance d as exp(-d/decay).
    """
    walls, states = _standardised_shifts()
    near = np.exp(-truth.distance_m / config.wall_decay_m)[:, None]
    return np.asarray(np.sqrt(config.eta2) * (near * walls[truth.wall] + (1 - near) * states[truth.state]))


def draw_shape(truth: Truth, config: LoopConfig, rng: np.random.Generator) -> LoopShape:
    """Random loop of the single position that `truth` describes."""
    log_height, plus, minus, log_width = latent_parameters(truth, config, rng)[0]
    height = config.height_pm * math.exp(config.height_spread * log_height)
    widths = config.width_V * np.exp(config.width_spread * log_width + _WIDTH_OWN_SPREAD * rng.standard_normal(4))
    minus_v = config.minus_V + config.minus_spread_V * minus
    w = np.clip(widths, _WIDTH_MIN_V, _WIDTH_MAX_V)
    return LoopShape(
        offset_pm=-0.57 * height * (1 + 0.15 * float(rng.standard_normal())),
        height_pm=height,
        coercive_plus_V=max(config.plus_V + config.plus_spread_V * plus, minus_v + _OPENING_MIN_V),
        coercive_minus_V=minus_v,
        slope_pm_per_V=0.006 * height * (1 + float(rng.standard_normal())),
        widths_V=(float(w[0]), float(w[1]), float(w[2]), float(w[3])),
        steps_V=(_steps(config, rng), _steps(config, rng)),
    )


def _steps(config: LoopConfig, rng: np.random.Generator) -> float:
    """Distance between the two steps of a branch; 0 for most branches, which have one."""
    in_two, relative = rng.random() < config.two_step_share, rng.uniform(-_STEP_SPREAD, _STEP_SPREAD)
    return config.two_step_V * (1 + float(relative)) if in_two else 0.0


def _standardised_shifts() -> tuple[Float[np.ndarray, "walls 4"], Float[np.ndarray, "states 4"]]:
    """Shifts by `WallType` and by `DomainState`, scaled so that over the wall types each has mean 0 and variance 1."""
    raw = np.array([_WALL_SHIFTS[wall] for wall in WALL_TYPES])
    mean, spread = raw.mean(axis=0), raw.std(axis=0)
    states = (np.array([_STATE_SHIFTS[state] for state in DomainState]) - mean) / spread
    return np.concatenate([np.zeros((1, 4)), (raw - mean) / spread]), states
