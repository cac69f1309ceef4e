"""Requests of decisions with approvals and results, as the exports and narratives need them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.history.event_log import Event, History
from agent.history.filters import EventFilter, filtered_events
from agent.history.lookup import entries
from agent.schema import event_kinds as kinds


@dataclass
class Fate:
    """Approval of a decision's requests, and changes to them.

    Parameters
    ----------
    approved
        Request id -> approved request; None before an approval, or in histories of versions without approvals.
    by
        Author of the approval or rejection.
    changes
        Request id -> what was done to it, if it was refused, dropped, moved or rejected.
    moved
        Id of a request that an operator moved -> id of the original request.
    """

    approved: dict[str, Mapping[str, Any]] | None = None
    by: str = ""
    changes: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasurementRow:
    """One request with its result.

    Parameters
    ----------
    request
        Request as the decision made it, or as an operator moved it.
    decision
        Event of the decision.
    result
        Event of the result; None if there is none yet.
    fate
        Change to the request before sending; empty if it was approved unchanged.
    """

    request: Mapping[str, Any]
    decision: Event
    result: Event | None
    fate: str = ""


def measurements(history: History, event_filter: EventFilter) -> Iterator[MeasurementRow]:
    """All requests of the selected decisions in order; moved requests come after the original ones."""
    for event in filtered_events(history, decisions_only(event_filter)):
        yield from measurements_of(history, event)


def measurements_of(history: History, decision: Event) -> Iterator[MeasurementRow]:
    """All requests of a "decision_made" event, the moved ones last."""
    fate, owner = fate_of(history, decision), decision.body["instrument_id"]
    for request in entries(decision.body.get("decision"), "requests"):
        name = request["request_id"]
        yield MeasurementRow(request, decision, result_of(history, owner, name), fate.changes.get(name, ""))
    for name, old in fate.moved.items():
        moved = (fate.approved or {}).get(name)
        if moved is not None:
            yield MeasurementRow(moved, decision, result_of(history, owner, name), f"moved by {fate.by} from {old}")


def fate_of(history: History, decision: Event) -> Fate:
    """Approval, rejection and edits of a decision's requests."""
    fate, owner = Fate(), decision.body["instrument_id"]
    request_ids = [r["request_id"] for r in entries(decision.body.get("decision"), "requests")]
    for e in history.events(subject=decision.subject):
        if e.body.get("instrument_id") != owner:
            continue
        if e.kind == kinds.REQUESTS_REFUSED:
            fate.changes |= {r["request_id"]: f"refused: {r['reason']}" for r in entries(e.body, "refused")}
        elif e.kind == kinds.APPROVAL_REJECTED:
            fate.by, fate.approved = e.body["by"], {}
            fate.changes |= dict.fromkeys(request_ids, f"rejected by {fate.by}")
        elif e.kind == kinds.APPROVAL_GIVEN:
            fate.by = e.body["by"]
            fate.approved = {r["request_id"]: r for r in entries(e.body, "requests")}
            fate.moved = {m["request_id"]: m["moved_from"] for m in entries(e.body, "moved")}
            fate.changes |= dict.fromkeys(e.body.get("dropped", ()), f"dropped by {fate.by}")
            fate.changes |= {old: f"moved by {fate.by}, now {new}" for new, old in fate.moved.items()}
    return fate


def result_of(history: History, instrument_id: str, request_id: str) -> Event | None:
    """Event of the result of a request, or None."""
    found = history.events(kind=kinds.RESULT_RECEIVED, subject=request_id)
    return next((e for e in found if e.body["instrument_id"] == instrument_id), None)


def decisions_only(event_filter: EventFilter) -> EventFilter:
    """The same filter for "decision_made" events only."""
    return EventFilter(kinds.DECISION_MADE, event_filter.instrument, event_filter.sample, event_filter.scan, event_filter.since)


def scans_only(event_filter: EventFilter) -> EventFilter:
    """The same filter for "scan_received" events only."""
    return EventFilter(kinds.SCAN_RECEIVED, event_filter.instrument, event_filter.sample, event_filter.scan, event_filter.since)
