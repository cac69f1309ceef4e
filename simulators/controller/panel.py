"""The settings of a simulated controller, with its habits: fields have limits that `PV` passes by, and rates are quantised."""

import math

from instrument_adapters.geometry import Frame
from simulators.config import MFP3DConfig
from simulators.controller.language import Put, RejectedError
from simulators.controller.scan_note import FIXED

_CLOCK_Hz = 50_000.0
_SAMPLES_PER_POINT = 2.5  # there and back, and a quarter beyond

# Where a field of a panel stops; assumed, but for the largest scan (MaxScanSize of a real file).
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
    """What stands on the panels, by the keys of the note.

    Parameters
    ----------
    config
        The panel begins as somebody has left it: with another place and another rate than this configuration asks for, and
        with the configuration's probe.
    first_suffix
        Number of the next file.
    """

    def __init__(self, config: MFP3DConfig, first_suffix: int) -> None:
        self.values: dict[str, float] = {key: float(FIXED[key]) for key in _LVDT} | {
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

    def put(self, command: Put) -> None:
        """Take over a value, as the panel does: points set lines too, and a rate becomes the nearest that there is.

        Raises
        ------
        RejectedError
            If there is no such setting, it cannot have that value, or a field's limits forbid it.
        """
        key, value = command.key, command.value
        if key not in self.values or key in _LVDT:
            raise RejectedError(f"there is no setting {key}")
        if (key in _POSITIVE and value <= 0) or (key in _WHOLE and value != round(value)):
            raise RejectedError(f"{key} cannot be {value:g}")
        low, high = _FIELD_LIMITS.get(key, (-math.inf, math.inf))
        if command.checked and not low <= value <= high:
            raise RejectedError(f"the field for {key} stops at {low:g} and {high:g}, {value:g} was typed in")
        if key == "ARDoIVCycles" and value != 1:
            raise RejectedError("this simulation knows loops of one cycle only")
        self.values[key] = value
        if key == "PointsLines":
            self.values["ScanPoints"] = self.values["ScanLines"] = value
        if key in {"ScanRate", "PointsLines", "ScanPoints"}:
            self.values["ScanRate"] = _quantised(self.values["ScanRate"], int(self.values["ScanPoints"]))

    def frame(self) -> Frame:
        """The frame that a scan begun now covers.

        Raises
        ------
        RejectedError
            If it has less than two lines or points.
        """
        see = self.values
        if see["ScanPoints"] < 2 or see["ScanLines"] < 2:
            raise RejectedError("a frame needs two lines and two points")
        ratio = see["SlowRatio"] / see["FastRatio"]
        return Frame(
            size_fast_m=see["ScanSize"] / max(ratio, 1.0),
            size_slow_m=see["ScanSize"] * min(ratio, 1.0),
            x_offset_m=see["XOffset"],
            y_offset_m=see["YOffset"],
            angle_rad=math.radians(see["ScanAngle"]),
            rows=int(see["ScanLines"]),
            cols=int(see["ScanPoints"]),
        )

    def to_metres(self, axis: int, volts: float) -> float:
        """Position along x (0) or y (1) of a set-point in volts."""
        sensitivity, offset = self._calibration(axis)
        return (volts - offset) * sensitivity

    def to_volts(self, axis: int, metres: float) -> float:
        """The reverse."""
        sensitivity, offset = self._calibration(axis)
        return metres / sensitivity + offset

    def _calibration(self, axis: int) -> tuple[float, float]:
        name = "XY"[axis]
        return abs(self.values[f"{name}LVDTSens"]), self.values[f"{name}LVDTOffset"]


def _quantised(rate_Hz: float, points: int) -> float:
    """The nearest rate whose samples are 50 kHz divided by a whole number, to the five digits that are shown."""
    decimation = max(1, round(_CLOCK_Hz / (rate_Hz * _SAMPLES_PER_POINT * points)))
    return float(f"{_CLOCK_Hz / (decimation * _SAMPLES_PER_POINT * points):.5g}")
