"""Parameters of a hysteresis loop, computed without a fit, by numpy alone.

A real file holds a time trace, which is first reduced to one loop. Consecutive samples at the same bias are averaged. If pulses
alternate with returns to zero bias, the response at zero bias after each pulse is used (off field: the written states without
the electrostatic part). All cycles but the first are averaged. This form of a real trace is assumed, not measured.
"""

import numpy as np
from jaxtyping import Float

from instrument_adapters.errors import InstrumentFaultError

_MEDIAN_STEPS = 3
_END_SHARE = 0.15  # at each end of a branch: the levels of the saturated states
_CONTRAST_MIN = 6.0  # smallest ratio of height to noise that counts as a loop
_STEPS_MIN = 8
_PULSED_SHARE = 0.3  # share of plateaus that are followed by zero bias, above which the bias is pulsed


def loop_parameters(bias_V: Float[np.ndarray, " samples"], response_pm: Float[np.ndarray, " samples"]) -> dict[str, float]:
    """`coercive_plus_V`, `coercive_minus_V`, `imprint_V`, `width_V`, `remanent_plus_pm`, `remanent_minus_pm`, `area_pmV`.

    The coercive biases are those at which the rising and the falling branch cross the middle between the saturated levels;
    imprint is their mean and width their difference. The remanent values are the responses at zero bias after positive and after
    negative bias, and the area is enclosed by the branches. Branches are smoothed with a running median of three steps.

    Raises
    ------
    InstrumentFaultError
        If samples are not finite, the bias makes no cycle, the loop is not higher than its noise, a branch does not cross the
        middle, or the branches cross within one bias step of each other or in the wrong order.
    """
    bias_V, response_pm = average_loop(np.asarray(bias_V, dtype=float), np.asarray(response_pm, dtype=float))
    rising_V, rising = branch(bias_V, response_pm, rising=True)
    falling_V, falling = branch(bias_V, response_pm, rising=False)
    count = max(2, round(_END_SHARE * len(rising)))
    low = float(np.median([*rising[:count], *falling[:count]]))
    high = float(np.median([*rising[-count:], *falling[-count:]]))
    _require_contrast(response_pm, high - low)
    plus = _crossing(rising_V, rising, (low + high) / 2, "rising")
    minus = _crossing(falling_V, falling, (low + high) / 2, "falling")
    if plus - minus < np.abs(np.diff(bias_V)).max():
        raise InstrumentFaultError(
            f"the loop is closed: it rises at {plus:.2f} V and falls at {minus:.2f} V, less than one bias step apart; "
            "measure another point"
        )
    grid = np.linspace(max(rising_V[0], falling_V[0]), min(rising_V[-1], falling_V[-1]), len(bias_V))
    gap = np.interp(grid, falling_V, falling) - np.interp(grid, rising_V, rising)
    return {
        "coercive_plus_V": plus,
        "coercive_minus_V": minus,
        "imprint_V": (plus + minus) / 2,
        "width_V": plus - minus,
        "remanent_plus_pm": float(np.interp(0.0, falling_V, falling)),
        "remanent_minus_pm": float(np.interp(0.0, rising_V, rising)),
        "area_pmV": float(np.trapezoid(gap, grid)),
    }


