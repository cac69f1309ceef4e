"""Catalogue of the faults of a simulated instrument, by name; their effects are in the other files of this package."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from simulators.errors import UnknownFaultError

Value = int | float | str
EVERY = "all"


class Group(StrEnum):
    """Where a fault acts: wire and files, data of a frame, probe, stage, or sample."""

    TRANSPORT = "transport"
    DATA = "data"
    PROBE = "probe"
    MOTION = "motion"
    SAMPLE = "sample"


class Place(StrEnum):
    """Place to which a fault can be tied: a frame, a line of a frame in the order of recording, or a measured point."""

    SCAN = "scan"
    LINE = "line"
    POINT = "point"


@dataclass(frozen=True)
class Parameter:
    """Strength or duration of a fault: its default and its allowed values, from which a random schedule draws uniformly.

    Parameters
    ----------
    default
        Default value, a number or a string.
    allowed
        (lowest, highest) for a number; all values for a string.
    """

    default: Value
    allowed: tuple[Value, ...]

    def draw(self, rng: np.random.Generator) -> Value:
        """Random value from the allowed ones."""
        if isinstance(self.default, str):
            return str(rng.choice(self.allowed))
        low, high = (float(limit) for limit in self.allowed)
        return int(rng.integers(int(low), int(high) + 1)) if isinstance(self.default, int) else float(rng.uniform(low, high))

    def admits(self, value: Value) -> bool:
        """Whether the value is allowed: one of the strings, or a number in the range (an integer if the default is one)."""
        if isinstance(self.default, str) or isinstance(value, str):
            return value in self.allowed
        low, high = (float(limit) for limit in self.allowed)
        return low <= value <= high and (isinstance(value, int) or isinstance(self.default, float))

    def __str__(self) -> str:
        if isinstance(self.default, str):
            return ", ".join(map(str, self.allowed))
        low, high = (float(limit) for limit in self.allowed)
        return f"{low:g} to {high:g}"


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Parameters
    ----------
    name
        Name as on the command line.
    group
        Group of the fault.
    description
        One sentence on what happens.
    places
        Kinds of places to which it can be tied.
    parameters
        Parameters by name with unit.
    first_scan
        First frame, counted from 1 after the start, at which it can occur.
    """

    name: str
    group: Group
    description: str
    places: frozenset[Place] = frozenset({Place.SCAN})
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    first_scan: int = 1


def _lines(default: int, low: int, high: int) -> dict[str, Parameter]:
    return {"lines": Parameter(default, (low, high))}


_LINE = frozenset({Place.SCAN, Place.LINE})
_POINT = frozenset({Place.SCAN, Place.POINT})
_MESSAGE = {"message": Parameter("scan", ("scan", "result"))}
_PLACED = {"row_share": Parameter(0.5, (0.1, 0.9)), "col_share": Parameter(0.5, (0.1, 0.9))}
_STATE = {"state": Parameter("C_MINUS", ("C_MINUS", "C_PLUS"))}

