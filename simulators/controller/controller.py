"""A simulated MFP-3D controller: executes Igor commands in simulated time, saves files, and rejects commands silently."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Frame
from simulators.controller.files import FileWriter
from simulators.controller.language import Move, Press, RejectedError, SetValue, parse_command, parse_expression
from simulators.controller.panel import ControllerPanel
from simulators.controller.records import frame_scan, loop_note
from simulators.errors import InterruptedWaitError
from simulators.faults.quirks import Quirks
from simulators.microscope import Microscope
from simulators.physics.dart import DartRecording

_SLACK_S = 1e-9  # simulated times are sums of floats


@dataclass(frozen=True)
class Rejection:
    """A command that was not executed: simulated time, text, and reason."""

    at_s: float
    text: str
    reason: str


@dataclass(frozen=True)
class Task:
    """Task that keeps the controller busy until `due_s`: a scan of several lines, a loop or a tuning."""

    name: str
    begun_s: float
    due_s: float
    finish: Callable[[], None]
    lines: int = 1


class Controller:
    """Simulated controller: takes the driver's commands and operates the simulated microscope.

    Commands act at once; a scan, a loop or a tuning proceeds while time passes (`run`). New offsets, sizes and angles take effect
    with the next scan, set-points move the tip at once.

    Parameters
    ----------
    microscope
        Sample, probe and stage.
    folder
        Folder to which files are saved.
    quirks
        Present misbehaviour of controller and files; none by default.
    """

    def __init__(self, microscope: Microscope, folder: Path, quirks: Quirks | None = None) -> None:
        config = microscope.config
        self.microscope, self.clock = microscope, microscope.clock
        self._first_number = config.first_scan
        self.quirks = quirks or Quirks()
        self.panel = ControllerPanel(config, config.first_scan)
        self.file_writer = FileWriter(folder, self.quirks, traps=config.file_traps)
        self.rejected: list[Rejection] = []
        self.last_recording: DartRecording | None = None
        self.withdrawn = False
        self._tip_m = [config.frame.x_offset_m, config.frame.y_offset_m]
        self._readback_m = list(self._tip_m)
        self._task: Task | None = None

    def execute(self, text: str) -> None:
        """Execute a command; a rejected one has no effect and gives no error."""
        self._finish_due()
        try:
            match parse_command(text):
                case SetValue() as command:
                    self.panel.set_value(command)
                case Move(axis, volts):
                    self._move(axis, volts)
                case Press(button):
                    self._press(button)
        except RejectedError as error:
            self.rejected.append(Rejection(self.clock.elapsed_s, text, str(error)))

    def read(self, expression: str) -> float:
        """Value of an expression; NaN if it is unknown."""
        self._finish_due()
        try:
            match parse_expression(expression):
                case "GV", key:
                    return self.panel.values.get(key, math.nan)
                case "td_ReadValue", ("XSensor" | "YSensor") as sensor:
                    axis = "XY".index(sensor[0])
                    return self.panel.to_volts(axis, self._readback_m[axis])
        except RejectedError as error:
            self.rejected.append(Rejection(self.clock.elapsed_s, expression, str(error)))
        return math.nan

    def run(self, seconds: float) -> None:
        """Advance the clock and complete the tasks and files that become due.

        Raises
        ------
        InstrumentFaultError
            If the clock was stopped or halted; a scan under way is lost.
        """
        end_s = self.clock.elapsed_s + seconds
        while True:
            now_s = self.clock.elapsed_s
            try:
                self.clock.advance(max(0.0, min([end_s, *self._events()]) - now_s))
            except InterruptedWaitError as error:
                self._lose_scan(now_s, error)
                raise
            self._finish_due()
            if self.clock.elapsed_s >= end_s - _SLACK_S:
                return

    def _events(self) -> list[float]:
        """Simulated times of the next events: the end of a line or of the task, and the completion of files."""
        times_s = self.file_writer.due_s
        task = self._task
        if task is not None:
            line_s = (task.due_s - task.begun_s) / task.lines
            line = math.floor((self.clock.elapsed_s - task.begun_s + _SLACK_S) / line_s) + 1
            times_s.append(task.begun_s + line * line_s if line < task.lines else task.due_s)
        return times_s

    def _finish_due(self) -> None:
        now_s = self.clock.elapsed_s + _SLACK_S
        if self._task is not None and self._task.due_s <= now_s:
            task, self._task = self._task, None
            task.finish()
        self.file_writer.finish_due(now_s)

    def _lose_scan(self, now_s: float, error: InterruptedWaitError) -> None:
        task, self._task = self._task, None
        if task is not None and task.name == "scan":
            done = math.floor((now_s - task.begun_s + _SLACK_S) / (task.due_s - task.begun_s) * task.lines)
            raise InstrumentFaultError(f"the scan was stopped after {done} of {task.lines} lines and is lost: {error}") from error

    def _press(self, button: str) -> None:
        if button == "StopScan":
            self._task = None if self._task is not None and self._task.name == "scan" else self._task
            return
        if button == "ClearForce":
            self._task = None if self._task is not None and self._task.name != "scan" else self._task
            self.withdrawn = True
            return
        if self._task is not None:
            raise RejectedError(f"{button} was pressed during a {self._task.name}")
        if button in {"DownScan", "UpScan"}:
            self._begin_scan(scan_down=button == "DownScan")
        elif button == "SingleForce":
            self._begin_loop()
        elif button == "DoTuneDFRT":
            self._begin("tune", self.microscope.config.timing.retune_s, self._finish_tuning)
        elif button == "GoForce":
            # The simulation never picks force spots; with an empty list "go there" means the centre of the frame.
            self._set_position(0, self.panel.values["XOffset"])
            self._set_position(1, self.panel.values["YOffset"])

    def _begin(self, name: str, seconds: float, finish: Callable[[], None], lines: int = 1) -> None:
        now_s = self.clock.elapsed_s
        self._task = Task(name, now_s, now_s + seconds, finish, lines)
        self.withdrawn = False

    def _begin_scan(self, *, scan_down: bool) -> None:
        frame, rate_Hz = self._reachable_frame(self.panel.frame()), self.panel.values["ScanRate"]
        self._apply_panel_values()
        recording = self.microscope.record(frame, scan_rate_Hz=rate_Hz, scan_down=scan_down, wait=False)
        seconds = frame.rows / rate_Hz
        ends_s = self.clock.elapsed_s + seconds

        def finish() -> None:
            self.last_recording = recording
            last = frame.to_metres(np.array([[0.0 if scan_down else frame.rows - 1.0, 0.0]]))[0]
            for axis in (0, 1):
                self._set_position(axis, float(last[axis]))
            if self.quirks.stale:
                return
            number = self._next_number()
            config = self.microscope.config
            scan = frame_scan(recording, frame, config, rate_Hz=rate_Hz, scan_down=scan_down, number=number, at_s=ends_s)
            self.file_writer.save_frame(scan, number, ends_s)

        self._begin("scan", seconds, finish, frame.rows)

    def _begin_loop(self) -> None:
        values = self.panel.values
        seconds = values["ARDoIVCycles"] / values["ARDoIVFrequency"]
        self._apply_panel_values()
        loop = self.microscope.loop_at(*self._tip_m, wait=False)
        note = loop_note(self.panel.values)
        ends_s = self.clock.elapsed_s + seconds
        self._begin("loop", seconds, lambda: self.file_writer.save_loop(loop, note, ends_s))

    def _finish_tuning(self) -> None:
        resonance_Hz = self.microscope.config.dart.resonance_Hz + self.microscope.probe.resonance_shift_Hz
        self.panel.values["DFRTFrequencyCenter"] = resonance_Hz

    def _apply_panel_values(self) -> None:
        """Apply the drive, tone separation and bias that are set on the panels to the physics."""
        config, values = self.microscope.config, self.panel.values
        present = (config.dart.drive_V, config.dart.tone_separation_Hz, config.spectroscopy.bias_max_V)
        wanted = (values["DriveAmplitude"], values["DFRTFrequencyWidth"], values["ARDoIVAmp"])
        if present != wanted:
            dart = config.dart.model_copy(update={"drive_V": wanted[0], "tone_separation_Hz": wanted[1]})
            spectroscopy = config.spectroscopy.model_copy(update={"bias_max_V": wanted[2]})
            self.microscope.config = config.model_copy(update={"dart": dart, "spectroscopy": spectroscopy})

    def _next_number(self) -> int:
        number = int(self.panel.values["BaseSuffix"])
        if self.quirks.repeated_id and number > self._first_number:
            return number - 1
        self.panel.values["BaseSuffix"] = number + 1.0
        return number

    def _reachable_frame(self, frame: Frame) -> Frame:
        """The frame that the stage can reach: the set one, or with `silent_clamp` the nearest one within its range."""
        rows, cols = frame.rows - 1.0, frame.cols - 1.0
        corners = frame.to_metres(np.array([[0, 0], [0, cols], [rows, 0], [rows, cols]]))
        half = self.quirks.half_range_m
        if np.abs(corners).max() <= half:
            return frame
        if not self.quirks.silent_clamp:
            raise RejectedError(f"the frame extends beyond {half * 1e6:g} um, the end of the stage's range")
        reach = np.maximum(half - np.ptp(corners, axis=0) / 2, 0.0)
        x_m, y_m = np.clip((frame.x_offset_m, frame.y_offset_m), -reach, reach)
        return frame.model_copy(update={"x_offset_m": float(x_m), "y_offset_m": float(y_m)})

    def _move(self, axis: int, volts: float) -> None:
        if self._task is not None:
            raise RejectedError(f"a set-point was written during a {self._task.name}")
        target_m, half = self.panel.to_metres(axis, volts), self.quirks.half_range_m
        if abs(target_m) > half and not self.quirks.silent_clamp:
            raise RejectedError(f"the set-point lies beyond {half * 1e6:g} um, the end of the stage's range")
        self._set_position(axis, min(max(target_m, -half), half))

    def _set_position(self, axis: int, at_m: float) -> None:
        self._tip_m[axis] = at_m
        if not self.quirks.frozen_position:
            self._readback_m[axis] = at_m
