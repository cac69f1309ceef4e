"""Effects of faults on the probe and on the position of lines, as changes to the condition of each line of a frame."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import Float

from instrument_adapters.geometry import Frame
from simulators.faults.catalogue import Value
from simulators.faults.schedule import Injection
from simulators.physics.probe import LineStates

_Effect = Callable[[LineStates, slice, Mapping[str, Value], Float[np.ndarray, "2 2"]], None]


def apply_probe_faults(states: LineStates, frame: Frame, *, scan_down: bool, cases: Iterable[Injection]) -> None:
    """Apply the faults of the probe to the condition of the lines of a frame, in place; other faults are ignored.

    Parameters
    ----------
    states
        Condition of each line without faults.
    frame, scan_down
        Recorded frame, and whether its last row is recorded first.
    cases
        Faults of this frame, each with its line.
    """
    steps_m = _steps_m(frame, scan_down=scan_down)
    for case in cases:
        if case.name in _EFFECTS:
            _EFFECTS[case.name](states, affected_lines(case, frame.rows), case.parameters, steps_m)


def affected_lines(case: Injection, lines: int) -> slice:
    """Lines affected by a fault, in the order of recording: as many as its parameter `lines` says, or all that follow."""
    first = case.line or 0
    length = case.parameters.get("lines")
    return slice(first, lines if length is None else min(lines, first + int(length)))


def _steps_m(frame: Frame, *, scan_down: bool) -> Float[np.ndarray, "2 2"]:
    """Vectors (x, y) in metres from one line to the next in the order of recording, and from one column to the next."""
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


_EFFECTS: Mapping[str, _Effect] = {
    "blunting": _blunting,
    "sensitivity_step": _sensitivity_step,
    "f0_step": _f0_step,
    "lock_loss": _lock_loss,
    "contamination_band": _contamination_band,
    "crash": _crash,
    "skipped_lines": _skipped_lines,
    "shifted_lines": _shifted_lines,
}
