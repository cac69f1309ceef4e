"""Settings and positions that are sent to an MFP-3D and read back, since a rejected command is silent."""

import math

import numpy as np

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Frame
from instrument_adapters.mfp3d.igor_commands import (
    Axis,
    decimation,
    press,
    put,
    quantised_rate_Hz,
    sensor_of,
    value_of,
    write_setpoint,
)
from instrument_adapters.mfp3d.settings import MFP3DSettings
from instrument_adapters.mfp3d.transport import Transport

_AXES: tuple[Axis, Axis] = ("X", "Y")
_PRINTED = 1e-4  # relative: some values are shown with five digits
_COMMAND_S = 0.35  # no command is faster (read in a public driver)
_RETUNED_HZ = 0.2  # share of the centre frequency by which tuning may move it


class Panel:
    """The controller's settings, each confirmed by what is read back.

    Parameters
    ----------
    settings
        What to set.
    transport
        The way to the controller.
    """

    def __init__(self, settings: MFP3DSettings, transport: Transport) -> None:
        self._settings, self._transport = settings, transport

    def set_up(self) -> None:
        """Set everything, and confirm it.

        Raises
        ------
        InstrumentFaultError
            If a value does not read back as it was set.
        """
        for key, value, tolerance in _wanted(self._settings):
            self._set(key, value, tolerance)

    def retune(self) -> None:
        """Tune the probe and take over its contact resonance as centre frequency.

        Raises
        ------
        InstrumentFaultError
            If no resonance is found within a fifth of the frequency that was set.
        """
        begun_s = self._transport.elapsed_s()
        self._transport.execute(press("DoTuneDFRT"))
        self._transport.sleep(max(0.0, begun_s + self._settings.retune_s - self._transport.elapsed_s()))
        found, wanted = self._transport.read(value_of("DFRTFrequencyCenter")), self._settings.centre_Hz
        if not abs(found - wanted) <= _RETUNED_HZ * wanted:
            raise InstrumentFaultError(
                f"tuning gave a contact resonance of {found / 1e3:.1f} kHz where about {wanted / 1e3:.1f} kHz are expected; "
                "see whether the tip touches the sample"
            )

    def _set(self, key: str, value: float, tolerance: float) -> None:
        self._transport.execute(put(key, value))
        found = self._transport.read(value_of(key))
        if not abs(found - value) <= tolerance:
            raise InstrumentFaultError(
                f"{key} was set to {value:g} and reads back {found:g}: the controller rejected the command, or has no such "
                "setting; nothing was scanned or measured, so see whether its software is ready and the value allowed there"
            )


