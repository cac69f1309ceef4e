"""A simulated MFP-3D controller: it obeys Igor text, takes its time, saves files, and never says why it did nothing."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Frame
from simulators.controller.files import Saving
from simulators.controller.language import Move, Press, Put, RejectedError, asked_for, understand
from simulators.controller.panel import ControllerPanel
from simulators.controller.records import frame_scan, loop_note
from simulators.errors import InterruptedWaitError
from simulators.faults.quirks import Quirks
from simulators.microscope import Microscope
from simulators.physics.dart import Recording

_SLACK_S = 1e-9  # simulated times are sums of floats


@dataclass(frozen=True)
class Rejection:
    """A command that was not carried out: when, its text, and why."""

    at_s: float
    text: str
    reason: str


@dataclass(frozen=True)
class Task:
    """What the controller is busy with until `due_s`; a scan has lines."""

    name: str
    begun_s: float
    due_s: float
    finish: Callable[[], None]
    lines: int = 1


class Controller:
    """What stands between the driver and the physics.

    Commands act at once and a scan, a loop or a tune goes on while time passes (`run`). New offsets, sizes and angles are
    adopted by the next scan; set-points act on the tip.

    Parameters
    ----------
    microscope
        Sample, probe and stage.
    folder
        Where files are saved.
    quirks
        What is wrong at the moment; nothing by default.
    """

    def __init__(self, microscope: Microscope, folder: Path, quirks: Quirks | None = None) -> None:
        config = microscope.config
        self.microscope, self.clock = microscope, microscope.clock
        self._first_number = config.first_scan
        self.quirks = quirks or Quirks()
        self.panel = ControllerPanel(config, config.first_scan)
        self.saving = Saving(folder, self.quirks, traps=config.file_traps)
        self.rejected: list[Rejection] = []
        self.last_recording: Recording | None = None
        self.withdrawn = False
        self._tip_m = [config.frame.x_offset_m, config.frame.y_offset_m]
        self._shown_m = list(self._tip_m)
        self._task: Task | None = None

    def obey(self, text: str) -> None:
        """Carry out a command, or do nothing and say nothing."""
        self._settle()
        try:
            match understand(text):
                case Put() as put:
                    self.panel.put(put)
                case Move(axis, volts):
                    self._move(axis, volts)
                case Press(button):
                    self._press(button)
        except RejectedError as error:
            self.rejected.append(Rejection(self.clock.elapsed_s, text, str(error)))

    def answer(self, expression: str) -> float:
        """Value of an expression; NaN where there is none."""
        self._settle()
        try:
            match asked_for(expression):
                case "GV", key:
                    return self.panel.values.get(key, math.nan)
                case "td_ReadValue", ("XSensor" | "YSensor") as sensor:
                    axis = "XY".index(sensor[0])
                    return self.panel.to_volts(axis, self._shown_m[axis])
        except RejectedError as error:
            self.rejected.append(Rejection(self.clock.elapsed_s, expression, str(error)))
        return math.nan

    def run(self, seconds: float) -> None:
        """Let time pass.

        Raises
        ------
        InstrumentFaultError
            If the clock was stopped; a scan under way is lost.
        """
        end_s = self.clock.elapsed_s + seconds
        while True:
            now_s = self.clock.elapsed_s
            try:
                self.clock.advance(max(0.0, min([end_s, *self._events()]) - now_s))
            except InterruptedWaitError as error:
                self._lose_scan(now_s, error)
                raise
            self._settle()
            if self.clock.elapsed_s >= end_s - _SLACK_S:
                return

    def _events(self) -> list[float]:
        """Simulated times at which something happens: the end of a line or of the task, a file that becomes complete."""
        later = self.saving.due_s
        task = self._task
        if task is not None:
            line_s = (task.due_s - task.begun_s) / task.lines
            line = math.floor((self.clock.elapsed_s - task.begun_s + _SLACK_S) / line_s) + 1
            later.append(task.begun_s + line * line_s if line < task.lines else task.due_s)
        return later

    def _settle(self) -> None:
        now_s = self.clock.elapsed_s + _SLACK_S
        if self._task is not None and self._task.due_s <= now_s:
            task, self._task = self._task, None
            task.finish()
        self.saving.settle(now_s)

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
            raise RejectedError(f"{button} came during a {self._task.name}")
        if button in {"DownScan", "UpScan"}:
            self._begin_scan(scan_down=button == "DownScan")
        elif button == "SingleForce":
            self._begin_loop()
        elif button == "DoTuneDFRT":
            self._begin("tune", self.microscope.config.timing.retune_s, self._tuned)
        elif button == "GoForce":
            # No force spots are ever picked in here, and with an empty list "go there" is the centre of the frame.
            self._arrive(0, self.panel.values["XOffset"])
            self._arrive(1, self.panel.values["YOffset"])

    def _begin(self, name: str, seconds: float, finish: Callable[[], None], lines: int = 1) -> None:
        now_s = self.clock.elapsed_s
        self._task = Task(name, now_s, now_s + seconds, finish, lines)
        self.withdrawn = False

    def _begin_scan(self, *, scan_down: bool) -> None:
        frame, rate_Hz = self._reachable(self.panel.frame()), self.panel.values["ScanRate"]
        self._adopt()
        recording = self.microscope.record(frame, scan_rate_Hz=rate_Hz, scan_down=scan_down, wait=False)
        seconds = frame.rows / rate_Hz
        ends_s = self.clock.elapsed_s + seconds

        def finish() -> None:
            self.last_recording = recording
            last = frame.to_metres(np.array([[0.0 if scan_down else frame.rows - 1.0, 0.0]]))[0]
            for axis in (0, 1):
                self._arrive(axis, float(last[axis]))
            if self.quirks.stale:
                return
            number = self._next_number()
            config = self.microscope.config
            scan = frame_scan(recording, frame, config, rate_Hz=rate_Hz, scan_down=scan_down, number=number, at_s=ends_s)
            self.saving.save_frame(scan, number, ends_s)

        self._begin("scan", seconds, finish, frame.rows)

    def _begin_loop(self) -> None:
        see = self.panel.values
        seconds = see["ARDoIVCycles"] / see["ARDoIVFrequency"]
        self._adopt()
        loop = self.microscope.loop_at(*self._tip_m, wait=False)
        note = loop_note(self.panel.values)
        ends_s = self.clock.elapsed_s + seconds
        self._begin("loop", seconds, lambda: self.saving.save_loop(loop, note, ends_s))

    def _tuned(self) -> None:
        resonance_Hz = self.microscope.config.dart.resonance_Hz + self.microscope.probe.resonance_shift_Hz
        self.panel.values["DFRTFrequencyCenter"] = resonance_Hz

    def _adopt(self) -> None:
        """Let the physics follow what stands on the panels."""
        config, see = self.microscope.config, self.panel.values
        now = (config.dart.drive_V, config.dart.tone_separation_Hz, config.spectroscopy.bias_max_V)
        wanted = (see["DriveAmplitude"], see["DFRTFrequencyWidth"], see["ARDoIVAmp"])
        if now != wanted:
            dart = config.dart.model_copy(update={"drive_V": wanted[0], "tone_separation_Hz": wanted[1]})
            spectroscopy = config.spectroscopy.model_copy(update={"bias_max_V": wanted[2]})
            self.microscope.config = config.model_copy(update={"dart": dart, "spectroscopy": spectroscopy})

    def _next_number(self) -> int:
        number = int(self.panel.values["BaseSuffix"])
        if self.quirks.repeated_id and number > self._first_number:
            return number - 1
        self.panel.values["BaseSuffix"] = number + 1.0
        return number

    def _reachable(self, frame: Frame) -> Frame:
        """The frame that the stage can really scan: the one that is set, or with `silent_clamp` one at the edge of its range."""
        rows, cols = frame.rows - 1.0, frame.cols - 1.0
        corners = frame.to_metres(np.array([[0, 0], [0, cols], [rows, 0], [rows, cols]]))
        half = self.quirks.half_range_m
        if np.abs(corners).max() <= half:
            return frame
        if not self.quirks.silent_clamp:
            raise RejectedError(f"the frame reaches beyond {half * 1e6:g} um, where the stage ends")
        reach = np.maximum(half - np.ptp(corners, axis=0) / 2, 0.0)
        x_m, y_m = np.clip((frame.x_offset_m, frame.y_offset_m), -reach, reach)
        return frame.model_copy(update={"x_offset_m": float(x_m), "y_offset_m": float(y_m)})

    def _move(self, axis: int, volts: float) -> None:
        if self._task is not None:
            raise RejectedError(f"a set-point came during a {self._task.name}")
        target_m, half = self.panel.to_metres(axis, volts), self.quirks.half_range_m
        if abs(target_m) > half and not self.quirks.silent_clamp:
            raise RejectedError(f"the set-point lies beyond {half * 1e6:g} um, where the stage ends")
        self._arrive(axis, min(max(target_m, -half), half))

    def _arrive(self, axis: int, at_m: float) -> None:
        self._tip_m[axis] = at_m
        if not self.quirks.frozen_position:
            self._shown_m[axis] = at_m
