"""Sends settings and positions to an MFP-3D and reads them back, since a rejected command gives no error message."""

import math

import numpy as np

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Frame
from instrument_adapters.mfp3d.igor_commands import (
    Axis,
    decimation,
    get_value,
    press,
    quantised_rate_Hz,
    read_sensor,
    set_value,
    write_setpoint,
)
from instrument_adapters.mfp3d.settings import MFP3DSettings
from instrument_adapters.mfp3d.transport import Transport

_AXES: tuple[Axis, Axis] = ("X", "Y")
_DISPLAY_TOLERANCE = 1e-4  # relative: some values are displayed with five digits
_COMMAND_S = 0.35  # no command is faster (read in a public driver)
_RETUNE_TOLERANCE = 0.2  # relative change of the centre frequency that tuning may make
_SETPOINT_MAX_V = 10.0  # range of the controller's set-points (assumed)
_FRAME_MARGIN = 0.1  # share of the frame by which the tip may lie outside after a scan: creep, overscan


class Panel:
    """The controller's settings, each confirmed by reading it back.

    Parameters
    ----------
    settings
        Settings to apply.
    transport
        Connection to the controller.
    """

    def __init__(self, settings: MFP3DSettings, transport: Transport) -> None:
        self._settings, self._transport = settings, transport

    def set_up(self) -> None:
        """Apply and confirm all settings.

        Raises
        ------
        InstrumentFaultError
            If a value does not read back as it was set.
        """
        for key, value, tolerance in _wanted_settings(self._settings):
            self._set(key, value, tolerance)

    def retune(self) -> None:
        """Tune the probe, which makes its contact resonance the centre frequency.

        Raises
        ------
        InstrumentFaultError
            If no resonance is found within 20 % of the set frequency.
        """
        begun_s = self._transport.elapsed_s()
        self._transport.execute(press("DoTuneDFRT"))
        self._transport.sleep(max(0.0, begun_s + self._settings.retune_s - self._transport.elapsed_s()))
        found, wanted = self._transport.read(get_value("DFRTFrequencyCenter")), self._settings.centre_Hz
        if not abs(found - wanted) <= _RETUNE_TOLERANCE * wanted:
            raise InstrumentFaultError(
                f"tuning gave a contact resonance of {found / 1e3:.1f} kHz where about {wanted / 1e3:.1f} kHz is expected; "
                "check that the tip touches the sample"
            )

    def _set(self, key: str, value: float, tolerance: float) -> None:
        self._transport.execute(set_value(key, value))
        found = self._transport.read(get_value(key))
        if not abs(found - value) <= tolerance:
            raise InstrumentFaultError(
                f"{key} was set to {value:g} and reads back {found:g}: the controller rejected the command or has no such "
                "setting; nothing was scanned or measured; check that its software is ready and allows this value"
            )


