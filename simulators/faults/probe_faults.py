"""What faults do to the probe and to the place of the lines: the condition of each line of one frame."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Float

from instrument_adapters.geometry import Frame
from simulators.faults.catalogue import Value
from simulators.faults.schedule import Injection
from simulators.physics.probe import LineStates

_Act = Callable[[LineStates, slice, Mapping[str, Value], Float[np.ndarray, "2 2"]], None]


def befall_lines(states: LineStates, frame: Frame, *, scan_down: bool, cases: Iterable[Injection]) -> None:
    """Change, in place, the condition of the lines of a frame; cases of other faults are passed over.

    Parameters
    ----------
    states
        Of the lines as they would be without faults.
    frame, scan_down
        What is recorded.
    cases
        What befalls it, each with its line.
    """
    steps_m = _steps_m(frame, scan_down=scan_down)
    for case in cases:
        if case.name in _ACTS:
            _ACTS[case.name](states, touched(case, frame.rows), case.parameters, steps_m)


def touched(case: Injection, lines: int) -> slice:
    """The lines that a case touches, in the order of recording: `lines` of them, or all that follow."""
    first = case.line or 0
    length = case.parameters.get("lines")
    return slice(first, lines if length is None else min(lines, first + int(length)))


def _steps_m(frame: Frame, *, scan_down: bool) -> Float[np.ndarray, "2 2"]:
    """From one line to the next in the order of recording, and from one column to the next: vectors (x, y) in metres."""
    corner, slow, fast = frame.to_metres(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    return np.stack([(corner - slow) if scan_down else (slow - corner), fast - corner])


def _number(parameters: Mapping[str, Value], key: str) -> float:
    return float(parameters[key])


def _blunting(states: LineStates, at: slice, parameters: Mapping[str, Value], _: np.ndarray) -> None:
    states.blunting[at] *= _number(parameters, "factor")


def _sensitivity_step(states: LineStates, at: slice, parameters: Mapping[str, Value], _: np.ndarray) -> None:
    states.gain[at] *= _number(parameters, "factor")


def _f0_step(states: LineStates, at: slice, parameters: Mapping[str, Value], _: np.ndarray) -> None:
    states.resonance_shift_Hz[at] += _number(parameters, "shift_Hz")


def _lock_loss(states: LineStates, at: slice, _: Mapping[str, Value], __: np.ndarray) -> None:
    states.locked[at] = False


def _contamination_band(states: LineStates, at: slice, parameters: Mapping[str, Value], _: np.ndarray) -> None:
    phase_rad = np.deg2rad(_number(parameters, "phase_deg"))
    states.contamination[at] += _number(parameters, "response") * np.exp(1j * phase_rad)


def _crash(states: LineStates, at: slice, _: Mapping[str, Value], __: np.ndarray) -> None:
    states.contact[at] = False


def _skipped_lines(states: LineStates, at: slice, parameters: Mapping[str, Value], steps_m: np.ndarray) -> None:
    states.shift_m[at] += _number(parameters, "skipped") * steps_m[0]


def _shifted_lines(states: LineStates, at: slice, parameters: Mapping[str, Value], steps_m: np.ndarray) -> None:
    states.shift_m[at] += _number(parameters, "shift_px") * steps_m[1]


_ACTS: Mapping[str, _Act] = {
    "blunting": _blunting,
    "sensitivity_step": _sensitivity_step,
    "f0_step": _f0_step,
    "lock_loss": _lock_loss,
    "contamination_band": _contamination_band,
    "crash": _crash,
    "skipped_lines": _skipped_lines,
    "shifted_lines": _shifted_lines,
}
