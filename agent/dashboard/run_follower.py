"""Present state of a run, followed event by event from its history, which the agent writes at the same time."""

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.readers import reading_event
from agent.ledger.entries import Approval, ScanEntry, abridged
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord

_MAX_EVENTS = 5000


@dataclass
class FollowedDecision:
    """One decision with its event, its scan, its approval and the results of its requests.

    The record is abridged; the full one is in the history. A scan may be decided on again. Requests go by the ids that the agent
    gave them, not by those that they get when an operator moves them.
    """

    event: Event
    record: DecisionRecord
    entry: ScanEntry
    approval: Approval | None = None
    sent: bool = False
    refused_by_instrument: str = ""
    refusals: dict[str, str] = field(default_factory=dict)  # request id -> why it may not be measured
    results: dict[str, Event] = field(default_factory=dict)

    @property
    def instrument_id(self) -> str:
        """Instrument that recorded the scan."""
        return self.entry.instrument_id

    @property
    def current(self) -> bool:
        """Whether it is the latest decision on its scan."""
        return self.entry.decision is not None and self.entry.decision.decision_id == self.record.decision_id

    @property
    def void_reason(self) -> str:
        """Why no more of its points will be measured; "" if they still may be."""
        return self.entry.void_reason if self.current else "the scan was decided on again"


class RunFollower:
    """State of a run up to event `seq`. Only `catch_up` changes it; it may be called from any thread.

    Parameters
    ----------
    run_directory
        Run directory.
    """

    def __init__(self, run_directory: Path) -> None:
        self.run_directory = run_directory
        self.lock = threading.RLock()
        self.seq = 0
        self.run_id = ""
        self.started_at: datetime | None = None
        self.versions: dict[str, str] = {}
        self.config: dict[str, Any] = {}
        self.ledger = Ledger()
        self.events: deque[Event] = deque(maxlen=_MAX_EVENTS)  # the newest ones, for the timeline
        self.scans: dict[str, list[str]] = {}  # by instrument, in order
        self.decisions: dict[str, FollowedDecision] = {}

    def catch_up(self) -> None:
        """Apply the events recorded since the last call.

        Raises
        ------
        HistoryError
            If the history cannot be read.
        """
        with self.lock, History(self.run_directory, read_only=True) as history:
            for event in history.events(after=self.seq):
                with reading_event(event):
                    self.ledger.apply(event)
                    self._apply(event)
                self.seq = event.seq

    def decision(self, decision_id: str) -> FollowedDecision:
        """Return a decision of this run.

        Raises
        ------
        HistoryError
            If the run has no decision of this id.
        """
        if decision_id not in self.decisions:
            raise HistoryError(f"this run has no decision '{decision_id}'")
        return self.decisions[decision_id]

    def _apply(self, event: Event) -> None:
        abridged_event = replace(event, body={k: v for k, v in event.body.items() if k not in _LARGE_KEYS})
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event if event.kind == kinds.RUN_STARTED else abridged_event)
        self.events.append(abridged_event)

    def _start_run(self, event: Event) -> None:
        self.run_id, self.started_at = event.subject, event.recorded_at
        self.versions, self.config = event.body["versions"], event.body["config"]

    def _add_scan(self, event: Event) -> None:
        self.scans.setdefault(event.body["instrument_id"], []).append(event.subject)

    def _add_decision(self, event: Event) -> None:
        entry = self.ledger.scans[event.body["instrument_id"], event.body["scan_id"]]
        assert entry.decision is not None  # the ledger has applied the event already
        self.decisions[event.subject] = FollowedDecision(event, abridged(entry.decision), entry)

    def _update_decision(self, event: Event) -> None:
        """Apply an event on the approval or sending of a decision."""
        decision = self.decisions.get(event.subject)
        if decision is None:
            return
        if event.kind == kinds.RECOMMENDATION_SENT:
            decision.sent = True
            decision.approval = decision.approval or decision.entry.approval  # early versions sent without an approval
        elif event.kind == kinds.RECOMMENDATION_ACKNOWLEDGED:
            decision.refused_by_instrument = str(event.body.get("refused", ""))
        elif event.kind == kinds.REQUESTS_REFUSED:
            decision.refusals |= {r["request_id"]: r["reason"] for r in event.body["refused"]}
        else:
            decision.approval = decision.entry.approval

    def _add_result(self, event: Event) -> None:
        request = self.ledger.requests[event.body["instrument_id"], event.subject]
        decision = self.decisions.get(request.decision_id)
        if decision is not None:
            moved = decision.approval.moved if decision.approval else {}
            decision.results[moved.get(event.subject, event.subject)] = event


_LARGE_KEYS = ("decision", "candidates", "config", "header", "requests")
_HANDLERS = {
    kinds.RUN_STARTED: RunFollower._start_run,
    kinds.SCAN_RECEIVED: RunFollower._add_scan,
    kinds.DECISION_MADE: RunFollower._add_decision,
    kinds.REQUESTS_REFUSED: RunFollower._update_decision,
    kinds.APPROVAL_GIVEN: RunFollower._update_decision,
    kinds.APPROVAL_REJECTED: RunFollower._update_decision,
    kinds.RECOMMENDATION_SENT: RunFollower._update_decision,
    kinds.RECOMMENDATION_ACKNOWLEDGED: RunFollower._update_decision,
    kinds.RESULT_RECEIVED: RunFollower._add_result,
}
