"""`vaestar history explain`: in words, what a history tells of something."""

import json
import sys
from pathlib import Path

from agent import ledger as kinds
from agent.account import Account
from agent.account_decision import decision_account
from agent.account_others import event_account, instrument_account, request_account, run_account, scan_account
from agent.finding import entries, find, legible, opened, say
from agent.history import Event, History


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


def accounts_of(history: History, identifier: str | None) -> list[Account]:
    """Usually one; several where several things go by one id, such as two decisions on a scan of two instruments."""
    if identifier is None:
        return [run_account(history)]
    found = find(history, identifier)
    meant = [e for e in found if e.subject == identifier] or found
    asked = [e for e in found if e.kind == kinds.DECISION_MADE and _asks_for(e, identifier)]
    if asked:
        return [request_account(history, e, identifier) for e in asked]
    for kind in (kinds.DECISION_MADE, kinds.SCAN_RECEIVED):
        if chosen := [e for e in meant if e.kind == kind]:
            return [_account(history, e) for e in chosen]
    if any(e.kind == kinds.INSTRUMENT_CONNECTED and e.subject == identifier for e in meant):
        return [instrument_account(history, identifier)]
    return [_account(history, meant[0])]


def _asks_for(event: Event, request_id: str) -> bool:
    return any(r.get("request_id") == request_id for r in entries(event.body.get("decision"), "requests"))


def _account(history: History, event: Event) -> Account:
    if event.kind == kinds.DECISION_MADE:
        return decision_account(history, event)
    if event.kind == kinds.SCAN_RECEIVED:
        return scan_account(history, event)
    if event.kind == kinds.RESULT_RECEIVED:
        made = next((e for e in find(history, event.subject) if e.kind == kinds.DECISION_MADE), None)
        return event_account(history, event) if made is None else request_account(history, made, event.subject)
    return event_account(history, event)
