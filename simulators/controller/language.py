"""The text that a simulated controller understands: a small part of Igor's language, with the names of the real panels."""

import re
from dataclasses import dataclass

_CALL = re.compile(r"(\w+)\((.*)\)")
_ARGUMENT = r'"([^"]*)"|([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)'
_ARGUMENTS = re.compile(rf"\s*(?:{_ARGUMENT})\s*(?:,\s*(?:{_ARGUMENT})\s*)*")
_SETPOINT = re.compile(r"PIDSLoop\.([01])\.Setpoint")

BUTTONS = {
    ("DownScan_0", "MasterPanel"): "DownScan",
    ("UpScan_0", "MasterPanel"): "UpScan",
    ("StopScan_0", "MasterPanel"): "StopScan",
    ("ClearForce_1", "MasterPanel"): "ClearForce",
    ("GoForce_1", "MasterPanel"): "GoForce",
    ("SingleForce_2", "DARTSpectroscopy"): "SingleForce",
    ("DoTuneDFRT_3", "DART"): "DoTuneDFRT",
}
FIELDS = {
    ("ScanSizeSetVar_0", "MasterPanel"): "ScanSize",
    ("PointsLinesSetVar_0", "MasterPanel"): "PointsLines",
    ("ScanRateSetVar_0", "MasterPanel"): "ScanRate",
    ("DriveAmplitudeSetVar_0", "MasterPanel"): "DriveAmplitude",
    ("DFRTFrequencyCenterSetvar", "DART"): "DFRTFrequencyCenter",
    ("DFRTFrequencyWidthSetvar", "DART"): "DFRTFrequencyWidth",
    ("ARDoIVAmpSetVar_1", "DARTSpectroscopy"): "ARDoIVAmp",
    ("ARDoIVFrequencySetVar_1", "DARTSpectroscopy"): "ARDoIVFrequency",
    ("ARDoIVCyclesSetVar_1", "DARTSpectroscopy"): "ARDoIVCycles",
}


class RejectedError(ValueError):
    """Why the controller does not do what it was told; nobody at the other end hears of it."""


@dataclass(frozen=True)
class Press:
    """A button of a panel."""

    button: str


@dataclass(frozen=True)
class Put:
    """A new value of a setting; `checked` if it was typed into a panel's field, which has limits."""

    key: str
    value: float
    checked: bool


@dataclass(frozen=True)
class Move:
    """A set-point of the stage along x (0) or y (1)."""

    axis: int
    volts: float


def understand(line: str) -> Press | Put | Move:
    """What a line of text tells the controller to do.

    Raises
    ------
    RejectedError
        If it is no call of a known function, or of unknown controls, or with other arguments.
    """
    name, arguments = _call(line)
    match name, arguments:
        case "ARExecuteControl", [str(control), str(panel), float(value), str()]:
            if (control, panel) in BUTTONS:
                return Press(BUTTONS[control, panel])
            if (control, panel) in FIELDS:
                return Put(FIELDS[control, panel], value, checked=True)
            raise RejectedError(f"there is no control {control} on a panel {panel}")
        case "PV", [str(key), float(value)]:
            return Put(key, value, checked=False)
        case "td_WriteValue", [str(target), float(volts)]:
            found = _SETPOINT.fullmatch(target)
            if found is None:
                raise RejectedError(f"there is nothing to write at {target}")
            return Move(int(found[1]), volts)
    raise RejectedError(f"{line} is no command")


def asked_for(expression: str) -> tuple[str, str]:
    """(function, name) of an expression such as `GV("ScanSize")` or `td_ReadValue("XSensor")`.

    Raises
    ------
    RejectedError
        If it is another.
    """
    name, arguments = _call(expression)
    match name, arguments:
        case (("GV" | "td_ReadValue"), [str(key)]):
            return name, key
    raise RejectedError(f"{expression} has no value")


def _call(text: str) -> tuple[str, list[str | float]]:
    found = _CALL.fullmatch(text.strip())
    if found is None or _ARGUMENTS.fullmatch(found[2]) is None:
        raise RejectedError(f"{text} is not written as a call")
    pieces = re.finditer(_ARGUMENT, found[2])
    return found[1], [float(piece[2]) if piece[2] is not None else piece[1] for piece in pieces]
