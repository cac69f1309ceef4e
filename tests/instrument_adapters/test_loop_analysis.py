"""Parameters of loops whose true values are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.loop_analysis import average_loop, loop_parameters, running_median

STEPS = np.arange(64) / 64
BIAS_V = 8.0 * np.where(STEPS < 0.25, 4 * STEPS, np.where(STEPS < 0.75, 2 - 4 * STEPS, 4 * STEPS - 4))
UP = (STEPS <= 0.25) | (STEPS > 0.75)


def response(plus_V: float = 3.0, minus_V: float = -2.0, height_pm: float = 40.0) -> np.ndarray:
    return height_pm / 2 * np.tanh(4 * (BIAS_V - np.where(UP, plus_V, minus_V)))


def test_a_loop_gives_the_parameters_it_was_made_with() -> None:
    numbers = loop_parameters(BIAS_V, response())
    assert numbers["coercive_plus_V"] == pytest.approx(3.0, abs=0.1)
    assert numbers["coercive_minus_V"] == pytest.approx(-2.0, abs=0.1)
    assert (numbers["imprint_V"], numbers["width_V"]) == (pytest.approx(0.5, abs=0.1), pytest.approx(5.0, abs=0.2))
    assert (numbers["remanent_plus_pm"], numbers["remanent_minus_pm"]) == (
        pytest.approx(20, rel=0.01),
        pytest.approx(-20, rel=0.01),
    )
    assert numbers["area_pmV"] == pytest.approx(5.0 * 40.0, rel=0.05)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 6), st.floats(-6, -0.5), st.floats(1e-3, 1e6))
def test_coercive_biases_are_found_wherever_they_are_and_however_high_the_loop(plus: float, minus: float, height: float) -> None:
    numbers = loop_parameters(BIAS_V, response(plus, minus, height))
    assert numbers["coercive_plus_V"] == pytest.approx(plus, abs=0.3)
    assert numbers["coercive_minus_V"] == pytest.approx(minus, abs=0.3)


def test_a_time_trace_with_plateaus_and_cycles_is_the_loop_of_its_later_cycles() -> None:
    cycles = [10 * response(1.0, -1.0), response(), response()]
    bias, trace = np.repeat(np.tile(BIAS_V, 3), 5), np.repeat(np.concatenate(cycles), 5)
    assert loop_parameters(bias, trace) == pytest.approx(loop_parameters(BIAS_V, response()))


def test_of_pulses_with_returns_to_zero_the_off_field_response_is_used() -> None:
    """The on-field response has an additional electrostatic slope; the off-field response shows the written state."""
    bias = np.stack([BIAS_V, 0 * BIAS_V], axis=1).ravel()
    trace = np.stack([response() + 1000 * BIAS_V, response()], axis=1).ravel()
    numbers = loop_parameters(np.repeat(bias, 4), np.repeat(trace, 4))
    assert numbers["coercive_plus_V"] == pytest.approx(3.0, abs=0.3)
    assert numbers["area_pmV"] == pytest.approx(200, rel=0.1)


BAD = [
    (BIAS_V, response(height_pm=0.0), "no hysteresis"),
    (BIAS_V, np.random.default_rng(0).normal(size=64), "no hysteresis"),
    (BIAS_V, response(3.0, 3.0), "is closed"),
    (BIAS_V, np.full(64, np.nan), "finite"),
    (BIAS_V[:10], response(), "equally long"),
    (BIAS_V[:0], BIAS_V[:0], "are empty"),
    (np.ones(64), response(), "not a cycle"),
    (np.abs(BIAS_V), response(), "not a cycle"),
    (-BIAS_V, response(), "falls before it rises"),
]


@pytest.mark.parametrize(("bias", "trace", "sentence"), BAD, ids=range(len(BAD)))
def test_a_trace_that_is_not_a_loop_is_refused_with_the_reason(bias: np.ndarray, trace: np.ndarray, sentence: str) -> None:
    with pytest.raises(InstrumentFaultError, match=sentence):
        loop_parameters(bias, trace)


def test_the_running_median_removes_a_spike_and_keeps_the_ends() -> None:
    np.testing.assert_array_equal(running_median(np.array([1.0, 2, 99, 4, 5])), [1, 2, 4, 5, 5])


def test_one_cycle_without_plateaus_stays_as_it_is() -> None:
    bias, trace = average_loop(BIAS_V, response())
    np.testing.assert_array_equal(bias, BIAS_V)
    np.testing.assert_array_equal(trace, response())
