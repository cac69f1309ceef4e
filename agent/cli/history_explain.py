"""`vaestar history explain`: what the history records about a decision, scan, request, instrument or event, in words."""

from collections.abc import Sequence
from pathlib import Path

from agent.history.event_log import Event, History
from agent.history.lookup import entries, find_events, open_history, reading_history
from agent.provenance.decision_narrative import decision_narrative
from agent.provenance.entity_narratives import (
    event_narrative,
    instrument_narrative,
    request_narrative,
    run_narrative,
    scan_narrative,
)
from agent.provenance.narrative import Narrative
from agent.provenance.recorded_inputs import DECISION_KINDS
from agent.reporting.terminal import print_line
from agent.schema import event_kinds as kinds
from instrument_adapters.command_line.output import write_json


def explain(run: Path | None, identifier: str | None, *, as_json: bool) -> None:
    """Print the narrative of a decision, scan, request, instrument or event; without an id, of the whole run.

    Raises
    ------
    HistoryError
        If the history has nothing of this id, or the record was altered.
    """
    with open_history(run) as history, reading_history(history):
        narratives = narratives_of(history, identifier)
        as_objects = [narrative.as_json() for narrative in narratives]
        lines = [line for narrative in narratives for line in narrative.lines()]
    if as_json:
        write_json(as_objects)
        return
    for line in lines:
        print_line(line)


def narratives_of(history: History, identifier: str | None) -> list[Narrative]:
    """Return the narratives of an id: usually one; several if, for instance, two instruments have decisions of this id."""
    if identifier is None:
        return [run_narrative(history)]
    found = find_events(history, identifier)
    exact = [e for e in found if e.subject == identifier] or found
    if deciding := _decisions_requesting(history, found, identifier):
        return [request_narrative(history, decision, identifier) for decision in deciding]
    for kind in (*DECISION_KINDS, kinds.SCAN_RECEIVED):
        if matching := [e for e in exact if e.kind == kind]:
            return [_narrative(history, e) for e in matching]
    if any(e.kind == kinds.INSTRUMENT_CONNECTED and e.subject == identifier for e in exact):
        return [instrument_narrative(history, identifier)]
    return [_narrative(history, exact[0])]


def _decisions_requesting(history: History, found: Sequence[Event], request_id: str) -> list[Event]:
    """Return the decisions that contain a request, as recommended or as moved by an operator."""
    made = [e for e in found if e.kind == kinds.DECISION_MADE and _has_request(e.body.get("decision"), request_id)]
    if made:
        return made
    approvals = [e for e in found if e.kind == kinds.APPROVAL_GIVEN and _has_request(e.body, request_id)]
    subjects = {(e.subject, e.body.get("instrument_id")) for e in approvals}
    every = (e for subject, _ in subjects for e in history.events(kind=kinds.DECISION_MADE, subject=subject))
    return [e for e in every if (e.subject, e.body.get("instrument_id")) in subjects]


def _has_request(holder: object, request_id: str) -> bool:
    return any(r.get("request_id") == request_id for r in entries(holder, "requests"))


def _narrative(history: History, event: Event) -> Narrative:
    if event.kind in DECISION_KINDS:
        return decision_narrative(history, event)
    if event.kind == kinds.SCAN_RECEIVED:
        return scan_narrative(history, event)
    if event.kind == kinds.RESULT_RECEIVED:
        made = _decisions_requesting(history, find_events(history, event.subject), event.subject)
        return request_narrative(history, made[0], event.subject) if made else event_narrative(history, event)
    return event_narrative(history, event)