class Stage:
    """The tip's position in metres, moved by set-points in volts: V = x / abs(XLVDTSens) + XLVDTOffset, y alike.

    Parameters
    ----------
    settings
        The frame, whose pixel is the tolerance, and the fastest allowed motion.
    transport
        The way to the controller.

    Raises
    ------
    InstrumentFaultError
        If the controller does not tell its calibration.
    """

    def __init__(self, settings: MFP3DSettings, transport: Transport) -> None:
        self._transport = transport
        self._pixel_m = min(settings.frame.pitch_m)
        self._step_m = settings.speed_max_m_per_s * _COMMAND_S
        self._last_m: tuple[float, float] | None = None
        self._sensitivity, self._offset_V = (
            {axis: self._calibration(f"{axis}LVDT{what}") for axis in _AXES} for what in ("Sens", "Offset")
        )

    def position_m(self) -> tuple[float, float]:
        """Where the sensors say that the tip is, (x, y) in metres."""
        x_m, y_m = (
            (self._transport.read(sensor_of(axis)) - self._offset_V[axis]) * abs(self._sensitivity[axis]) for axis in _AXES
        )
        return x_m, y_m

    def scanned(self) -> None:
        """The tip has been elsewhere since the last move."""
        self._last_m = None

    def go_to(self, x_m: float, y_m: float) -> None:
        """Move the tip in a straight line, in steps that keep to the allowed speed, and confirm that it is there.

        Raises
        ------
        InstrumentFaultError
            If the position that is read back is not the target to within one pixel.
        """
        was_m = self._last_m or self.position_m()
        if not all(map(math.isfinite, was_m)):
            raise InstrumentFaultError(f"the sensors give {was_m} as the tip's position; nothing was moved, see to the stage")
        steps = max(1, math.ceil(math.dist(was_m, (x_m, y_m)) / self._step_m))
        for step in range(1, steps):
            self._write(was_m[0] + step / steps * (x_m - was_m[0]), was_m[1] + step / steps * (y_m - was_m[1]))
        self._write(x_m, y_m)
        is_m, self._last_m = self.position_m(), None
        if not math.dist(is_m, (x_m, y_m)) <= self._pixel_m:
            raise _lost((x_m, y_m), is_m, stood_still=math.dist(is_m, was_m) <= self._pixel_m)
        self._last_m = is_m

    def _write(self, x_m: float, y_m: float) -> None:
        for axis, value in zip(_AXES, (x_m, y_m), strict=True):
            volts = value / abs(self._sensitivity[axis]) + self._offset_V[axis]
            self._transport.execute(write_setpoint(axis, volts))

    def _calibration(self, key: str) -> float:
        value = self._transport.read(value_of(key))
        if not math.isfinite(value) or (value == 0 and key.endswith("Sens")):
            raise InstrumentFaultError(
                f"the controller gives {key} as {value}, a number is needed to move the tip; start its software"
            )
        return value


def check_frame(found: Frame, wanted: Frame, where: str) -> None:
    """Do nothing, if the frame that was saved is the one that was asked for, to within one pixel.

    Raises
    ------
    InstrumentFaultError
        If it has other lines and points, or lies elsewhere.
    """
    if (found.rows, found.cols) != (wanted.rows, wanted.cols):
        raise InstrumentFaultError(
            f"{where} has {found.rows} lines of {found.cols} points, {wanted.rows} of {wanted.cols} were set; "
            "the setting was changed at the controller, so connect again"
        )
    corners = np.array([[0.0, 0.0], [0.0, wanted.cols - 1.0], [wanted.rows - 1.0, 0.0]])
    off_m = float(np.hypot(*(found.to_metres(corners) - wanted.to_metres(corners)).T).max())
    if off_m > min(wanted.pitch_m):
        raise InstrumentFaultError(
            f"{where} lies {off_m * 1e9:.0f} nm beside the frame that was set, a pixel is {min(wanted.pitch_m) * 1e9:.1f} nm; "
            "the setting was changed at the controller or could not be reached, so connect again"
        )


def _wanted(settings: MFP3DSettings) -> list[tuple[str, float, float]]:
    """(key, value, how far what is read back may be off) in the order of setting: the rate depends on the points."""
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
        *((key, value, _PRINTED) for key, value in ratios),
        *((key, float(value), 0.0) for key, value in points),
        ("ScanRate", rate, quantum),
        ("XOffset", frame.x_offset_m, pixel),
        ("YOffset", frame.y_offset_m, pixel),
        ("ScanAngle", math.degrees(frame.angle_rad), turn),
        *((key, value, _PRINTED * value) for key, value in relative),
    ]


def _lost(target_m: tuple[float, float], is_m: tuple[float, float], *, stood_still: bool) -> InstrumentFaultError:
    (x_m, y_m), (is_x_m, is_y_m) = target_m, is_m
    why = (
        "it did not change, so the read-back is frozen or the command was rejected"
        if stood_still
        else ("the target was clamped, or the stage has lost its closed loop")
    )
    return InstrumentFaultError(
        f"the tip was sent to ({x_m * 1e6:.3f}, {y_m * 1e6:.3f}) um and the position that is read back is "
        f"({is_x_m * 1e6:.3f}, {is_y_m * 1e6:.3f}) um: {why}; nothing was measured, see to the stage before the next point"
    )