def average_loop(bias_V: np.ndarray, response_pm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One cycle 0 -> +V -> -V -> 0 of a trace that may hold plateaus, pulses and several cycles (see the module).

    Raises
    ------
    InstrumentFaultError
        If the trace holds no such cycle.
    """
    if (
        bias_V.ndim != 1
        or bias_V.shape != response_pm.shape
        or not (np.isfinite(bias_V).all() and np.isfinite(response_pm).all())
    ):
        raise _no_loop("bias and response are not two equally long curves of finite numbers")
    if not len(bias_V):
        raise _no_loop("the curves are empty")
    bias_V, response_pm = _off_field(*_plateaus(bias_V, response_pm))
    peaks = np.flatnonzero(np.isclose(bias_V, bias_V.max())) if len(bias_V) else np.array([])
    period = int(peaks[1] - peaks[0]) if len(peaks) > 1 and peaks[1] - peaks[0] >= _STEPS_MIN else len(bias_V)
    if period < _STEPS_MIN or not bias_V.min() < 0 < bias_V.max():
        raise _no_loop(f"{len(bias_V)} bias steps from {bias_V.min():g} to {bias_V.max():g} V are not a cycle through both signs")
    cycles = len(bias_V) // period
    if cycles > 1:
        return bias_V[:period], response_pm[: cycles * period].reshape(cycles, period)[1:].mean(axis=0)
    return bias_V, response_pm


def branch(bias_V: np.ndarray, response_pm: np.ndarray, *, rising: bool) -> tuple[np.ndarray, np.ndarray]:
    """(bias, smoothed response) of one branch in ascending bias; the rising branch is joined from its two parts."""
    top, bottom = int(np.argmax(bias_V)), int(np.argmin(bias_V))
    if bottom <= top:
        raise _no_loop("the bias falls before it rises")
    up = np.concatenate([np.arange(bottom, len(bias_V)), np.arange(top + 1)])
    steps = up if rising else np.arange(bottom, top - 1, -1)
    return bias_V[steps], running_median(response_pm[steps])


def running_median(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Median of three neighbours; at the ends the last value counts twice."""
    padded = np.pad(values, _MEDIAN_STEPS // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN_STEPS), axis=1))


def _plateaus(bias_V: np.ndarray, response_pm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bias, mean response) of each run of samples at the same bias."""
    starts = np.flatnonzero(np.concatenate([[True], np.abs(np.diff(bias_V)) > 1e-9 * np.abs(bias_V).max()]))
    lengths = np.diff(np.concatenate([starts, [len(bias_V)]]))
    return bias_V[starts], np.add.reduceat(response_pm, starts) / lengths


def _off_field(bias_V: np.ndarray, response_pm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bias of each pulse, response at the zero bias after it) if the bias is pulsed; otherwise the input unchanged."""
    zero = np.abs(bias_V) < 1e-3 * np.abs(bias_V).max()
    pulses = np.flatnonzero(~zero[:-1] & zero[1:])
    if len(pulses) < _PULSED_SHARE * len(bias_V):
        return bias_V, response_pm
    return bias_V[pulses], response_pm[pulses + 1]


def _require_contrast(response_pm: np.ndarray, height_pm: float) -> None:
    steps = np.diff(response_pm)
    noise = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / np.sqrt(2)
    if height_pm < _CONTRAST_MIN * noise or height_pm <= 0:
        raise InstrumentFaultError(
            f"no hysteresis: the loop is {height_pm:.2f} pm high with a noise of {noise:.2f} pm, and at least "
            f"{_CONTRAST_MIN:.0f} times the noise is needed; the tip may have lost contact, so retune and measure another point"
        )


def _crossing(bias_V: np.ndarray, response_pm: np.ndarray, level: float, name: str) -> float:
    """Bias at which the branch crosses `level` upwards; the median of several crossings, which spikes cause."""
    below = response_pm < level
    at = np.nonzero(below[:-1] & ~below[1:])[0]
    if not len(at):
        raise InstrumentFaultError(
            f"the {name} branch never crosses the middle of the loop between {bias_V[0]:.1f} and {bias_V[-1]:.1f} V: "
            "the sample did not switch; measure another point or raise the bias"
        )
    fraction = (level - response_pm[at]) / (response_pm[at + 1] - response_pm[at])
    return float(np.median(bias_V[at] + fraction * (bias_V[at + 1] - bias_V[at])))


def _no_loop(why: str) -> InstrumentFaultError:
    return InstrumentFaultError(f"no loop was recorded: {why}; check the settings of the spectroscopy panel")