_ALL = (
    Fault(
        "disconnect_mid_scan",
        Group.TRANSPORT,
        "The connection breaks in the middle of the scan message and stays broken for some wall seconds.",
        parameters={"share": Parameter(0.5, (0.05, 0.95)), "down_s": Parameter(0.5, (0.1, 1.0))},
    ),
    Fault(
        "truncated_file",
        Group.TRANSPORT,
        "Only a share of the bytes of the frame's file reaches the disk.",
        parameters={"share": Parameter(0.6, (0.0, 0.98))},
    ),
    Fault(
        "file_still_being_written",
        Group.TRANSPORT,
        "The frame's file appears long before it is complete.",
        parameters={"saving_s": Parameter(20.0, (2.0, 40.0))},
    ),
    Fault(
        "stale_newest_file", Group.TRANSPORT, "The frame is not saved; the newest file shows the previous frame.", first_scan=2
    ),
    Fault("duplicate_scan_id", Group.TRANSPORT, "The frame has the scan_id of the previous frame.", first_scan=2),
    Fault(
        "lost_ack",
        Group.TRANSPORT,
        "The agent's acknowledgement of a message never arrives.",
        places=_POINT,
        parameters=_MESSAGE,
    ),
    Fault(
        "replayed_message",
        Group.TRANSPORT,
        "A message arrives a second time, at once or after later messages.",
        places=_POINT,
        parameters=_MESSAGE | {"later": Parameter(0, (0, 3))},
    ),
    Fault("nan_lines", Group.DATA, "Some lines of all channels are NaN.", _LINE, _lines(5, 1, 20)),
    Fault(
        "skipped_lines",
        Group.DATA,
        "Lines are skipped: every later line shows a place further along the slow axis.",
        _LINE,
        {"skipped": Parameter(4, (1, 12))},
    ),
    Fault(
        "shifted_lines",
        Group.DATA,
        "Some lines are shifted along the fast axis.",
        _LINE,
        _lines(20, 5, 60) | {"shift_px": Parameter(8.0, (3.0, 16.0))},
    ),
    Fault(
        "wrong_units",
        Group.DATA,
        "Amplitudes and height are stored in another unit than the one stated.",
        parameters={"factor": Parameter(1e9, (1e3, 1e9))},
    ),
    Fault("swapped_labels", Group.DATA, "The names of the first amplitude and the first phase are exchanged."),
    Fault("transposed_axes", Group.DATA, "Rows and columns of all images are exchanged."),
    Fault(
        "saturation",
        Group.DATA,
        "Both amplitudes saturate: the brightest share of their pixels has one value.",
        parameters={"share": Parameter(0.15, (0.02, 0.4))},
    ),
    Fault(
        "phase_wrap_offset",
        Group.DATA,
        "An offset is added to both phases, so that some domains wrap around the scale.",
        parameters={"offset_deg": Parameter(140.0, (60.0, 300.0))},
    ),
    Fault(
        "blunting",
        Group.PROBE,
        "The tip becomes blunter until the probe is changed.",
        _LINE,
        {"factor": Parameter(1.8, (1.2, 2.5))},
    ),
    Fault(
        "sensitivity_step",
        Group.PROBE,
        "The sensitivity of the probe changes by a factor until the probe is changed.",
        _LINE,
        {"factor": Parameter(0.55, (0.46, 1.6))},
    ),
    Fault(
        "f0_step",
        Group.PROBE,
        "The contact resonance shifts until the probe is changed.",
        _LINE,
        {"shift_Hz": Parameter(5e3, (-8e3, 8e3))},
    ),
    Fault("lock_loss", Group.PROBE, "The tracker does not follow the resonance for some lines.", _LINE, _lines(30, 10, 70)),
    Fault(
        "contamination_band",
        Group.PROBE,
        "Dirt sticks to the tip for some lines and adds a response of its own.",
        _LINE,
        _lines(20, 4, 40) | {"response": Parameter(0.7, (0.3, 1.2)), "phase_deg": Parameter(60.0, (-180.0, 180.0))},
    ),
    Fault("crash", Group.PROBE, "The tip breaks: amplitudes fall to noise and loops fail until the probe is changed.", _LINE),
    Fault(
        "frozen_position",
        Group.MOTION,
        "The position read back does not change until the next frame.",
        _POINT,
    ),
    Fault(
        "silent_clamp",
        Group.MOTION,
        "The stage reaches only a share of the frame: points beyond are clamped, and the next frame is displaced.",
        _POINT,
        {"reach": Parameter(0.6, (0.2, 0.9))},
    ),
    Fault(
        "written_spot",
        Group.SAMPLE,
        "A round domain has been written in the frame.",
        _POINT,
        _PLACED | _STATE | {"radius_m": Parameter(120e-9, (45e-9, 250e-9))},
    ),
    Fault(
        "written_box",
        Group.SAMPLE,
        "A square domain has been written in the frame.",
        _POINT,
        _PLACED | _STATE | {"side_m": Parameter(500e-9, (200e-9, 1000e-9))},
    ),
)

FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _ALL}


def find_fault(name: str) -> Fault:
    """The fault with this name.

    Raises
    ------
    UnknownFaultError
        If there is none; the message gives similar names, or all.
    """
    if name not in FAULTS:
        raise _unknown(name, "fault", tuple(FAULTS))
    return FAULTS[name]


def faults_in(name: str) -> tuple[Fault, ...]:
    """The faults of a group, the single fault with this name, or all faults ("all").

    Raises
    ------
    UnknownFaultError
        If there is no such fault or group.
    """
    if name == EVERY:
        return _ALL
    if name in tuple(Group):
        return tuple(fault for fault in _ALL if fault.group == name)
    if name not in FAULTS:
        raise _unknown(name, "fault or group", (EVERY, *Group, *FAULTS))
    return (FAULTS[name],)


def _unknown(name: str, what: str, known: Sequence[str]) -> UnknownFaultError:
    near = difflib.get_close_matches(name, known, n=3)
    advice = f"did you mean {' or '.join(near)}?" if near else f"give one of {', '.join(known)}"
    return UnknownFaultError(f"there is no {what} {name!r}; {advice}")
