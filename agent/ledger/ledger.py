"""The ledger: the present state of a run, computed from its history alone.

The same code reads a history at start-up and follows it while the service runs, so a restarted agent knows everything that the
killed one knew.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import dropwhile
from typing import Any

import numpy as np
from jaxtyping import Float

from agent.history.event_log import Event
from agent.history.readers import reading_event
from agent.ledger.command_state import Command, CommandState
from agent.ledger.entries import POLICY, Approval, InstrumentInfo, PastDecision, RequestEntry, ScanEntry
from agent.ledger.sample_results import SampleResults
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord
from agent.schema.measurements import NO_RESULTS, MeasuredOnSample
from agent.schema.wording import ELSEWHERE, IMPOSSIBLE, UNASKED
from instrument_adapters.bounds import DATE, LENGTH, NUMBER
from instrument_adapters.protocol.messages import Limits, MeasurementRequest

_NONE = SampleResults()
_NO_DETAILS: dict[str, Any] = {"candidates": [], "configurations": [], "clusters": [], "config": {}, "versions": {}}


@dataclass
class Ledger:
    """Scans, decisions, approvals, requests, results and instruments of a run; changed only by `apply`."""

    scans: dict[tuple[str, str], ScanEntry] = field(default_factory=dict)
    requests: dict[tuple[str, str], RequestEntry] = field(default_factory=dict)
    command_state: CommandState = field(default_factory=CommandState)
    instruments: dict[str, InstrumentInfo] = field(default_factory=dict)  # every instrument that ever connected
    present: set[str] = field(default_factory=set)  # connected and not left
    lost: set[str] = field(default_factory=set)  # those of `present` that are silent
    unusable_scans: dict[str, list[str]] = field(default_factory=dict)  # faults of the latest unusable scans in a row
    alarms: dict[str, str] = field(default_factory=dict)  # instrument -> why it must be paused, until a command is given
    impossible: list[str] = field(default_factory=list)  # requests whose result holds what cannot be; from earlier versions
    latest_at: datetime | None = None  # latest time of any event, by our wall clock
    _latest: dict[str, ScanEntry] = field(default_factory=dict)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)  # instrument -> number of results by status
    _results: dict[str, SampleResults] = field(default_factory=dict)
    _of_sample: dict[tuple[str, str], list[ScanEntry]] = field(default_factory=dict)  # by instrument and sample, in order
    _scans_recorded: Counter[str] = field(default_factory=Counter)  # by instrument

    @staticmethod
    def of(events: Iterable[Event]) -> "Ledger":
        """The ledger after `events`. Events of other kinds than `KINDS` change nothing, and may be left out.

        Raises
        ------
        HistoryError
            If an event does not hold what its kind requires.
        """
        ledger = Ledger()
        for event in events:
            with reading_event(event):
                ledger.apply(event)
        return ledger

    def apply(self, event: Event) -> None:
        """Update the ledger with the next event; event kinds that change nothing are ignored."""
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event)
        self.command_state.apply(event)
        self.note_time(event.recorded_at)

    def note_time(self, recorded_at: datetime) -> None:
        """Note that an event was recorded at this time, by our wall clock."""
        self.latest_at = recorded_at if self.latest_at is None else max(self.latest_at, recorded_at)

    def latest(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument."""
        return self._latest.get(instrument_id)

    def undecided(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument if it still needs a decision; older scans are never decided later.

        While an instrument is stopped, nothing is decided for it: scans from before the stop must not be measured on afterwards.
        """
        return None if self.command_state.state(instrument_id) == "stopped" else self.open_scan(instrument_id)

    def open_scan(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument if it has no decision."""
        entry = self._latest.get(instrument_id)
        return entry if entry and not entry.settled else None

    def unacknowledged(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument if the instrument has not acknowledged the decision on it."""
        entry = self._latest.get(instrument_id)
        return entry if entry and entry.decision is not None and not entry.acknowledged else None

    def waiting(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument if its decision waits for an operator's approval."""
        entry = self.unacknowledged(instrument_id)
        return (
            entry if entry and entry.approval_asked_at is not None and entry.approval is None and not entry.void_reason else None
        )

    def measured_xy(self, sample_id: str) -> np.ndarray:
        """Positions on a sample that were measured or tried; shape (k, 2), x and y in metres."""
        return self._results.get(sample_id, _NONE).tried()[0]

    def measured_s(self, sample_id: str) -> np.ndarray:
        """Times of `measured_xy`, shape (k,), in POSIX seconds by the instrument's clock; NaN where unknown."""
        return self._results.get(sample_id, _NONE).tried()[1]

    def measured_for_others(self, entry: ScanEntry) -> tuple[Float[np.ndarray, "k 2"], Float[np.ndarray, " k"], int]:
        """Positions and times of what was measured or tried on an entry's sample, without its decision's own points.

        The third value is the number of those points that were tried after this scan.
        """
        decision_id = "" if entry.decided is None else entry.decided.decision_id
        return self._results.get(entry.sample_id, _NONE).tried_for_others(entry.event.seq, decision_id)

    def results(self, sample_id: str) -> MeasuredOnSample:
        """All results on a sample that can be used together, from any scan and instrument."""
        found = self._results.get(sample_id)
        return NO_RESULTS if found is None else found.usable()

    def scans_before(self, entry: ScanEntry) -> Iterator[ScanEntry]:
        """The scans before `entry` of the same instrument and sample, the latest first."""
        earlier = reversed(self._of_sample.get((entry.instrument_id, entry.sample_id), []))
        return dropwhile(lambda other: other.event.seq >= entry.event.seq, earlier)

    def scans_recorded(self, instrument_id: str) -> int:
        """Number of scans of an instrument."""
        return self._scans_recorded[instrument_id]

    def samples(self, instrument_id: str) -> list[str]:
        """All samples of which an instrument has sent scans, in alphabetical order."""
        return sorted(sample for owner, sample in self._of_sample if owner == instrument_id)

    def owners(self) -> Iterable[str]:
        """The instruments that have sent scans."""
        return self._latest

    def approved_requests(self, entry: ScanEntry) -> list[RequestEntry]:
        """Requests of a scan's decision that were approved."""
        requests = entry.approval.requests if entry.approval else ()
        return [self.requests[entry.instrument_id, r.request_id] for r in requests]

    def _on_connected(self, event: Event) -> None:
        body, name = event.body, event.subject
        limits = Limits.model_validate(body["limits"])
        self.instruments[name] = InstrumentInfo(body.get("model", ""), body.get("software", ""), limits, body.get("bias_V"))
        self.present.add(name)
        self.lost.discard(name)

    def _on_left(self, event: Event) -> None:
        self.present.discard(event.subject)
        self.lost.discard(event.subject)

    def _on_scan(self, event: Event) -> None:
        body = event.body
        entry = ScanEntry(event.subject, body["instrument_id"], body["sample_id"], body["digest"], event)
        entry.sent_at, entry.finished_at = (str(body["header"].get(name) or "") for name in ("sent_at", "finished_at"))
        self.scans[entry.instrument_id, entry.scan_id] = entry
        self._of_sample.setdefault((entry.instrument_id, entry.sample_id), []).append(entry)
        self._scans_recorded[entry.instrument_id] += 1
        older = self._latest.get(entry.instrument_id)
        if older is not None:
            self._abridge(older)
        self._latest[entry.instrument_id] = entry

    def _abridge(self, entry: ScanEntry) -> None:
        """Drop what is needed only of the newest scan of an instrument."""
        requests = [*(entry.decision.requests if entry.decision else ()), *(entry.approval.requests if entry.approval else ())]
        for request in requests:
            self.requests[entry.instrument_id, request.request_id].abridge()
        entry.abridge()

    def _on_cancelled(self, event: Event) -> None:
        self.scans[event.body["instrument_id"], event.subject].closed = True

    def _on_decision(self, event: Event) -> None:
        record = _record_in(event)
        instrument_id = event.body["instrument_id"]
        entry = self.scans[instrument_id, record.scan_id]
        entry.decision, entry.decided, entry.measured = record, PastDecision.of(record), 0
        entry.pixel_m = max(record.frame.pitch_m)
        newest = self._latest.get(instrument_id) is entry
        if event.body.get("superseded_by"):  # such a decision is never sent
            if not newest:
                entry.abridge()
            return
        entry.refused, entry.approval_asked_at, entry.approval = {}, None, None
        entry.recommendation_seq, entry.sent, entry.acknowledged = 0, False, False
        for request in record.requests:
            # Two instruments that sent the same scan get requests with the same ids.
            made = RequestEntry(request, instrument_id, record.scan_id, record.decision_id)
            self.requests.setdefault((instrument_id, request.request_id), made)
        if not newest:
            self._abridge(entry)
        reason = _unusable_because(record)
        self.unusable_scans[instrument_id] = [*self.unusable_scans.get(instrument_id, []), reason] if reason else []

    def _on_deepened(self, event: Event) -> None:
        record = _record_in(event)
        entry = self.scans[event.body["instrument_id"], record.scan_id]
        entry.deeper = PastDecision.of(record)
        if self._latest.get(entry.instrument_id) is entry:
            entry.deepened = record

    def _on_refused(self, event: Event) -> None:
        entry = self._entry_of(event)
        if entry is not None:
            entry.refused |= {refusal["request_id"]: refusal["rule"] for refusal in event.body["refused"]}

    def _on_approval_asked(self, event: Event) -> None:
        entry = self._entry_of(event)
        if entry is not None:
            entry.approval_asked_at = event.recorded_at

    def _on_approved(self, event: Event) -> None:
        requests = tuple(self._shared(event, r) for r in event.body["requests"])
        moved = {m["request_id"]: m["moved_from"] for m in event.body["moved"]}
        self._approve(event, Approval(True, event.body["by"], event.body["reason"], requests, moved))

    def _on_rejected(self, event: Event) -> None:
        self._approve(event, Approval(False, event.body["by"], event.body["reason"]))

    def _on_sent(self, event: Event) -> None:
        entry = self._entry_of(event)
        if entry is None:
            return
        if entry.approval is None:
            # Versions without approvals sent every decision as it was; anything they had not sent is checked again.
            made = () if entry.decision is None else tuple(entry.decision.requests)
            self._approve(event, Approval(True, POLICY, "sent by an earlier version", made))
            if entry.decision is None:
                for request in self._requests_of(entry):
                    request.approved = True
        if not entry.sent:  # by a version that did not record which points it sends
            self._mark_sent(entry, None)

    def _mark_sent(self, entry: ScanEntry, names: Iterable[str] | None) -> None:
        """Mark a recommendation and its requests as sent; None: all that were approved."""
        entry.sent = True
        if names is not None:
            sent = [self.requests[entry.instrument_id, name] for name in names]
        elif entry.decision is None:
            sent = [request for request in self._requests_of(entry) if request.approved]
        else:
            sent = self.approved_requests(entry)
        for request in sent:
            request.sent = True

    def _requests_of(self, entry: ScanEntry) -> list[RequestEntry]:
        """Requests of a decision after which a newer scan has come in. That is rare, so they are looked for one by one."""
        decision_id = "" if entry.decided is None else entry.decided.decision_id
        return [r for r in self.requests.values() if (r.instrument_id, r.decision_id) == (entry.instrument_id, decision_id)]

    def _approve(self, event: Event, approval: Approval) -> None:
        entry = self._entry_of(event)
        if entry is None:
            return
        entry.approval = approval
        for request in approval.requests:
            made = RequestEntry(request, entry.instrument_id, entry.scan_id, event.subject)
            self.requests.setdefault((entry.instrument_id, request.request_id), made).approved = True

    def _shared(self, event: Event, fields: dict[str, Any]) -> MeasurementRequest:
        """A request as it was approved: that of the decision unless it was moved, so that no copies pile up."""
        made = self.requests.get((event.body["instrument_id"], fields["request_id"]))
        if made is not None and isinstance(made.request, MeasurementRequest) and made.request.model_dump(mode="json") == fields:
            return made.request
        return MeasurementRequest.model_validate(fields)

    def _on_ready(self, event: Event) -> None:
        entry = self._entry_of(event)
        if entry is not None:
            entry.recommendation_seq = event.body["seq"]
            self._mark_sent(entry, event.body.get("requests"))

    def _on_acknowledged(self, event: Event) -> None:
        self.scans[event.body["instrument_id"], event.body["scan_id"]].acknowledged = True

    def _entry_of(self, event: Event) -> ScanEntry | None:
        """The scan entry of an event about a decision, if that decision is the scan's newest; else None."""
        entry = self.scans[event.body["instrument_id"], event.body["scan_id"]]
        return entry if entry.decided is not None and entry.decided.decision_id == event.subject else None

    def _on_result(self, event: Event) -> None:
        entry = self.requests[event.body["instrument_id"], event.subject]
        entry.status = sys.intern(event.body["status"])
        scan = self.scans[entry.instrument_id, entry.scan_id]
        x, y = event.body.get("x_m"), event.body.get("y_m")
        requested = (entry.request.x_m, entry.request.y_m)
        position = requested if x is None or y is None else (x, y)
        parameters = event.body.get("parameters", {})
        findings = event.body.get("judged", ())
        judged = next((name for name in findings if name in (ELSEWHERE, UNASKED)), "")
        is_place = all(map(LENGTH.allows, position))
        if not (is_place and all(map(NUMBER.allows, parameters.values()))):
            judged = IMPOSSIBLE
            self.impossible.append(event.subject)
        results = self._results.get(scan.sample_id)
        if results is None:
            results = self._results[scan.sample_id] = SampleResults()
        at_s, origin = _measured_s(event), (scan.event.seq, entry.decision_id)
        results.add(entry.status, position if is_place else requested, at_s, parameters, *origin, judged)
        if ELSEWHERE in findings:
            results.add_touched(entry.status, requested, at_s, *origin)
        if event.body.get("pauses"):
            self.alarms[entry.instrument_id] = event.body["pauses"]
        scan.measured += scan.decided is not None and scan.decided.decision_id == entry.decision_id
        counts = self.statuses.get(entry.instrument_id)
        if counts is None:
            counts = self.statuses[entry.instrument_id] = Counter()
        counts[entry.status] += 1

    def _on_limit_exceeded(self, event: Event) -> None:
        self.alarms[event.body["instrument_id"]] = event.body["reason"]

    def _on_command(self, event: Event) -> None:
        """At an emergency stop, void the newest scan, decided or not; at the resume after it, void a scan received since."""
        order = event.body["command"]
        for name in event.body["seqs"]:
            self.alarms.pop(name, None)
            self.unusable_scans.pop(name, None)
            entry = self._latest.get(name)
            if (
                entry is not None
                and not entry.acknowledged
                and (order == "stop" or (order == "resume" and self.command_state.state(name) == "stopped"))
            ):
                stop = Command(0, "stop", event.body["by"], event.body["reason"])
                why = stop.sentence if order == "stop" else self.command_state.reason(name)
                entry.void_reason = f"the instrument was {why}"


def _record_in(event: Event) -> DecisionRecord:
    """The record of a decision. Of an outline it lacks the details, and is dropped at the next scan (`agent.ledger.outlines`)."""
    decision = event.body["decision"]
    return DecisionRecord.model_validate(_NO_DETAILS | decision if event.outlined else decision)


def _unusable_because(record: DecisionRecord) -> str:
    """Why a scan is of no use until an operator has changed something; empty if it was used, or if another scan may be better."""
    if record.outcome == "bad_scan":
        return next((p.sentence for p in record.quality.problems if p.action == "skip"), "")
    # Neither key points nor a model: no such channel, a constant image, a plug-in that fails. A deadline leaves key points.
    nothing_found = record.outcome == "not_resolvable" and not record.candidates and not record.keypoints_found
    return record.explanation.removeprefix("Nothing to recommend: ").rstrip(".") if nothing_found else ""


def _measured_s(event: Event) -> float:
    """POSIX time of a measurement in seconds; NaN if it is unknown, or cannot be."""
    at = event.body.get("used_at") or event.body.get("measured_at")
    time = None if at is None else datetime.fromisoformat(at)
    return time.timestamp() if time is not None and DATE.allows(time) else math.nan


_HANDLERS: Mapping[str, Callable[[Ledger, Event], None]] = {
    kinds.INSTRUMENT_CONNECTED: Ledger._on_connected,
    kinds.INSTRUMENT_LEFT: Ledger._on_left,
    kinds.INSTRUMENT_LOST: lambda ledger, event: ledger.lost.add(event.subject),
    kinds.INSTRUMENT_BACK: lambda ledger, event: ledger.lost.discard(event.subject),
    kinds.SCAN_RECEIVED: Ledger._on_scan,
    kinds.SEARCH_CANCELLED: Ledger._on_cancelled,
    kinds.DECISION_MADE: Ledger._on_decision,
    kinds.DECISION_DEEPENED: Ledger._on_deepened,
    kinds.REQUESTS_REFUSED: Ledger._on_refused,
    kinds.APPROVAL_ASKED: Ledger._on_approval_asked,
    kinds.APPROVAL_GIVEN: Ledger._on_approved,
    kinds.APPROVAL_REJECTED: Ledger._on_rejected,
    kinds.RECOMMENDATION_READY: Ledger._on_ready,
    kinds.RECOMMENDATION_SENT: Ledger._on_sent,
    kinds.RECOMMENDATION_ACKNOWLEDGED: Ledger._on_acknowledged,
    kinds.RESULT_RECEIVED: Ledger._on_result,
    kinds.LIMIT_EXCEEDED: Ledger._on_limit_exceeded,
    kinds.COMMAND_GIVEN: Ledger._on_command,
}
#: The kinds of events that change a ledger.
KINDS = (*_HANDLERS, kinds.COMMAND_ACKNOWLEDGED)
