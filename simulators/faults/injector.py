"""Applies and logs the scheduled faults of one instrument."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.errors import UnknownFaultError
from simulators.faults.catalogue import FAULTS, Group, Value
from simulators.faults.frame_faults import frame_alteration
from simulators.faults.message_faults import Action, MessageFault
from simulators.faults.probe_faults import affected_lines, apply_probe_faults
from simulators.faults.quirks import Quirks
from simulators.faults.schedule import FaultSchedule, Injection
from simulators.faults.sealed_log import SealedEntry, SealedLog
from simulators.physics.probe import LineStates
from simulators.sample.domains import DomainState
from simulators.sample.surface import Surface

_MESSAGE_ACTIONS: Mapping[str, Action] = {"disconnect_mid_scan": "cut", "lost_ack": "drop_answer", "replayed_message": "repeat"}
MESSAGE_FAULTS = frozenset(_MESSAGE_ACTIONS)
_FRAME_QUIRKS = ("altered", "spoiled", "saving_s", "stale", "repeated_id")
_STAGE_QUIRKS = ("frozen_position", "silent_clamp", "half_range_m")


class FaultInjector:
    """Injector of the faults of one instrument; without a schedule there are none.

    Parameters
    ----------
    schedule
        Schedule of the faults.
    log
        Sealed log of the faults that occurred; by default a new one in memory.
    quirks
        Permanent misbehaviour of controller and files, to which the schedule adds.
    arm
        Function that arms a message fault at the connection to the agent. Without it, random faults of messages do not occur.

    Attributes
    ----------
    quirks, log
        Present misbehaviour, and the sealed log.

    Raises
    ------
    UnknownFaultError
        If a fault of a message was requested without `arm`.
    """

    def __init__(
        self,
        schedule: FaultSchedule | None = None,
        *,
        log: SealedLog | None = None,
        quirks: Quirks | None = None,
        arm: Callable[[MessageFault], None] | None = None,
    ) -> None:
        self._schedule = schedule or FaultSchedule()
        if arm is None and (wanted := sorted({one.name for one in self._schedule.injections} & set(_MESSAGE_ACTIONS))):
            raise UnknownFaultError(f"{wanted[0]} was requested without a connection; give `arm` of a FaultyConnection")
        self.quirks = quirks or Quirks()
        self.log = log or SealedLog()
        self._arm = arm
        self._clock = SimulatedClock()
        self._scan: int | None = None
        self._point = self._prepared_point = 0
        self._originals: dict[str, object] = {}

    def begin(self, clock: SimulatedClock, frame: Frame) -> None:
        """Start with the clock of an instrument and its frame."""
        self._clock, self._frame = clock, frame

    def before_frame(
        self, surface: Surface, lines: LineStates, frame: Frame, *, number: int, since_start: int, scan_down: bool, line_s: float
    ) -> Surface:
        """Apply the faults of the frame about to be recorded and return the sample; `lines` is changed in place.

        Parameters
        ----------
        surface, lines
            Sample, and condition of the probe on each line, before the faults.
        frame, scan_down, line_s
            Frame to record, slow direction, and duration of a line in simulated seconds.
        number, since_start
            Number of the frame, counted from `first_scan` and from the start of the instrument.
        """
        self._scan, self._frame = number, frame
        self._restore(*_FRAME_QUIRKS, *_STAGE_QUIRKS)
        cases = self._schedule.at_scan(number, lines=frame.rows, since_start=since_start)
        for case in cases:
            self._apply(case, scan_down=scan_down, line_s=line_s)
            surface = _with_written_domain(case, surface, frame)
        self._prepare_next_point()
        apply_probe_faults(lines, frame, scan_down=scan_down, cases=cases)
        return surface

    def before_point(self, surface: Surface) -> Surface:
        """Apply the faults of the point about to be measured and return the sample; the stage has already moved."""
        self._point += 1
        self._restore(*_FRAME_QUIRKS)
        for case in self._schedule.at_point(self._point):
            if case.fault.group is not Group.MOTION:
                self._apply(case)
                surface = _with_written_domain(case, surface, self._frame)
        return surface

    def after_point(self) -> None:
        """Apply the stage faults of the next point."""
        self._prepare_next_point()

    def probe_changed(self) -> None:
        """Log that the lasting faults of the probe have ended."""
        self.log.add(SealedEntry(fault="probe_change", group=Group.PROBE, simulated_s=self._clock.elapsed_s, scan=self._scan))

    def _prepare_next_point(self) -> None:
        """Apply the stage faults of the next point, which must act before the stage is moved there."""
        if self._prepared_point <= self._point:
            self._prepared_point = self._point + 1
            for case in self._schedule.at_point(self._prepared_point):
                if case.fault.group is Group.MOTION:
                    self._apply(case)

    def _apply(self, case: Injection, *, scan_down: bool = True, line_s: float = 0.0) -> None:
        """Log a fault and apply its effect on controller, files or connection."""
        if case.name in _MESSAGE_ACTIONS:
            self._arm_message_fault(case)
            return
        lines = None if case.line is None else affected_lines(case, self._frame.rows)
        rows = None if lines is None else _rows(lines, self._frame.rows, scan_down=scan_down)
        self.log.add(self._entry(case, self._clock.elapsed_s + (case.line or 0) * line_s, lines, rows))
        self._alter(frame_alteration(case.name, case.parameters, rows or slice(None)))
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

    def _arm_message_fault(self, case: Injection) -> None:
        if self._arm is None:
            return
        entry = self._entry(case, 0.0)

        def done(facts: Mapping[str, Value]) -> None:
            now = {"simulated_s": self._clock.elapsed_s, "parameters": {**entry.parameters, **facts}}
            self.log.add(entry.model_copy(update=now))

        self._arm(_message_fault(case, done))

    def _set_quirk(self, name: str, parameters: Mapping[str, Value]) -> None:
        match name:
            case "truncated_file":
                self._set_quirk_value("spoiled", partial(_cut_short, share=float(parameters["share"])))
            case "file_still_being_written":
                self._set_quirk_value("saving_s", float(parameters["saving_s"]))
            case "stale_newest_file":
                self._set_quirk_value("stale", True)
            case "duplicate_scan_id":
                self._set_quirk_value("repeated_id", True)
            case "frozen_position":
                self._set_quirk_value("frozen_position", True)
            case "silent_clamp":
                self._set_quirk_value("silent_clamp", True)
                self._set_quirk_value("half_range_m", _half_range_m(self._frame, float(parameters["reach"])))

    def _alter(self, alter: Callable[[Scan], Scan] | None) -> None:
        if alter is not None:
            before = self.quirks.altered
            self._set_quirk_value("altered", alter if before is None else partial(_applied_in_order, [before, alter]))

    def _set_quirk_value(self, quirk: str, value: object) -> None:
        """Set a quirk and remember its original value."""
        self._originals.setdefault(quirk, getattr(self.quirks, quirk))
        setattr(self.quirks, quirk, value)

    def _restore(self, *quirks: str) -> None:
        """Restore the original values of quirks that were set here."""
        for quirk in quirks:
            if quirk in self._originals:
                setattr(self.quirks, quirk, self._originals.pop(quirk))


def _message_fault(case: Injection, done: Callable[[Mapping[str, Value]], None]) -> MessageFault:
    parameters = case.parameters
    return MessageFault(
        _MESSAGE_ACTIONS[case.name],
        message=str(parameters.get("message", "scan")),
        share=float(parameters.get("share", 1.0)),
        down_s=float(parameters.get("down_s", 0.0)),
        later=int(parameters.get("later", 0)),
        done=done,
    )


def _rows(lines: slice, rows: int, *, scan_down: bool) -> slice:
    """Image rows that correspond to `lines` in the order of recording."""
    return slice(rows - lines.stop, rows - lines.start) if scan_down else lines


def _half_range_m(frame: Frame, reach: float) -> float:
    """Half range of a stage that covers the share `reach` of the frame, from the edge nearest to the stage's centre."""
    corners = frame.to_metres(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]) * (frame.rows - 1, frame.cols - 1))
    axis = int(np.abs(corners).max(axis=0).argmax())
    low, high = float(corners[:, axis].min()), float(corners[:, axis].max())
    far, near = max(abs(low), abs(high)), 0.0 if low < 0 < high else min(abs(low), abs(high))
    return near + reach * (far - near)


def _with_written_domain(case: Injection, surface: Surface, frame: Frame) -> Surface:
    """The sample, with the domain that the fault writes, if any."""
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


def _applied_in_order(steps: Sequence[Callable[[Scan], Scan]], scan: Scan) -> Scan:
    for step in steps:
        scan = step(scan)
    return scan