class Stage:
    """The stage: moves the tip with set-points in volts, V = x / abs(XLVDTSens) + XLVDTOffset, and likewise for y.

    Parameters
    ----------
    settings
        Settings with the frame, whose pixel is the position tolerance, and the largest speed.
    transport
        Connection to the controller.

    Raises
    ------
    InstrumentFaultError
        If the controller does not give its calibration, or one by which the stage's range is beyond the range of its set-points.
    """

    def __init__(self, settings: MFP3DSettings, transport: Transport) -> None:
        self._transport = transport
        self._pixel_m = min(settings.frame.pitch_m)
        self._step_m = settings.speed_max_m_per_s * _COMMAND_S
        self._frame, self._limits = settings.frame, settings.limits
        self._known_m: tuple[float, float] | None = None
        self._commanded_m: tuple[float, float] | None = None  # the last set-point since the last scan
        self._scanned = False
        self._sensitivity, self._offset_V = (
            {axis: self._calibration(f"{axis}LVDT{what}") for axis in _AXES} for what in ("Sens", "Offset")
        )
        self._check_calibration()

    def position_m(self) -> tuple[float, float]:
        """Tip position (x, y) in metres, from the sensors."""
        x_m, y_m = (
            (self._transport.read(read_sensor(axis)) - self._offset_V[axis]) * abs(self._sensitivity[axis]) for axis in _AXES
        )
        return x_m, y_m

    def forget_position(self) -> None:
        """Discard the known position, since a scan has moved the tip, which is now somewhere in the frame."""
        self._known_m, self._commanded_m, self._scanned = None, None, True

    def go_to(self, x_m: float, y_m: float) -> None:
        """Move the tip in a straight line, in steps that respect the allowed speed, and confirm the position.

        Raises
        ------
        InstrumentFaultError
            If the sensors give an impossible position to start from, or the target is out of range: then nothing was moved. If
            the position read back differs from the target by more than one pixel.
        """
        start_m = self._known_m or self._plausible_start_m()
        self._check_range((x_m, y_m), "the target")
        steps = max(1, math.ceil(math.dist(start_m, (x_m, y_m)) / self._step_m))
        for step in range(1, steps):
            self._write(start_m[0] + step / steps * (x_m - start_m[0]), start_m[1] + step / steps * (y_m - start_m[1]))
        self._write(x_m, y_m)
        reached_m, self._known_m = self.position_m(), None
        if not math.dist(reached_m, (x_m, y_m)) <= self._pixel_m:
            raise _position_error((x_m, y_m), reached_m, unchanged=math.dist(reached_m, start_m) <= self._pixel_m)
        self._known_m = reached_m

    def _plausible_start_m(self) -> tuple[float, float]:
        """Position read from the sensors, from which a move is planned: a wrong one would make the first step a jump."""
        found_m = self.position_m()
        self._check_range(found_m, "the tip's position by the sensors")
        again_m = self.position_m()
        if not math.dist(found_m, again_m) <= self._pixel_m:
            raise InstrumentFaultError(
                f"the sensors give {_um(found_m)} and then {_um(again_m)} as the tip's position; nothing was moved: "
                "check the sensors"
            )
        last_m = self._commanded_m
        if last_m is not None and not math.dist(found_m, last_m) <= self._step_m + self._pixel_m:
            raise InstrumentFaultError(
                f"the sensors give {_um(found_m)} as the tip's position, but it was last sent to {_um(last_m)}; "
                "nothing was moved: check the stage, then scan again"
            )
        row, col = self._frame.to_pixels(np.array([found_m]))[0]
        rows, cols = self._frame.rows * _FRAME_MARGIN, self._frame.cols * _FRAME_MARGIN
        inside = -rows <= row <= self._frame.rows + rows and -cols <= col <= self._frame.cols + cols
        if self._scanned and not inside:
            raise InstrumentFaultError(
                f"after a scan the sensors give x = {found_m[0] * 1e6:.3f}, y = {found_m[1] * 1e6:.3f} um as the tip's position, "
                "which is outside the frame; nothing was moved: check the sensors and their calibration, then scan again"
            )
        return found_m

    def _check_range(self, position_m: tuple[float, float], what: str) -> None:
        limits = self._limits
        if not (limits.x_min_m <= position_m[0] <= limits.x_max_m and limits.y_min_m <= position_m[1] <= limits.y_max_m):
            raise InstrumentFaultError(
                f"{what} is x = {position_m[0] * 1e6:.3f}, y = {position_m[1] * 1e6:.3f} um, the stage's range is "
                f"{limits.x_min_m * 1e6:g} to {limits.x_max_m * 1e6:g} and {limits.y_min_m * 1e6:g} to {limits.y_max_m * 1e6:g} "
                "um; nothing was moved: check the stage and its sensors"
            )

    def _write(self, x_m: float, y_m: float) -> None:
        self._commanded_m = x_m, y_m
        for axis, value in zip(_AXES, (x_m, y_m), strict=True):
            self._transport.execute(write_setpoint(axis, self._volts(axis, value)))

    def _volts(self, axis: Axis, value_m: float) -> float:
        return value_m / abs(self._sensitivity[axis]) + self._offset_V[axis]

    def _check_calibration(self) -> None:
        """A calibration that was read wrongly would scale all set-points."""
        limits = self._limits
        for axis, low_m, high_m in (("X", limits.x_min_m, limits.x_max_m), ("Y", limits.y_min_m, limits.y_max_m)):
            low_V, high_V = self._volts(axis, low_m), self._volts(axis, high_m)  # type: ignore[arg-type]
            if not (abs(low_V) <= _SETPOINT_MAX_V and abs(high_V) <= _SETPOINT_MAX_V):
                raise InstrumentFaultError(
                    f"by the calibration that the controller gives, {axis} from {low_m * 1e6:g} to {high_m * 1e6:g} um are "
                    f"set-points from {low_V:g} to {high_V:g} V, at most {_SETPOINT_MAX_V:g} V are possible; "
                    "check the calibration or narrow the limits"
                )

    def _calibration(self, key: str) -> float:
        value = self._transport.read(get_value(key))
        if not math.isfinite(value) or (value == 0 and key.endswith("Sens")):
            raise InstrumentFaultError(
                f"the controller gives {key} as {value}, but moving the tip needs a valid number; start its software"
            )
        return value


