"""`vaestar history explain`: in words, what a history tells of something."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.history.event_log import Event, History
from agent.history.lookup import entries, find, legible, opened
from agent.provenance.decision_narrative import decision_account
from agent.provenance.entity_narratives import event_account, instrument_account, request_account, run_account, scan_account
from agent.provenance.narrative import Narrative
from agent.provenance.recorded_inputs import DECISIONS
from agent.reporting.terminal import say
from agent.schema import event_kinds as kinds


def explain(run: Path | None, identifier: str | None, *, as_json: bool) -> None:
    """Print the account of a decision, scan, request, instrument or event; of the whole run without an id.

    Raises
    ------
    HistoryError
        If nothing goes by that id, or what goes by it was altered.
    """
    with opened(run) as history, legible(history):
        accounts = accounts_of(history, identifier)
        if as_json:
            sys.stdout.write(json.dumps([account.told() for account in accounts], indent=2) + "\n")
            return
        for account in accounts:
            for line in account.lines():
                say(line)


def accounts_of(history: History, identifier: str | None) -> list[Narrative]:
    """Usually one; several where several things go by one id, such as two decisions on a scan of two instruments."""
    if identifier is None:
        return [run_account(history)]
    found = find(history, identifier)
    meant = [e for e in found if e.subject == identifier] or found
    if asked := _asking(history, found, identifier):
        return [request_account(history, made, identifier) for made in asked]
    for kind in (*DECISIONS, kinds.SCAN_RECEIVED):
        if chosen := [e for e in meant if e.kind == kind]:
            return [_account(history, e) for e in chosen]
    if any(e.kind == kinds.INSTRUMENT_CONNECTED and e.subject == identifier for e in meant):
        return [instrument_account(history, identifier)]
    return [_account(history, meant[0])]


def _asking(history: History, found: Sequence[Event], request_id: str) -> list[Event]:
    """The decisions whose request this is, as it was made or as a person moved it."""
    made = [e for e in found if e.kind == kinds.DECISION_MADE and _names(e.body.get("decision"), request_id)]
    if made:
        return made
    let_pass = [e for e in found if e.kind == kinds.APPROVAL_GIVEN and _names(e.body, request_id)]
    subjects = {(e.subject, e.body.get("instrument_id")) for e in let_pass}
    every = (e for subject, _ in subjects for e in history.events(kind=kinds.DECISION_MADE, subject=subject))
    return [e for e in every if (e.subject, e.body.get("instrument_id")) in subjects]


def _names(holder: object, request_id: str) -> bool:
    return any(r.get("request_id") == request_id for r in entries(holder, "requests"))


def _account(history: History, event: Event) -> Narrative:
    if event.kind in DECISIONS:
        return decision_account(history, event)
    if event.kind == kinds.SCAN_RECEIVED:
        return scan_account(history, event)
    if event.kind == kinds.RESULT_RECEIVED:
        made = _asking(history, find(history, event.subject), event.subject)
        return request_account(history, made[0], event.subject) if made else event_account(history, event)
    return event_account(history, event)
