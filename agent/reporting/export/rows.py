"""What tables are made of: the scans, decisions, requests and results of a part of a history."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.history.event_log import Event, History
from agent.history.filters import Part, stream
from agent.history.lookup import entries
from agent.schema import event_kinds as kinds


@dataclass
class Fate:
    """What people, policy and limits made of a decision's requests.

    Parameters
    ----------
    approved
        Request id -> request, as let pass; None where nobody has been asked yet, or by a version that asked nobody.
    by
        Who let them pass, or rejected them.
    said
        Request id -> what was done to it, where it was refused, dropped, moved or rejected.
    moved
        Id of a request that a person moved -> the id that it had.
    """

    approved: dict[str, Mapping[str, Any]] | None = None
    by: str = ""
    said: dict[str, str] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measurement:
    """One request with what came of it.

    Parameters
    ----------
    request
        As the decision made it, or as a person moved it.
    decision
        The event of its decision.
    result
        The event of its result; None if there is none (yet).
    fate
        What was done to it before it was sent; empty if it was let pass as it was.
    """

    request: Mapping[str, Any]
    decision: Event
    result: Event | None
    fate: str = ""


def measurements(history: History, part: Part) -> Iterator[Measurement]:
    """All requests of a part's decisions, in order; one that a person moved comes after the decision's own."""
    for event in stream(history, decisions_of(part)):
        yield from measurements_of(history, event)


def measurements_of(history: History, decision: Event) -> Iterator[Measurement]:
    """All requests of a "decision_made" event."""
    fate, owner = fate_of(history, decision), decision.body["instrument_id"]
    for request in entries(decision.body.get("decision"), "requests"):
        name = request["request_id"]
        yield Measurement(request, decision, result_of(history, owner, name), fate.said.get(name, ""))
    for name, old in fate.moved.items():
        moved = (fate.approved or {}).get(name)
        if moved is not None:
            yield Measurement(moved, decision, result_of(history, owner, name), f"moved by {fate.by} from {old}")


def fate_of(history: History, decision: Event) -> Fate:
    """What was made of a decision's requests."""
    fate, owner = Fate(), decision.body["instrument_id"]
    made = [r["request_id"] for r in entries(decision.body.get("decision"), "requests")]
    for e in history.events(subject=decision.subject):
        if e.body.get("instrument_id") != owner:
            continue
        if e.kind == kinds.REQUESTS_REFUSED:
            fate.said |= {r["request_id"]: f"refused: {r['reason']}" for r in entries(e.body, "refused")}
        elif e.kind == kinds.APPROVAL_REJECTED:
            fate.by, fate.approved = e.body["by"], {}
            fate.said |= dict.fromkeys(made, f"rejected by {fate.by}")
        elif e.kind == kinds.APPROVAL_GIVEN:
            fate.by = e.body["by"]
            fate.approved = {r["request_id"]: r for r in entries(e.body, "requests")}
            fate.moved = {m["request_id"]: m["moved_from"] for m in entries(e.body, "moved")}
            fate.said |= dict.fromkeys(e.body.get("dropped", ()), f"dropped by {fate.by}")
            fate.said |= {old: f"moved by {fate.by}, now {new}" for new, old in fate.moved.items()}
    return fate


def result_of(history: History, instrument_id: str, request_id: str) -> Event | None:
    """What came of a request, if anything did."""
    found = history.events(kind=kinds.RESULT_RECEIVED, subject=request_id)
    return next((e for e in found if e.body["instrument_id"] == instrument_id), None)


def decisions_of(part: Part) -> Part:
    """The decisions of a part."""
    return Part(kinds.DECISION_MADE, part.instrument, part.sample, part.scan, part.since)


def scans_of(part: Part) -> Part:
    """The scans of a part."""
    return Part(kinds.SCAN_RECEIVED, part.instrument, part.sample, part.scan, part.since)
