"""What has happened in a run so far, followed event by event from its history; read-only, beside the agent that writes it."""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent import ledger as kinds
from agent.decision import DecisionRecord
from agent.history import Event, History, HistoryError
from agent.ledger import Ledger


@dataclass
class InstrumentStory:
    """One instrument: how it introduced itself, and what a person has told it."""

    instrument_id: str
    model: str = ""
    software: str = ""
    limits: dict[str, Any] = field(default_factory=dict)
    connected: bool = False
    state: str = "running"
    state_reason: str = ""
    scans: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)


@dataclass
class DecisionStory:
    """One decision: the event that it came with, and what has been done about it."""

    event: Event
    record: DecisionRecord
    instrument_id: str
    sent: bool = False
    acknowledged: bool = False
    refused: str = ""
    approval: Event | None = None
    results: dict[str, Event] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)
    moved: dict[str, tuple[float, float]] = field(default_factory=dict)


class Story:
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
        self.events: list[Event] = []
        self.instruments: dict[str, InstrumentStory] = {}
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
                with kinds.trusted(event):
                    self.ledger.apply(event)
                    self._apply(event)
                self.seq = event.seq

    def instrument(self, instrument_id: str) -> InstrumentStory:
        """An instrument that has connected.

        Raises
        ------
        HistoryError
            If none of this name has.
        """
        if instrument_id not in self.instruments:
            raise HistoryError(f"no instrument '{instrument_id}' has connected to this run")
        return self.instruments[instrument_id]

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
        body = event.body
        if event.kind == kinds.RUN_STARTED:
            self.run_id, self.started_at = event.subject, event.recorded_at
            self.versions, self.config = body["versions"], body["config"]
            for instrument in self.instruments.values():
                instrument.connected = False  # each says hello again to an agent that has started anew
        handler = _HANDLERS.get(event.kind)
        if handler is not None:
            handler(self, event)
        self.events.append(Event(event.seq, event.recorded_at, event.kind, event.subject, _kept(event), event.arrays))


def _kept(event: Event) -> dict[str, Any]:
    """The body without what is large and kept elsewhere."""
    return {k: v for k, v in event.body.items() if k not in ("decision", "candidates", "config", "header")}


def _connected(story: Story, event: Event) -> None:
    body = event.body
    known = story.instruments.setdefault(event.subject, InstrumentStory(event.subject))
    known.model, known.software, known.limits, known.connected = body["model"], body["software"], body["limits"], True


def _left(story: Story, event: Event) -> None:
    if event.subject in story.instruments:
        story.instruments[event.subject].connected = False


def _scanned(story: Story, event: Event) -> None:
    owner = event.body["instrument_id"]
    story.instruments.setdefault(owner, InstrumentStory(owner)).scans.append(event.subject)


def _decided(story: Story, event: Event) -> None:
    owner = event.body["instrument_id"]
    record = DecisionRecord.model_validate(event.body["decision"])
    light = Event(event.seq, event.recorded_at, event.kind, event.subject, _kept(event), event.arrays)
    story.decisions[event.subject] = DecisionStory(light, record, owner)
    story.instruments.setdefault(owner, InstrumentStory(owner)).decisions.append(event.subject)


def _sent(story: Story, event: Event) -> None:
    if event.subject in story.decisions:
        story.decisions[event.subject].sent = True


def _acknowledged(story: Story, event: Event) -> None:
    if event.subject in story.decisions:
        told = story.decisions[event.subject]
        told.acknowledged, told.refused = True, str(event.body.get("refused", ""))


def _measured(story: Story, event: Event) -> None:
    body = event.body
    scan = story.ledger.scans.get((body["instrument_id"], body["scan_id"]))
    if scan is not None and scan.decision is not None:
        story.decisions[scan.decision.decision_id].results[event.subject] = event


_HANDLERS = {
    kinds.INSTRUMENT_CONNECTED: _connected,
    kinds.INSTRUMENT_LEFT: _left,
    kinds.SCAN_RECEIVED: _scanned,
    kinds.DECISION_MADE: _decided,
    kinds.RECOMMENDATION_SENT: _sent,
    kinds.RECOMMENDATION_ACKNOWLEDGED: _acknowledged,
    kinds.RESULT_RECEIVED: _measured,
}
