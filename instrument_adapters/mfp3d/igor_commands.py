"""The Igor commands that the driver sends to an MFP-3D, and the controller's rules for numbers.

The names of controls and panels come from public drivers of the manufacturer's software and were not tested on an instrument;
docs/mfp3d.md lists them. Numbers are written with full precision.
"""

from typing import Literal

Button = Literal["DownScan", "UpScan", "StopScan", "ClearForce", "SingleForce", "DoTuneDFRT"]
Axis = Literal["X", "Y"]

_BUTTONS: dict[Button, tuple[str, str]] = {
    "DownScan": ("DownScan_0", "MasterPanel"),
    "UpScan": ("UpScan_0", "MasterPanel"),
    "StopScan": ("StopScan_0", "MasterPanel"),
    "ClearForce": ("ClearForce_1", "MasterPanel"),
    "SingleForce": ("SingleForce_2", "DARTSpectroscopy"),
    "DoTuneDFRT": ("DoTuneDFRT_3", "DART"),
}
# Keys that have a field on a panel; all other keys are set with PV.
_FIELDS: dict[str, tuple[str, str]] = {
    "DriveAmplitude": ("DriveAmplitudeSetVar_0", "MasterPanel"),
    "DFRTFrequencyCenter": ("DFRTFrequencyCenterSetvar", "DART"),
    "DFRTFrequencyWidth": ("DFRTFrequencyWidthSetvar", "DART"),
    "ARDoIVAmp": ("ARDoIVAmpSetVar_1", "DARTSpectroscopy"),
    "ARDoIVFrequency": ("ARDoIVFrequencySetVar_1", "DARTSpectroscopy"),
    "ARDoIVCycles": ("ARDoIVCyclesSetVar_1", "DARTSpectroscopy"),
}
_PID_LOOPS: dict[Axis, int] = {"X": 0, "Y": 1}
_CLOCK_Hz = 50_000.0
_SAMPLES_PER_POINT = 2 * 1.25  # trace and retrace, each with 25 % overscan


def press(button: Button) -> str:
    """Command that presses a button of a panel."""
    control, panel = _BUTTONS[button]
    return f'ARExecuteControl("{control}","{panel}",0,"")'


SAFE_COMMANDS = (press("StopScan"), press("ClearForce"))
"""Commands that bring the instrument to rest; they are sent, and must be accepted, even while it is halted."""


def set_value(key: str, value: float) -> str:
    """Command that sets the panel value `key`."""
    if key in _FIELDS:
        control, panel = _FIELDS[key]
        return f'ARExecuteControl("{control}","{panel}",{value!r},"")'
    return f'PV("{key}",{value!r})'


def get_value(key: str) -> str:
    """Expression for the panel value `key`."""
    return f'GV("{key}")'


def write_setpoint(axis: Axis, volts: float) -> str:
    """Command that moves one axis of the stage to a set-point in volts."""
    return f'td_WriteValue("PIDSLoop.{_PID_LOOPS[axis]}.Setpoint",{volts!r})'


def read_sensor(axis: Axis) -> str:
    """Expression for the reading of the stage's position sensor, in volts."""
    return f'td_ReadValue("{axis}Sensor")'


def decimation(rate_Hz: float, points: int) -> int:
    """Integer divisor of the controller's 50 kHz clock for a line rate and a number of points per line; at least 1.

    Sample rate = 50000 / decimation = rate · 2 · 1.25 · points (measured).
    """
    return max(1, round(_CLOCK_Hz / (rate_Hz * _SAMPLES_PER_POINT * points)))


def quantised_rate_Hz(rate_Hz: float, points: int) -> float:
    """Line rate in hertz that the controller uses when `rate_Hz` is set, to the five digits that it displays."""
    return float(f"{_CLOCK_Hz / (decimation(rate_Hz, points) * _SAMPLES_PER_POINT * points):.5g}")


def tip_speed_m_per_s(size_fast_m: float, rate_Hz: float) -> float:
    """Speed of the tip along a line in metres per second, overscan included."""
    return _SAMPLES_PER_POINT * size_fast_m * rate_Hz
