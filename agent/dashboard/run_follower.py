"""What has happened in a run so far, followed event by event from its history; read-only, beside the agent that writes it."""

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.readers import trusted
from agent.ledger.entries import Approval, ScanEntry, abridged
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord

_TOLD = 5000


@dataclass
class DecisionStory:
    """One decision: the event that it came with, its scan with what became of it, and the results of its places.

    The record is abridged: whoever shows more reads it from the history. A scan may be decided on again. Ids of places are those
    of the requests as the agent made them, not as a person moved them.
    """

    event: Event
    record: DecisionRecord
    entry: ScanEntry
    approval: Approval | None = None
    sent: bool = False
    refused_by_instrument: str = ""
    rules: dict[str, str] = field(default_factory=dict)  # request id -> why it may not be measured
    results: dict[str, Event] = field(default_factory=dict)

    @property
    def instrument_id(self) -> str:
        """Whose scan it is."""
        return self.entry.instrument_id

    @property
    def current(self) -> bool:
        """Whether it is the last word on its scan."""
        return self.entry.decision is not None and self.entry.decision.decision_id == self.record.decision_id

    @property
    def void(self) -> str:
        """Why nothing of it is measured any more."""
        return self.entry.void if self.current else "the scan was decided on again"


class RunFollower:
    """The run up to event `seq`. `catch_up` is the only way to change it; it may be called from any thread.

    Parameters
    ----------
    run_directory
        Of the run.
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
        self.events: deque[Event] = deque(maxlen=_TOLD)  # the newest, for the timeline
        self.scans: dict[str, list[str]] = {}  # of each instrument, in order
        self.decisions: dict[str, DecisionStory] = {}

    def catch_up(self) -> None:
        """Take in what has been recorded since.

        Raises
        ------
        HistoryError
            If the history cannot be read.
        """
        with self.lock, History(self.run_directory, read_only=True) as history:
            for event in history.events(after=self.seq):
                with trusted(event):
                    self.ledger.apply(event)
                    self._apply(event)
                self.seq = event.seq

    def decision(self, decision_id: str) -> DecisionStory:
        """A decision of this run.

        Raises
        ------
        HistoryError
            If there is none of this id.
        """
        if decision_id not in self.decisions:
            raise HistoryError(f"this run holds no decision '{decision_id}'")
        return self.decisions[decision_id]

    def _apply(self, event: Event) -> None:
        light = replace(event, body={k: v for k, v in event.body.items() if k not in _LARGE})
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event if event.kind == kinds.RUN_STARTED else light)
        self.events.append(light)

    def _started(self, event: Event) -> None:
        self.run_id, self.started_at = event.subject, event.recorded_at
        self.versions, self.config = event.body["versions"], event.body["config"]

    def _scanned(self, event: Event) -> None:
        self.scans.setdefault(event.body["instrument_id"], []).append(event.subject)

    def _decided(self, event: Event) -> None:
        entry = self.ledger.scans[event.body["instrument_id"], event.body["scan_id"]]
        assert entry.decision is not None  # the ledger has taken it in just now
        self.decisions[event.subject] = DecisionStory(event, abridged(entry.decision), entry)

    def _about(self, event: Event) -> None:
        """What is said of a decision."""
        told = self.decisions.get(event.subject)
        if told is None:
            return
        if event.kind == kinds.RECOMMENDATION_SENT:
            told.sent = True
            told.approval = told.approval or told.entry.approval  # early versions sent what nobody had approved
        elif event.kind == kinds.RECOMMENDATION_ACKNOWLEDGED:
            told.refused_by_instrument = str(event.body.get("refused", ""))
        elif event.kind == kinds.REQUESTS_REFUSED:
            told.rules |= {r["request_id"]: r["reason"] for r in event.body["refused"]}
        else:
            told.approval = told.entry.approval

    def _measured(self, event: Event) -> None:
        asked = self.ledger.requests[event.body["instrument_id"], event.subject]
        told = self.decisions.get(asked.decision_id)
        if told is not None:
            moved = told.approval.moved if told.approval else {}
            told.results[moved.get(event.subject, event.subject)] = event


_LARGE = ("decision", "candidates", "config", "header", "requests")
_HANDLERS = {
    kinds.RUN_STARTED: RunFollower._started,
    kinds.SCAN_RECEIVED: RunFollower._scanned,
    kinds.DECISION_MADE: RunFollower._decided,
    kinds.REQUESTS_REFUSED: RunFollower._about,
    kinds.APPROVAL_GIVEN: RunFollower._about,
    kinds.APPROVAL_REJECTED: RunFollower._about,
    kinds.RECOMMENDATION_SENT: RunFollower._about,
    kinds.RECOMMENDATION_ACKNOWLEDGED: RunFollower._about,
    kinds.RESULT_RECEIVED: RunFollower._measured,
}
