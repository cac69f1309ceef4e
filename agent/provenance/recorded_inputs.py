"""The inputs of a recorded decision, reconstructed from the history alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from agent.config.model import Config
from agent.decision.inputs import DecisionInputs
from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.readers import decision_in, reading_event, scan_event, scan_in
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from agent.schema.decision_basis import DecisionBasis
from agent.search.warm_start import deep_start
from instrument_adapters.protocol.messages import Limits

DECISION_KINDS = (kinds.DECISION_MADE, kinds.DECISION_DEEPENED)


@dataclass(frozen=True, eq=False)
class RecordedInputs:
    """All inputs of a decision, and the events that they come from.

    Parameters
    ----------
    config
        Configuration of the agent that decided.
    inputs
        All else that the decision depended on.
    ended_after
        Rungs that were complete when a deadline ended the search; None if no deadline did.
    basis
        Basis of the decision, as recorded with it or derived from the events.
    basis_recorded
        Whether the basis was recorded; older versions did not record it, so it is derived.
    source_events
        Name of the input -> sequence number of the event that holds it.
    """

    config: Config
    inputs: DecisionInputs
    ended_after: tuple[str, ...] | None
    basis: DecisionBasis
    basis_recorded: bool
    source_events: dict[str, int]


def recorded_inputs(history: History, event: Event, beside: Path | None = None) -> RecordedInputs:
    """Reconstruct the inputs of a "decision_made" or "decision_deepened" event.

    Parameters
    ----------
    history
        History that holds the decision.
    event
        Event of the decision.
    beside
        Folder in which the user's own modules are searched (that of the configuration file).

    Raises
    ------
    HistoryError
        If the history lacks part of it.
    """
    with reading_event(event):
        recorded = event.body["decision"]
        instrument_id, sample_id = event.body["instrument_id"], recorded["sample_id"]
        basis, basis_recorded = _basis_of(history, event), "asked" in event.body
        config = Config.model_validate(_with_rules(recorded["config"]))
        ended_after = tuple(recorded.get("rungs", ())) if recorded.get("ended_early") else None
    config = config.with_directory(beside)
    ledger = Ledger.of(_until(history, basis.after))
    scanned = scan_event(history, instrument_id, event.body["scan_id"])
    source_events = {"scan": scanned.seq, "known up to": basis.after}
    if limited := _connection_event(history, instrument_id, basis.after):
        source_events["instrument connected"] = limited.seq
    before = None if basis.previous is None else _decision_event(history, basis.previous, instrument_id, basis.after)
    if before is not None:
        source_events["earlier decision"] = before.seq
    start = None
    if event.kind == kinds.DECISION_DEEPENED:
        first = _decision_event(history, event.body["of"], instrument_id, basis.after)
        source_events["first decision"] = first.seq
        start = deep_start(decision_in(history, first), config)
    earlier = None if basis.earlier is None else scan_event(history, instrument_id, basis.earlier)
    if earlier is not None:
        source_events["earlier scan"] = earlier.seq
    return RecordedInputs(
        config=config,
        inputs=DecisionInputs(
            scan=scan_in(history, scanned),
            limits=basis.limits,
            measured_xy=ledger.measured_xy(sample_id),
            measured_s=ledger.measured_s(sample_id),
            results=ledger.results(sample_id),
            previous=None if before is None else decision_in(history, before),
            earlier=None if earlier is None else scan_in(history, earlier),
            start=start,
        ),
        ended_after=ended_after,
        basis=basis,
        basis_recorded=basis_recorded,
        source_events=source_events,
    )


def _with_rules(config: dict[str, Any]) -> dict[str, Any]:
    """The recorded configuration; older versions recorded no `scan.rules` and decided by the first ones."""
    return config | {"scan": {"rules": 1} | config.get("scan", {})}


def _basis_of(history: History, event: Event) -> DecisionBasis:
    """The basis recorded with the decision, or for older versions the basis derived from the events."""
    if "asked" in event.body:
        return DecisionBasis.model_validate(event.body["asked"])
    recorded, instrument_id = event.body["decision"], event.body["instrument_id"]
    after = _last_known_event(history, event, recorded)
    connected = _connection_event(history, instrument_id, after)
    limits = Limits() if connected is None else Limits.model_validate(connected.body["limits"])
    before = _last_decision(history, recorded["sample_id"], after)
    earlier = None
    if before is not None:
        scan_id = before.body["scan_id"]
        same = before.body["instrument_id"] == instrument_id or _has_scan(history, instrument_id, scan_id, after)
        earlier = scan_id if same else None
    return DecisionBasis(after=after, limits=limits, previous=None if before is None else before.subject, earlier=earlier)


def _last_known_event(history: History, event: Event, recorded: dict[str, Any]) -> int:
    """Sequence number of the last event known when the search began.

    The search began once its scan had arrived, the previous decision was made and the agent was started. Of the results that
    arrived while the previous decision was sent and acknowledged, as many were known as the decision counted.
    """
    latest = {kinds.SCAN_RECEIVED: 0, kinds.DECISION_MADE: 0, kinds.SEARCH_CANCELLED: 0, kinds.RUN_STARTED: 0}
    for e in _until(history, event.seq - 1):
        relevant = e.kind != kinds.SCAN_RECEIVED or e.subject == event.body["scan_id"]
        if e.kind in latest and relevant:
            latest[e.kind] = e.seq
    after = max(latest.values())
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


def _connection_event(history: History, instrument_id: str, after: int) -> Event | None:
    """The last "instrument_connected" event of an instrument up to event `after`, or None."""
    newest = None
    for e in history.events(kind=kinds.INSTRUMENT_CONNECTED, subject=instrument_id):
        if e.seq <= after:
            newest = e
    return newest


def _has_scan(history: History, instrument_id: str, scan_id: str, after: int) -> bool:
    found = history.events(kind=kinds.SCAN_RECEIVED, subject=scan_id)
    return any(e.body["instrument_id"] == instrument_id and e.seq <= after for e in found)


def _decision_event(history: History, decision_id: str, instrument_id: str, after: int) -> Event:
    made = [e for kind in DECISION_KINDS for e in history.events(kind=kind, subject=decision_id) if e.seq <= after]
    # Two instruments that sent the same scan have decisions with the same id and content.
    found = [e for e in made if e.body["instrument_id"] == instrument_id] or made
    if not found:
        raise HistoryError(f"the history in {history.run_directory} lacks decision {decision_id}, which this one depends on")
    return found[-1]


def _last_decision(history: History, sample_id: str, after: int) -> Event | None:
    newest = None
    for e in history.events(kind=kinds.DECISION_MADE):
        if e.seq <= after and e.body["decision"]["sample_id"] == sample_id and e.body["decision"]["outcome"] != "bad_scan":
            newest = e
    return newest
