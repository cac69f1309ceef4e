"""Parser of the simulated controller's commands: a small part of Igor's language, with the names of the real panels."""

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
    """Reason why the controller rejects a command; it is not reported to the sender."""


@dataclass(frozen=True)
class Press:
    """Press of a panel's button."""

    button: str


@dataclass(frozen=True)
class SetValue:
    """New value of a setting; `checked` if it was entered in a panel's field, which has limits."""

    key: str
    value: float
    checked: bool


@dataclass(frozen=True)
class Move:
    """New set-point of the stage along x (axis 0) or y (axis 1)."""

    axis: int
    volts: float


def parse_command(line: str) -> Press | SetValue | Move:
    """The command in a line of text.

    Raises
    ------
    RejectedError
        If it is not a call of a known function with a known control and valid arguments.
    """
    name, arguments = _call(line)
    match name, arguments:
        case "ARExecuteControl", [str(control), str(panel), float(value), str()]:
            if (control, panel) in BUTTONS:
                return Press(BUTTONS[control, panel])
            if (control, panel) in FIELDS:
                return SetValue(FIELDS[control, panel], value, checked=True)
            raise RejectedError(f"there is no control {control} on the panel {panel}")
        case "PV", [str(key), float(value)]:
            return SetValue(key, value, checked=False)
        case "td_WriteValue", [str(target), float(volts)]:
            found = _SETPOINT.fullmatch(target)
            if found is None:
                raise RejectedError(f"{target} cannot be written")
            return Move(int(found[1]), volts)
    raise RejectedError(f"{line} is not a command")


def parse_expression(expression: str) -> tuple[str, str]:
    """(function, name) of an expression such as `GV("ScanSize")` or `td_ReadValue("XSensor")`.

    Raises
    ------
    RejectedError
        If the expression is unknown.
    """
    name, arguments = _call(expression)
    match name, arguments:
        case (("GV" | "td_ReadValue"), [str(key)]):
            return name, key
    raise RejectedError(f"{expression} has no value")


def _call(text: str) -> tuple[str, list[str | float]]:
    found = _CALL.fullmatch(text.strip())
    if found is None or _ARGUMENTS.fullmatch(found[2]) is None:
        raise RejectedError(f"{text} is not a function call")
    pieces = re.finditer(_ARGUMENT, found[2])
    return found[1], [float(piece[2]) if piece[2] is not None else piece[1] for piece in pieces]
