"""What the driver says to an MFP-3D: the text of each command, and the rules that the controller's panel applies to numbers.

Names of controls and panels were read in public drivers of the manufacturer's software and tried on no instrument;
docs/mfp3d.md has the table. Numbers are written so that they are read back without loss.
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
# Keys that have a field on a panel; all others are set with PV.
_FIELDS: dict[str, tuple[str, str]] = {
    "DriveAmplitude": ("DriveAmplitudeSetVar_0", "MasterPanel"),
    "DFRTFrequencyCenter": ("DFRTFrequencyCenterSetvar", "DART"),
    "DFRTFrequencyWidth": ("DFRTFrequencyWidthSetvar", "DART"),
    "ARDoIVAmp": ("ARDoIVAmpSetVar_1", "DARTSpectroscopy"),
    "ARDoIVFrequency": ("ARDoIVFrequencySetVar_1", "DARTSpectroscopy"),
    "ARDoIVCycles": ("ARDoIVCyclesSetVar_1", "DARTSpectroscopy"),
}
_LOOPS: dict[Axis, int] = {"X": 0, "Y": 1}
_CLOCK_Hz = 50_000.0
_SAMPLES_PER_POINT = 2 * 1.25  # trace and retrace, a quarter of overscan


def press(button: Button) -> str:
    """Text that presses a button of a panel."""
    control, panel = _BUTTONS[button]
    return f'ARExecuteControl("{control}","{panel}",0,"")'


SAFE = (press("StopScan"), press("ClearForce"))
"""What brings an instrument to rest: it is said, and must be taken, also when everything else is refused."""


def put(key: str, value: float) -> str:
    """Text that sets the panel value `key`."""
    if key in _FIELDS:
        control, panel = _FIELDS[key]
        return f'ARExecuteControl("{control}","{panel}",{value!r},"")'
    return f'PV("{key}",{value!r})'


def value_of(key: str) -> str:
    """Expression for the panel value `key`."""
    return f'GV("{key}")'


def write_setpoint(axis: Axis, volts: float) -> str:
    """Text that sends the stage to a set-point in volts."""
    return f'td_WriteValue("PIDSLoop.{_LOOPS[axis]}.Setpoint",{volts!r})'


def sensor_of(axis: Axis) -> str:
    """Expression for where the stage's sensor says that it is, in volts."""
    return f'td_ReadValue("{axis}Sensor")'


def decimation(rate_Hz: float, points: int) -> int:
    """Whole number by which the controller's 50 kHz are divided for so many lines a second of so many points; at least 1.

    Sample rate = 50000 / decimation = rate · 2 · 1.25 · points (measured).
    """
    return max(1, round(_CLOCK_Hz / (rate_Hz * _SAMPLES_PER_POINT * points)))


def quantised_rate_Hz(rate_Hz: float, points: int) -> float:
    """Line rate that the controller makes of `rate_Hz`, to the five digits that it shows."""
    return float(f"{_CLOCK_Hz / (decimation(rate_Hz, points) * _SAMPLES_PER_POINT * points):.5g}")


def tip_speed_m_per_s(size_fast_m: float, rate_Hz: float) -> float:
    """Speed of the tip along a line, overscan included."""
    return _SAMPLES_PER_POINT * size_fast_m * rate_Hz
