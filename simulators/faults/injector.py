"""The faults of one instrument while it works: what befalls the frame and the point that come next, and the record of it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.errors import UnknownFaultError
from simulators.faults.catalogue import FAULTS, Group, Value
from simulators.faults.frame_faults import alteration
from simulators.faults.message_faults import Action, Trick
from simulators.faults.probe_faults import befall_lines, touched
from simulators.faults.quirks import Quirks
from simulators.faults.schedule import FaultSchedule, Injection
from simulators.faults.sealed_log import SealedEntry, SealedLog
from simulators.physics.probe import LineStates
from simulators.sample.domains import DomainState
from simulators.sample.surface import Surface

_TRICKS: Mapping[str, Action] = {"disconnect_mid_scan": "cut", "lost_ack": "drop_answer", "replayed_message": "repeat"}
MESSAGE_FAULTS = frozenset(_TRICKS)
_OF_A_FRAME = ("altered", "spoiled", "saving_s", "stale", "repeated_id")
_OF_THE_STAGE = ("frozen_position", "silent_clamp", "half_range_m")


class FaultInjector:
    """A schedule at work; by default nothing goes wrong. One instrument only may use it.

    Parameters
    ----------
    schedule
        What goes wrong when.
    log
        What is told of it; a new one in memory by default.
    quirks
        What is wrong with controller and files at the moment: what the schedule says, beside what is wrong with them anyway.
    arm
        Hands a trick to the connection to the agent. Without a connection, random faults of messages do not happen.

    Attributes
    ----------
    quirks, log
        As given.

    Raises
    ------
    UnknownFaultError
        If a message's fault was asked for and there is no connection.
    """

    def __init__(
        self,
        schedule: FaultSchedule | None = None,
        *,
        log: SealedLog | None = None,
        quirks: Quirks | None = None,
        arm: Callable[[Trick], None] | None = None,
    ) -> None:
        self._schedule = schedule or FaultSchedule()
        if arm is None and (wanted := sorted({one.name for one in self._schedule.injections} & set(_TRICKS))):
            raise UnknownFaultError(f"{wanted[0]} was asked for without a connection to befall; give `arm` of a FaultyLink")
        self.quirks = quirks or Quirks()
        self.log = log or SealedLog()
        self._arm = arm
        self._clock = SimulatedClock()
        self._scan: int | None = None
        self._point = self._readied = 0
        self._before: dict[str, object] = {}

    def begin(self, clock: SimulatedClock, frame: Frame) -> None:
        """Go by an instrument's clock, with the stage over a frame."""
        self._clock, self._frame = clock, frame

    def before_frame(
        self, surface: Surface, lines: LineStates, frame: Frame, *, number: int, since_start: int, scan_down: bool, line_s: float
    ) -> Surface:
        """The sample under the frame that is to be recorded now; the condition of its lines is changed in place.

        Parameters
        ----------
        surface, lines
            As they are without what befalls them now.
        frame, scan_down, line_s
            What will be recorded, and how long a line takes.
        number, since_start
            Of the frame, from `first_scan` on and since the start of the instrument.
        """
        self._scan, self._frame = number, frame
        self._undo(*_OF_A_FRAME, *_OF_THE_STAGE)
        cases = self._schedule.at_scan(number, lines=frame.rows, since_start=since_start)
        for case in cases:
            self._happen(case, scan_down=scan_down, line_s=line_s)
            surface = _written(case, surface, frame)
        self._ready_for_a_point()
        befall_lines(lines, frame, scan_down=scan_down, cases=cases)
        return surface

    def before_point(self, surface: Surface) -> Surface:
        """The sample under the point that is to be measured now; the stage has gone there."""
        self._point += 1
        self._undo(*_OF_A_FRAME)
        for case in self._schedule.at_point(self._point):
            if case.fault.group is not Group.MOTION:
                self._happen(case)
                surface = _written(case, surface, self._frame)
        return surface

    def after_point(self) -> None:
        """Let the stage do what it will do at the next point."""
        self._ready_for_a_point()

    def probe_changed(self) -> None:
        """Record that what lasts has ended."""
        self.log.add(SealedEntry(fault="probe_change", group=Group.PROBE, simulated_s=self._clock.elapsed_s, scan=self._scan))

    def _ready_for_a_point(self) -> None:
        """What befalls the stage at the next point begins before anybody sends it there."""
        if self._readied <= self._point:
            self._readied = self._point + 1
            for case in self._schedule.at_point(self._readied):
                if case.fault.group is Group.MOTION:
                    self._happen(case)

    def _happen(self, case: Injection, *, scan_down: bool = True, line_s: float = 0.0) -> None:
        """Record a case, and set what is wrong with controller, files or connection because of it."""
        if case.name in _TRICKS:
            self._arm_trick(case)
            return
        lines = None if case.line is None else touched(case, self._frame.rows)
        rows = None if lines is None else _rows(lines, self._frame.rows, scan_down=scan_down)
        self.log.add(self._entry(case, self._clock.elapsed_s + (case.line or 0) * line_s, lines, rows))
        self._alter(alteration(case.name, case.parameters, rows or slice(None)))
        self._set_quirk(case.name, case.parameters)

    def _entry(self, case: Injection, simulated_s: float, lines: slice | None = None, rows: slice | None = None) -> SealedEntry:
        return SealedEntry(
            fault=case.name,
            group=FAULTS[case.name].group,
            simulated_s=simulated_s,
            scan=self._scan,
            point=case.point,
            lines=None if lines is None else (lines.start, lines.stop - 1),
            rows=None if rows is None else (rows.start, rows.stop - 1),
            parameters=case.parameters,
        )

    def _arm_trick(self, case: Injection) -> None:
        if self._arm is None:
            return
        entry = self._entry(case, 0.0)

        def done(facts: Mapping[str, Value]) -> None:
            now = {"simulated_s": self._clock.elapsed_s, "parameters": {**entry.parameters, **facts}}
            self.log.add(entry.model_copy(update=now))

        self._arm(_trick(case, done))

    def _set_quirk(self, name: str, parameters: Mapping[str, Value]) -> None:
        match name:
            case "truncated_file":
                self._put("spoiled", partial(_cut_short, share=float(parameters["share"])))
            case "file_still_being_written":
                self._put("saving_s", float(parameters["saving_s"]))
            case "stale_newest_file":
                self._put("stale", True)
            case "duplicate_scan_id":
                self._put("repeated_id", True)
            case "frozen_position":
                self._put("frozen_position", True)
            case "silent_clamp":
                self._put("silent_clamp", True)
                self._put("half_range_m", _half_range_m(self._frame, float(parameters["reach"])))

    def _alter(self, alter: Callable[[Scan], Scan] | None) -> None:
        if alter is not None:
            before = self.quirks.altered
            self._put("altered", alter if before is None else partial(_in_turn, [before, alter]))

    def _put(self, quirk: str, value: object) -> None:
        """Set a quirk, and remember what it was."""
        self._before.setdefault(quirk, getattr(self.quirks, quirk))
        setattr(self.quirks, quirk, value)

    def _undo(self, *quirks: str) -> None:
        """Let quirks that were set here be what they were."""
        for quirk in quirks:
            if quirk in self._before:
                setattr(self.quirks, quirk, self._before.pop(quirk))


