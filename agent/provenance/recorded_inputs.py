"""The question behind a recorded decision, put together from the history alone: what was known when it was asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from agent.config.model import Config
from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.readers import decision_in, received, scan_in, trusted
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from agent.schema.decision_basis import DecisionBasis
from agent.schema.measurements import MeasuredOnSample
from agent.search.warm_start import WarmStart, deep_start
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.scan import Scan

DECISIONS = (kinds.DECISION_MADE, kinds.DECISION_DEEPENED)


@dataclass(frozen=True, eq=False)
class RecordedInputs:
    """All that a decision depends on, and where it stands in the history.

    Parameters
    ----------
    config
        Of the agent that decided.
    scan
        Decided on.
    limits, measured_xy, measured_s, results, previous, earlier
        See `Agent.on_scan`.
    ended_after
        What of the search was complete when a deadline ended it; None where none did.
    asked
        As noted with the decision, or worked out.
    noted
        Whether it was noted; histories of older versions do not say what was known, so it is worked out.
    rests_on
        Name -> number of the event that holds it.
    """

    config: Config
    scan: Scan
    limits: Limits
    measured_xy: Float[np.ndarray, "k 2"]
    measured_s: Float[np.ndarray, " k"]
    results: MeasuredOnSample
    previous: Decision | None
    earlier: Scan | None
    start: WarmStart | None
    ended_after: tuple[str, ...] | None
    asked: DecisionBasis
    noted: bool
    rests_on: dict[str, int]


def question_behind(history: History, event: Event, beside: Path | None = None) -> RecordedInputs:
    """The question behind a "decision_made" or "decision_deepened" event.

    Parameters
    ----------
    history
        That holds it.
    event
        The decision.
    beside
        Where modules of the user's own are looked for (the folder of the configuration file).

    Raises
    ------
    HistoryError
        If the history lacks part of it.
    """
    with trusted(event):
        recorded = event.body["decision"]
        instrument_id, sample_id = event.body["instrument_id"], recorded["sample_id"]
        asked, noted = _asked(history, event), "asked" in event.body
        config = Config.model_validate(recorded["config"])
        ended_after = tuple(recorded.get("rungs", ())) if recorded.get("ended_early") else None
    config = config.beside(beside)
    ledger = Ledger.of(_until(history, asked.after))
    scanned = received(history, instrument_id, event.body["scan_id"])
    rests_on = {"scan": scanned.seq, "known up to": asked.after}
    if limited := _limited_by(history, instrument_id, asked.after):
        rests_on["instrument connected"] = limited.seq
    before = None if asked.previous is None else _decision_event(history, asked.previous, instrument_id, asked.after)
    if before is not None:
        rests_on["earlier decision"] = before.seq
    start = None
    if event.kind == kinds.DECISION_DEEPENED:
        first = _decision_event(history, event.body["of"], instrument_id, asked.after)
        rests_on["first decision"] = first.seq
        start = deep_start(decision_in(history, first), config)
    earlier = None if asked.earlier is None else received(history, instrument_id, asked.earlier)
    if earlier is not None:
        rests_on["earlier scan"] = earlier.seq
    return RecordedInputs(
        config=config,
        scan=scan_in(history, scanned),
        limits=asked.limits,
        measured_xy=ledger.measured_xy(sample_id),
        measured_s=ledger.measured_s(sample_id),
        results=ledger.results(sample_id),
        previous=None if before is None else decision_in(history, before),
        earlier=None if earlier is None else scan_in(history, earlier),
        start=start,
        ended_after=ended_after,
        asked=asked,
        noted=noted,
        rests_on=rests_on,
    )


def _asked(history: History, event: Event) -> DecisionBasis:
    """As noted with the decision, or, where an older version noted nothing, as it must have been."""
    if "asked" in event.body:
        return DecisionBasis.model_validate(event.body["asked"])
    recorded, instrument_id = event.body["decision"], event.body["instrument_id"]
    after = _known_then(history, event, recorded)
    connected = _limited_by(history, instrument_id, after)
    limits = Limits() if connected is None else Limits.model_validate(connected.body["limits"])
    before = _last_decision(history, recorded["sample_id"], after)
    earlier = None
    if before is not None:
        scan_id = before.body["scan_id"]
        same = before.body["instrument_id"] == instrument_id or _holds(history, instrument_id, scan_id, after)
        earlier = scan_id if same else None
    return DecisionBasis(after=after, limits=limits, previous=None if before is None else before.subject, earlier=earlier)


def _known_then(history: History, event: Event, recorded: dict[str, Any]) -> int:
    """The number of the last event known when the question was put.

    It was put once its scan was there, the decision before was made and the agent was started; of the results that came while the
    decision before was sent and acknowledged, as many were known as it counted.
    """
    began = {kinds.SCAN_RECEIVED: 0, kinds.DECISION_MADE: 0, kinds.SEARCH_CANCELLED: 0, kinds.RUN_STARTED: 0}
    for e in _until(history, event.seq - 1):
        mine = e.kind != kinds.SCAN_RECEIVED or e.subject == event.body["scan_id"]
        if e.kind in began and mine:
            began[e.kind] = e.seq
    after = max(began.values())
    measured = recorded.get("points_measured_before", 0)
    if measured:
        ledger = Ledger.of(_until(history, after))
        for e in history.events(after=after):
            if e.seq >= event.seq or len(ledger.measured_xy(recorded["sample_id"])) >= measured:
                break
            ledger.apply(e)
            after = e.seq
    return after


def _until(history: History, seq: int) -> Iterator[Event]:
    return takewhile(lambda e: e.seq <= seq, history.events())


def _limited_by(history: History, instrument_id: str, after: int) -> Event | None:
    """Where an instrument last told its limits."""
    newest = None
    for e in history.events(kind=kinds.INSTRUMENT_CONNECTED, subject=instrument_id):
        if e.seq <= after:
            newest = e
    return newest


def _holds(history: History, instrument_id: str, scan_id: str, after: int) -> bool:
    found = history.events(kind=kinds.SCAN_RECEIVED, subject=scan_id)
    return any(e.body["instrument_id"] == instrument_id and e.seq <= after for e in found)


def _decision_event(history: History, decision_id: str, instrument_id: str, after: int) -> Event:
    made = [e for kind in DECISIONS for e in history.events(kind=kind, subject=decision_id) if e.seq <= after]
    # Two instruments that sent one scan have decisions of one name on it, and of one content.
    found = [e for e in made if e.body["instrument_id"] == instrument_id] or made
    if not found:
        raise HistoryError(f"the history in {history.run_directory} lacks decision {decision_id}, on which this one rests")
    return found[-1]


def _last_decision(history: History, sample_id: str, after: int) -> Event | None:
    newest = None
    for e in history.events(kind=kinds.DECISION_MADE):
        if e.seq <= after and e.body["decision"]["sample_id"] == sample_id and e.body["decision"]["outcome"] != "bad_scan":
            newest = e
    return newest
