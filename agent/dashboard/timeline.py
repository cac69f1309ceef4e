"""Events in words for the page, the newest first."""

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from agent.dashboard.models import TimelineEntry
from agent.history.event_log import Event
from agent.ledger.entries import POLICY
from agent.schema import event_kinds as kinds

Said = tuple[str, str, str]  # title, text, tone
_SILENT = (kinds.CANDIDATES_SCORED, kinds.RECOMMENDATION_READY)


def timeline(events: Iterable[Event], explanations: Mapping[str, str], most: int) -> list[TimelineEntry]:
    """The first `most` of the events in words.

    Parameters
    ----------
    events
        The newest first.
    explanations
        Decision id -> its explanation.
    most
        Entries.
    """
    return [_entry(e, explanations) for e in islice((e for e in events if e.kind not in _SILENT), most)]


def _entry(event: Event, explanations: Mapping[str, str]) -> TimelineEntry:
    said = _WORDS.get(event.kind, _other)(event)
    title, text, tone = said
    if event.kind == kinds.DECISION_MADE:
        text = explanations.get(event.subject, "")
    instrument_id = event.subject if event.kind == kinds.INSTRUMENT_CONNECTED else str(event.body.get("instrument_id") or "")
    return TimelineEntry(
        seq=event.seq,
        at=event.recorded_at,
        kind=event.kind,
        instrument_id=instrument_id,
        subject=event.subject,
        title=title,
        text=text,
        tone=tone,
    )


def _result(event: Event) -> Said:
    body = event.body
    status, where = body["status"], f"cluster {body['cluster']}"
    if status == "ok":
        numbers = ", ".join(f"{_name(n)} {v:.3g}" for n, v in sorted(body.get("parameters", {}).items(), key=_voltages_first)[:3])
        return f"Loop measured, {where}", numbers, "good"
    return f"Place {status}, {where}", str(body.get("reason", "")), "bad"


def _name(parameter: str) -> str:
    return parameter.replace("_", " ")


def _voltages_first(item: tuple[str, float]) -> tuple[bool, str]:
    return not item[0].endswith("_V"), item[0]


def _person(title: str) -> Callable[[Event], Said]:
    def words(event: Event) -> Said:
        by, reason = event.body.get("by", ""), event.body.get("reason", "")
        return f"{title} by {by}", str(reason), "plain" if by == POLICY else "person"

    return words


def _plain(title: str, key: str = "", tone: str = "plain") -> Callable[[Event], Said]:
    return lambda event: (title, str(event.body.get(key, "")) if key else "", tone)


def _other(event: Event) -> Said:
    body: Mapping[str, Any] = event.body
    tone = "person" if event.kind.startswith(("approval", "command")) else "plain"
    by = f" by {body['by']}" if body.get("by") else ""
    title = event.kind.replace("_", " ")
    return title[:1].upper() + title[1:] + by, str(body.get("reason") or body.get("sentence") or ""), tone


def _rules(event: Event) -> str:
    """The reasons, each once."""
    return "; ".join(dict.fromkeys(str(r["reason"]) for r in event.body["refused"]))


_ORDERS = {"pause": "Paused", "resume": "Resumed", "stop": "Emergency stop"}
_WORDS: dict[str, Callable[[Event], Said]] = {
    kinds.RUN_STARTED: _plain("Agent started"),
    kinds.RUN_STOPPED: _plain("Agent stopped", "reason"),
    kinds.INSTRUMENT_CONNECTED: lambda e: (f"{e.body['instrument_id']} connected", str(e.body.get("model", "")), "plain"),
    kinds.INSTRUMENT_LEFT: _plain("Instrument left", "reason"),
    kinds.SCAN_RECEIVED: lambda e: ("Scan received", e.subject, "plain"),
    kinds.SEARCH_CANCELLED: _plain("No decision", "reason", "bad"),
    kinds.DECISION_MADE: _plain("Decided", tone="good"),
    kinds.REQUESTS_REFUSED: lambda e: (f"{len(e.body['refused'])} places may not be measured", _rules(e), "bad"),
    kinds.APPROVAL_ASKED: lambda e: (f"{e.body['points']} places wait for approval", "", "plain"),
    kinds.APPROVAL_GIVEN: _person("Approved"),
    kinds.APPROVAL_REJECTED: _person("Rejected"),
    kinds.COMMAND_GIVEN: lambda e: _person(_ORDERS[e.body["command"]])(e),
    kinds.COMMAND_ACKNOWLEDGED: lambda e: ("Instrument obeyed", str(e.body.get("refused", "")), "plain"),
    kinds.RECOMMENDATION_SENT: _plain("Places sent to the instrument"),
    kinds.RECOMMENDATION_ACKNOWLEDGED: lambda e: (
        ("Instrument refused the places", str(e.body["refused"]), "bad")
        if e.body.get("refused")
        else ("Instrument took the places", "", "plain")
    ),
    kinds.LIMIT_EXCEEDED: _plain("A limit was exceeded", "reason", "bad"),
    kinds.INSTRUMENT_LOST: _plain("Instrument is silent", "reason", "bad"),
    kinds.INSTRUMENT_BACK: _plain("Instrument is back"),
    kinds.RESULT_RECEIVED: _result,
    kinds.MESSAGE_REFUSED: _plain("Message refused", "reason", "bad"),
    kinds.MESSAGE_REPEATED: _plain("A message came again, and was not acted on again"),
    kinds.INSTRUMENT_TROUBLED: _plain("Trouble at the instrument", "sentence", "bad"),
    kinds.CLIENT_DENIED: _plain("Somebody was not let in", "reason", "bad"),
}