def check_frame(found: Frame, wanted: Frame, where: str) -> None:
    """Raise an error unless the saved frame is the one that was set, to within one pixel.

    Raises
    ------
    InstrumentFaultError
        If the numbers of lines and points differ, or the position does.
    """
    if (found.rows, found.cols) != (wanted.rows, wanted.cols):
        raise InstrumentFaultError(
            f"{where} has {found.rows} lines of {found.cols} points, but {wanted.rows} lines of {wanted.cols} were set; "
            "the setting was changed at the controller; connect again"
        )
    corners = np.array([[0.0, 0.0], [0.0, wanted.cols - 1.0], [wanted.rows - 1.0, 0.0]])
    off_m = float(np.hypot(*(found.to_metres(corners) - wanted.to_metres(corners)).T).max())
    if off_m > min(wanted.pitch_m):
        raise InstrumentFaultError(
            f"{where} lies {off_m * 1e9:.0f} nm from the frame that was set (a pixel is {min(wanted.pitch_m) * 1e9:.1f} nm); "
            "the setting was changed at the controller or cannot be reached; connect again"
        )


def _wanted_settings(settings: MFP3DSettings) -> list[tuple[str, float, float]]:
    """(key, value, tolerance) of each setting, in the order in which they are set: the rate depends on the points."""
    frame, loop, rate = settings.frame, settings.loop, settings.scan_rate_Hz
    size, pixel = max(frame.size_fast_m, frame.size_slow_m), min(frame.pitch_m)
    ratios = [("FastRatio", frame.size_fast_m / size), ("SlowRatio", frame.size_slow_m / size)]
    points = [("PointsLines", max(frame.rows, frame.cols)), ("ScanPoints", frame.cols), ("ScanLines", frame.rows)]
    turn = math.degrees(pixel / size)
    quantum = rate / decimation(rate, frame.cols) + abs(quantised_rate_Hz(rate, frame.cols) - rate)
    relative = [
        ("DriveAmplitude", settings.drive_V),
        ("DFRTFrequencyCenter", settings.centre_Hz),
        ("DFRTFrequencyWidth", settings.tone_separation_Hz),
        ("ARDoIVAmp", loop.bias_max_V),
        ("ARDoIVFrequency", loop.frequency_Hz),
        ("ARDoIVCycles", float(loop.cycles)),
    ]
    return [
        ("ScanSize", size, pixel),
        *((key, value, _DISPLAY_TOLERANCE) for key, value in ratios),
        *((key, float(value), 0.0) for key, value in points),
        ("ScanRate", rate, quantum),
        ("XOffset", frame.x_offset_m, pixel),
        ("YOffset", frame.y_offset_m, pixel),
        ("ScanAngle", math.degrees(frame.angle_rad), turn),
        *((key, value, _DISPLAY_TOLERANCE * value) for key, value in relative),
    ]


def _um(position_m: tuple[float, float]) -> str:
    return f"({position_m[0] * 1e6:.3f}, {position_m[1] * 1e6:.3f}) um"


def _position_error(target_m: tuple[float, float], reached_m: tuple[float, float], *, unchanged: bool) -> InstrumentFaultError:
    (x_m, y_m), (is_x_m, is_y_m) = target_m, reached_m
    why = (
        "it did not change, so the read-back is frozen or the command was rejected"
        if unchanged
        else ("the target was clamped, or the stage is no longer in closed loop")
    )
    return InstrumentFaultError(
        f"the tip was sent to ({x_m * 1e6:.3f}, {y_m * 1e6:.3f}) um, but the position read back is "
        f"({is_x_m * 1e6:.3f}, {is_y_m * 1e6:.3f}) um: {why}; nothing was measured; check the stage before the next point"
    )
