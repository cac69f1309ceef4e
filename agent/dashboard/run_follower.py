"""Present state of a run, followed event by event from its history, which the agent writes at the same time.

Only the ledger is kept in memory; everything about one decision is read from the history when it is looked at.
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.readers import reading_event
from agent.ledger.entries import Approval, ScanEntry
from agent.ledger.ledger import Ledger
from agent.ledger.outlines import state_events
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord


@dataclass
class FollowedDecision:
    """One decision with its event, its scan, its approval and the results of its requests.

    A scan may be decided on again. Requests go by the ids that the agent gave them, not by those that they get when an operator
    moves them.
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
        return self.entry.decided is not None and self.entry.decided.decision_id == self.record.decision_id

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
        self.scans: dict[str, list[str]] = {}  # by instrument, in order

    def catch_up(self) -> None:
        """Apply the events recorded since the last call.

        Raises
        ------
        HistoryError
            If the history cannot be read.
        """
        with self.lock, History(self.run_directory, read_only=True) as history:
            newest = history.head.seq
            for event in state_events(history, after=self.seq, also=[kinds.RUN_STARTED]):
                with reading_event(event):
                    self.ledger.apply(event)
                    self._apply(event)
                self.seq = event.seq
            self.seq = max(self.seq, newest)

    def decision(self, decision_id: str) -> FollowedDecision:
        """Return a decision of this run, read from the history.

        Raises
        ------
        HistoryError
            If the run has no decision of this id.
        """
        with self.lock, History(self.run_directory, read_only=True) as history:
            about = [event for event in history.events(subject=decision_id) if event.seq <= self.seq]
            made = [event for event in about if event.kind == kinds.DECISION_MADE]
            if not made:
                raise HistoryError(f"this run has no decision '{decision_id}'")
            owner = made[-1].body["instrument_id"]
            with reading_event(made[-1]):
                entry = self.ledger.scans[owner, made[-1].body["scan_id"]]
                return self._followed(history, entry, [e for e in about if e.body.get("instrument_id") == owner])

    def _followed(self, history: History, entry: ScanEntry, about: list[Event]) -> FollowedDecision:
        """A decision from the events about it, which a ledger of its own takes in: that of the run keeps only the outline."""
        scan = history.event(entry.event.seq)
        ledger = Ledger.of([event for event in (scan, *about) if event is not None])
        alone = ledger.scans[entry.instrument_id, entry.scan_id]
        made = next(event for event in reversed(about) if event.kind == kinds.DECISION_MADE)
        followed = FollowedDecision(made, DecisionRecord.model_validate(made.body["decision"]), entry, alone.approval)
        for event in about:
            if event.kind == kinds.RECOMMENDATION_SENT:
                followed.sent = True
            elif event.kind == kinds.RECOMMENDATION_ACKNOWLEDGED:
                followed.refused_by_instrument = str(event.body.get("refused", ""))
            elif event.kind == kinds.REQUESTS_REFUSED:
                followed.refusals |= {r["request_id"]: r["reason"] for r in event.body["refused"]}
        moved = followed.approval.moved if followed.approval else {}
        results = [e for name in ledger.requests for e in history.events(kind=kinds.RESULT_RECEIVED, subject=name[1])]
        mine = [e for e in results if e.body["instrument_id"] == entry.instrument_id and e.seq <= self.seq]
        followed.results = {moved.get(e.subject, e.subject): e for e in sorted(mine, key=lambda e: e.seq)}
        return followed

    def _apply(self, event: Event) -> None:
        if event.kind == kinds.RUN_STARTED:
            self.run_id, self.started_at = event.subject, event.recorded_at
            self.versions, self.config = event.body["versions"], event.body["config"]
        elif event.kind == kinds.SCAN_RECEIVED:
            self.scans.setdefault(event.body["instrument_id"], []).append(event.subject)
