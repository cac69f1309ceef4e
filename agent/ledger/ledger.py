"""What a run stands at, told from its history alone: scans, decisions, approvals, requests, results and instruments.

The same code reads a history at start-up and follows it while the service runs, so a restarted agent knows what the killed one
knew.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from agent.history.event_log import Event
from agent.history.readers import trusted
from agent.ledger.command_state import Command, CommandState
from agent.ledger.entries import POLICY, Approval, InstrumentInfo, MeasuredPoint, RequestEntry, ScanEntry
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord
from agent.schema.measurements import MeasuredOnSample, Result
from instrument_adapters.protocol.messages import Limits, MeasurementRequest


@dataclass
class Ledger:
    """The state of a run; `apply` is the only way to change it."""

    scans: dict[tuple[str, str], ScanEntry] = field(default_factory=dict)
    requests: dict[tuple[str, str], RequestEntry] = field(default_factory=dict)
    standing: CommandState = field(default_factory=CommandState)
    told: dict[str, InstrumentInfo] = field(default_factory=dict)  # every instrument that ever connected
    present: set[str] = field(default_factory=set)  # that has connected and not left
    lost: set[str] = field(default_factory=set)  # of those, the silent ones
    unfit: dict[str, list[str]] = field(default_factory=dict)  # what was wrong with the last scans, as far as all were unfit
    alarms: dict[str, str] = field(default_factory=dict)  # why an instrument must be paused that has not been told so yet
    _latest: dict[str, ScanEntry] = field(default_factory=dict)
    _results: dict[str, list[MeasuredPoint]] = field(default_factory=dict)

    @staticmethod
    def of(events: Iterable[Event]) -> "Ledger":
        """The state after `events`.

        Raises
        ------
        HistoryError
            If an event is not what its kind promises.
        """
        ledger = Ledger()
        for event in events:
            with trusted(event):
                ledger.apply(event)
        return ledger

    def apply(self, event: Event) -> None:
        """Take one event into account; kinds that change nothing are passed over."""
        change = _CHANGES.get(event.kind)
        if change is not None:
            change(self, event)
        self.standing.apply(event)

    def latest(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument."""
        return self._latest.get(instrument_id)

    def undecided(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument, if a decision on it is to be made; older ones are never gone back to.

        While an instrument is stopped nothing is decided for it: what it scanned before is not to be measured on afterwards.
        """
        return None if self.standing.state(instrument_id) == "stopped" else self.open_scan(instrument_id)

    def open_scan(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument, if it has no decision."""
        entry = self._latest.get(instrument_id)
        return entry if entry and not entry.settled else None

    def unacknowledged(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument, if it has a decision that the instrument has not acknowledged."""
        entry = self._latest.get(instrument_id)
        return entry if entry and entry.decision is not None and not entry.acknowledged else None

    def waiting(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument, if its decision waits for a person."""
        entry = self.unacknowledged(instrument_id)
        return entry if entry and entry.asked_at is not None and entry.approval is None and not entry.void else None

    def touched(self, sample_id: str) -> list[MeasuredPoint]:
        """All results on a sample of points that the tip went to, in the order in which they came."""
        return [t for t in self._results.get(sample_id, []) if t.result.status != "skipped"]

    def measured_xy(self, sample_id: str) -> np.ndarray:
        """Where a sample has been measured, or tried to be; shape (k, 2), x and y in metres."""
        return np.array([t.result.xy_m for t in self.touched(sample_id)], dtype=np.float64).reshape(-1, 2)

    def measured_s(self, sample_id: str) -> np.ndarray:
        """When, for each of `measured_xy`: POSIX seconds by the instrument's clock, NaN where that is not known; shape (k,)."""
        return np.array([t.result.at_s for t in self.touched(sample_id)], dtype=np.float64)

    def results(self, sample_id: str) -> MeasuredOnSample:
        """All results on a sample that can be used together, whichever scan and instrument asked for them."""
        return MeasuredOnSample.of([t.result for t in self._results.get(sample_id, [])])

    def asked(self, entry: ScanEntry) -> list[RequestEntry]:
        """What a scan's decision may have measured."""
        requests = entry.approval.requests if entry.approval else ()
        return [self.requests[entry.instrument_id, r.request_id] for r in requests]

    def _connected(self, event: Event) -> None:
        body, name = event.body, event.subject
        limits = Limits.model_validate(body["limits"])
        self.told[name] = InstrumentInfo(body.get("model", ""), body.get("software", ""), limits, body.get("bias_V"))
        self.present.add(name)
        self.lost.discard(name)

    def _left(self, event: Event) -> None:
        self.present.discard(event.subject)
        self.lost.discard(event.subject)

    def _received(self, event: Event) -> None:
        body = event.body
        entry = ScanEntry(event.subject, body["instrument_id"], body["sample_id"], body["digest"], event)
        self.scans[entry.instrument_id, entry.scan_id] = entry
        older = self._latest.get(entry.instrument_id)
        if older is not None:
            entry.share(older)
            older.abridge()
        self._latest[entry.instrument_id] = entry

    def _closed(self, event: Event) -> None:
        self.scans[event.body["instrument_id"], event.subject].closed = True

    def _decided(self, event: Event) -> None:
        record = DecisionRecord.model_validate(event.body["decision"])
        instrument_id = event.body["instrument_id"]
        entry = self.scans[instrument_id, record.scan_id]
        entry.decision = record
        if self._latest.get(instrument_id) is not entry:
            entry.abridge()
        if event.body.get("superseded_by"):  # never sent
            return
        entry.refused, entry.asked_at, entry.approval = {}, None, None
        entry.number, entry.acknowledged = 0, False
        for request in record.requests:
            # Two instruments that sent one scan get requests of the same names.
            made = RequestEntry(request, instrument_id, record.scan_id, record.decision_id)
            self.requests.setdefault((instrument_id, request.request_id), made)
        problems = [p.sentence for p in record.quality.problems if p.action == "skip"]
        unfit = record.outcome == "bad_scan" and bool(problems)
        self.unfit[instrument_id] = [*self.unfit.get(instrument_id, []), problems[0]] if unfit else []

    def _deepened(self, event: Event) -> None:
        record = DecisionRecord.model_validate(event.body["decision"])
        self.scans[event.body["instrument_id"], record.scan_id].deepened = record

    def _refused(self, event: Event) -> None:
        entry = self._entry(event)
        if entry is not None:
            entry.refused |= {refusal["request_id"]: refusal["rule"] for refusal in event.body["refused"]}

    def _asked(self, event: Event) -> None:
        entry = self._entry(event)
        if entry is not None:
            entry.asked_at = event.recorded_at

    def _approved(self, event: Event) -> None:
        requests = tuple(self._known(event, MeasurementRequest.model_validate(r)) for r in event.body["requests"])
        moved = {m["request_id"]: m["moved_from"] for m in event.body["moved"]}
        self._approve(event, Approval(True, event.body["by"], event.body["reason"], requests, moved))

    def _rejected(self, event: Event) -> None:
        self._approve(event, Approval(False, event.body["by"], event.body["reason"]))

    def _sent(self, event: Event) -> None:
        entry = self._entry(event)
        if entry is not None and entry.approval is None and entry.decision is not None:
            # Versions that asked for no approval sent what they had decided; what they had not sent is checked anew.
            self._approve(event, Approval(True, POLICY, "sent by an earlier version", tuple(entry.decision.requests)))

    def _approve(self, event: Event, approval: Approval) -> None:
        entry = self._entry(event)
        if entry is None:
            return
        entry.approval = approval
        for request in approval.requests:
            made = RequestEntry(request, entry.instrument_id, entry.scan_id, event.subject)
            self.requests.setdefault((entry.instrument_id, request.request_id), made).approved = True

    def _known(self, event: Event, request: MeasurementRequest) -> MeasurementRequest:
        """The request itself, if it is there already: thousands of equal ones would pile up."""
        made = self.requests.get((event.body["instrument_id"], request.request_id))
        return made.request if made is not None and made.request == request else request

    def _ready(self, event: Event) -> None:
        entry = self._entry(event)
        if entry is not None:
            entry.number = event.body["seq"]

    def _acknowledged(self, event: Event) -> None:
        self.scans[event.body["instrument_id"], event.body["scan_id"]].acknowledged = True

    def _entry(self, event: Event) -> ScanEntry | None:
        """The scan that an event about a decision is about, if that decision is its newest."""
        entry = self.scans[event.body["instrument_id"], event.body["scan_id"]]
        return entry if entry.decision is not None and entry.decision.decision_id == event.subject else None

    def _measured_at(self, event: Event) -> None:
        entry = self.requests[event.body["instrument_id"], event.subject]
        entry.status = event.body["status"]
        sample_id = self.scans[entry.instrument_id, entry.scan_id].sample_id
        asked = (entry.request.x_m, entry.request.y_m)
        x, y = event.body.get("x_m"), event.body.get("y_m")
        place = asked if x is None or y is None else (x, y)
        at = event.body.get("measured_at")
        at_s = math.nan if at is None else datetime.fromisoformat(at).timestamp()
        parameters = {sys.intern(name): value for name, value in event.body.get("parameters", {}).items()}
        result = Result(entry.status, place, parameters, at_s)
        self._results.setdefault(sample_id, []).append(MeasuredPoint(entry, result))

    def _exceeded(self, event: Event) -> None:
        self.alarms[event.body["instrument_id"]] = event.body["reason"]

    def _commanded(self, event: Event) -> None:
        """An emergency stop voids what is open, decided or not; so does its end with what came in meanwhile."""
        order = event.body["command"]
        for name in event.body["seqs"]:
            self.alarms.pop(name, None)
            self.unfit.pop(name, None)
            entry = self._latest.get(name)
            if (
                entry is not None
                and not entry.acknowledged
                and (order == "stop" or (order == "resume" and self.standing.state(name) == "stopped"))
            ):
                stop = Command(0, "stop", event.body["by"], event.body["reason"])
                why = stop.sentence if order == "stop" else self.standing.reason(name)
                entry.void = f"the instrument was {why}"


_CHANGES: Mapping[str, Callable[[Ledger, Event], None]] = {
    kinds.INSTRUMENT_CONNECTED: Ledger._connected,
    kinds.INSTRUMENT_LEFT: Ledger._left,
    kinds.INSTRUMENT_LOST: lambda ledger, event: ledger.lost.add(event.subject),
    kinds.INSTRUMENT_BACK: lambda ledger, event: ledger.lost.discard(event.subject),
    kinds.SCAN_RECEIVED: Ledger._received,
    kinds.SEARCH_CANCELLED: Ledger._closed,
    kinds.DECISION_MADE: Ledger._decided,
    kinds.DECISION_DEEPENED: Ledger._deepened,
    kinds.REQUESTS_REFUSED: Ledger._refused,
    kinds.APPROVAL_ASKED: Ledger._asked,
    kinds.APPROVAL_GIVEN: Ledger._approved,
    kinds.APPROVAL_REJECTED: Ledger._rejected,
    kinds.RECOMMENDATION_READY: Ledger._ready,
    kinds.RECOMMENDATION_SENT: Ledger._sent,
    kinds.RECOMMENDATION_ACKNOWLEDGED: Ledger._acknowledged,
    kinds.RESULT_RECEIVED: Ledger._measured_at,
    kinds.LIMIT_EXCEEDED: Ledger._exceeded,
    kinds.COMMAND_GIVEN: Ledger._commanded,
}
