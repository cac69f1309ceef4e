"""The panel settings of a simulated controller: fields have limits that `PV` bypasses, and rates are quantised."""

import math

from instrument_adapters.geometry import Frame
from simulators.config import MFP3DConfig
from simulators.controller.language import RejectedError, SetValue
from simulators.controller.scan_note import FIXED_ENTRIES

_CLOCK_Hz = 50_000.0
_SAMPLES_PER_POINT = 2.5  # trace and retrace, each with 25 % overscan

# Limits of the fields of a panel; assumed, except the largest scan (MaxScanSize of a real file).
_FIELD_LIMITS = {
    "ScanSize": (1e-9, 9e-5),
    "PointsLines": (2, 4096),
    "ScanRate": (0.01, 100.0),
    "DriveAmplitude": (0.0, 10.0),
    "DFRTFrequencyCenter": (1e3, 2e6),
    "DFRTFrequencyWidth": (10.0, 1e5),
    "ARDoIVAmp": (0.0, 10.0),
    "ARDoIVFrequency": (1e-3, 100.0),
    "ARDoIVCycles": (1, 100),
}
_WHOLE = {"PointsLines", "ScanPoints", "ScanLines", "ARDoIVCycles", "BaseSuffix"}
_POSITIVE = {*_FIELD_LIMITS, "ScanPoints", "ScanLines", "FastRatio", "SlowRatio"}
_LVDT = ("XLVDTSens", "YLVDTSens", "XLVDTOffset", "YLVDTOffset")


class ControllerPanel:
    """Values of the panels, by the keys of the note.

    Parameters
    ----------
    config
        Configuration that gives the initial values of the probe. Position and rate start at other values, as if left by a
        previous user.
    first_suffix
        Number of the next file.
    """

    def __init__(self, config: MFP3DConfig, first_suffix: int) -> None:
        self.values: dict[str, float] = {key: float(FIXED_ENTRIES[key]) for key in _LVDT} | {
            "ScanSize": 5e-6,
            "FastRatio": 1.0,
            "SlowRatio": 1.0,
            "PointsLines": 128.0,
            "ScanPoints": 128.0,
            "ScanLines": 128.0,
            "ScanRate": 1.0017,
            "XOffset": 0.0,
            "YOffset": 0.0,
            "ScanAngle": 0.0,
            "DriveAmplitude": config.dart.drive_V,
            "DFRTFrequencyCenter": config.dart.resonance_Hz,
            "DFRTFrequencyWidth": config.dart.tone_separation_Hz,
            "ARDoIVAmp": config.spectroscopy.bias_max_V,
            "ARDoIVFrequency": 1 / config.timing.loop_s,
            "ARDoIVCycles": 1.0,
            "BaseSuffix": float(first_suffix),
        }

    def set_value(self, command: SetValue) -> None:
        """Set a value as the panel does: points also set lines, and a rate becomes the nearest possible one.

        Raises
        ------
        RejectedError
            If there is no such setting, the value is invalid, or it exceeds the limits of the field.
        """
        key, value = command.key, command.value
        if key not in self.values or key in _LVDT:
            raise RejectedError(f"there is no setting {key}")
        if (key in _POSITIVE and value <= 0) or (key in _WHOLE and value != round(value)):
            raise RejectedError(f"{key} cannot be {value:g}")
        low, high = _FIELD_LIMITS.get(key, (-math.inf, math.inf))
        if command.checked and not low <= value <= high:
            raise RejectedError(f"{value:g} was entered in the field for {key}, which allows {low:g} to {high:g}")
        if key == "ARDoIVCycles" and value != 1:
            raise RejectedError("the simulation supports only loops of one cycle")
        self.values[key] = value
        if key == "PointsLines":
            self.values["ScanPoints"] = self.values["ScanLines"] = value
        if key in {"ScanRate", "PointsLines", "ScanPoints"}:
            self.values["ScanRate"] = _quantised_rate_Hz(self.values["ScanRate"], int(self.values["ScanPoints"]))

    def frame(self) -> Frame:
        """Frame of a scan that begins now.

        Raises
        ------
        RejectedError
            If it has fewer than two lines or points.
        """
        values = self.values
        if values["ScanPoints"] < 2 or values["ScanLines"] < 2:
            raise RejectedError("a frame needs at least two lines and two points")
        ratio = values["SlowRatio"] / values["FastRatio"]
        return Frame(
            size_fast_m=values["ScanSize"] / max(ratio, 1.0),
            size_slow_m=values["ScanSize"] * min(ratio, 1.0),
            x_offset_m=values["XOffset"],
            y_offset_m=values["YOffset"],
            angle_rad=math.radians(values["ScanAngle"]),
            rows=int(values["ScanLines"]),
            cols=int(values["ScanPoints"]),
        )

    def to_metres(self, axis: int, volts: float) -> float:
        """Position in metres along x (axis 0) or y (axis 1) for a set-point in volts."""
        sensitivity, offset = self._calibration(axis)
        return (volts - offset) * sensitivity

    def to_volts(self, axis: int, metres: float) -> float:
        """Set-point in volts for a position in metres along x (axis 0) or y (axis 1)."""
        sensitivity, offset = self._calibration(axis)
        return metres / sensitivity + offset

    def _calibration(self, axis: int) -> tuple[float, float]:
        name = "XY"[axis]
        return abs(self.values[f"{name}LVDTSens"]), self.values[f"{name}LVDTOffset"]


def _quantised_rate_Hz(rate_Hz: float, points: int) -> float:
    """The nearest line rate whose sample rate is 50 kHz divided by an integer, to the five digits displayed."""
    decimation = max(1, round(_CLOCK_Hz / (rate_Hz * _SAMPLES_PER_POINT * points)))
    return float(f"{_CLOCK_Hz / (decimation * _SAMPLES_PER_POINT * points):.5g}")