def _trick(case: Injection, done: Callable[[Mapping[str, Value]], None]) -> Trick:
    parameters = case.parameters
    return Trick(
        _TRICKS[case.name],
        message=str(parameters.get("message", "scan")),
        share=float(parameters.get("share", 1.0)),
        down_s=float(parameters.get("down_s", 0.0)),
        later=int(parameters.get("later", 0)),
        done=done,
    )


def _rows(lines: slice, rows: int, *, scan_down: bool) -> slice:
    """Rows of the image that were recorded as `lines`."""
    return slice(rows - lines.stop, rows - lines.start) if scan_down else lines


def _half_range_m(frame: Frame, reach: float) -> float:
    """Range of a stage that covers the frame as far as the share `reach` from the edge that lies nearest to its centre."""
    corners = frame.to_metres(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]) * (frame.rows - 1, frame.cols - 1))
    axis = int(np.abs(corners).max(axis=0).argmax())
    low, high = float(corners[:, axis].min()), float(corners[:, axis].max())
    far, near = max(abs(low), abs(high)), 0.0 if low < 0 < high else min(abs(low), abs(high))
    return near + reach * (far - near)


def _written(case: Injection, surface: Surface, frame: Frame) -> Surface:
    """The sample with what a case writes on it."""
    if FAULTS[case.name].group is not Group.SAMPLE:
        return surface
    parameters = case.parameters
    shares = np.array([[float(parameters["row_share"]), float(parameters["col_share"])]])
    x_m, y_m = (float(value) for value in frame.to_metres(shares * (frame.rows - 1, frame.cols - 1))[0])
    state = DomainState[str(parameters["state"])]
    if case.name == "written_box":
        return surface.with_box(x_m, y_m, float(parameters["side_m"]), state)
    return surface.with_spot(x_m, y_m, float(parameters["radius_m"]), state)


def _cut_short(raw: bytes, share: float) -> bytes:
    return raw[: int(share * len(raw))]


def _in_turn(steps: Sequence[Callable[[Scan], Scan]], scan: Scan) -> Scan:
    for step in steps:
        scan = step(scan)
    return scan
