"""Events in words, newest first."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from agent.dashboard.models import TimelineEntry
from agent.history.event_log import Event
from agent.ledger.entries import POLICY
from agent.schema import event_kinds as kinds
from agent.schema.wording import result_remark

Words = tuple[str, str, str]  # title, text, tone
HIDDEN = (kinds.CANDIDATES_SCORED, kinds.RECOMMENDATION_READY)


def timeline(events: Iterable[Event]) -> list[TimelineEntry]:
    """Return events in words, in the given order; those of the kinds in `HIDDEN` are not meant for it."""
    return [_entry(event) for event in events]


def _entry(event: Event) -> TimelineEntry:
    title, text, tone = _WORDS.get(event.kind, _other)(event)
    instrument_id = event.subject if event.kind == kinds.INSTRUMENT_CONNECTED else str(event.body.get("instrument_id") or "")
    return TimelineEntry(
        seq=event.seq,
        at=event.recorded_at,
        kind=event.kind,
        instrument_id=instrument_id,
        title=title,
        text=text,
        tone=tone,
    )


def _result(event: Event) -> Words:
    body = event.body
    status, where = body["status"], f"cluster {body['cluster']}"
    if body.get("judgement"):
        return f"Point {status}, but {' and '.join(body['judged'])}, {where}", result_remark(body), "bad"
    if status == "ok":
        numbers = ", ".join(f"{_name(n)} {v:.3g}" for n, v in sorted(body.get("parameters", {}).items(), key=_voltages_first)[:3])
        return f"Loop measured, {where}", numbers, "good"
    return f"Point {status}, {where}", str(body.get("reason", "")), "bad"


def _name(parameter: str) -> str:
    return parameter.replace("_", " ")


def _voltages_first(item: tuple[str, float]) -> tuple[bool, str]:
    return not item[0].endswith("_V"), item[0]


def _action(title: str) -> Callable[[Event], Words]:
    def words(event: Event) -> Words:
        by, reason = event.body.get("by", ""), event.body.get("reason", "")
        return f"{title} by {by}", str(reason), "plain" if by == POLICY else "person"

    return words


def _plain(title: str, key: str = "", tone: str = "plain") -> Callable[[Event], Words]:
    return lambda event: (title, str(event.body.get(key, "")) if key else "", tone)


def _other(event: Event) -> Words:
    body: Mapping[str, Any] = event.body
    tone = "person" if event.kind.startswith(("approval", "command")) else "plain"
    by = f" by {body['by']}" if body.get("by") else ""
    title = event.kind.replace("_", " ")
    return title[:1].upper() + title[1:] + by, str(body.get("reason") or body.get("sentence") or ""), tone


def _reasons(event: Event) -> str:
    """Return the reasons without duplicates."""
    return "; ".join(dict.fromkeys(str(r["reason"]) for r in event.body["refused"]))


_ORDERS = {"pause": "Paused", "resume": "Resumed", "stop": "Emergency stop"}
_WORDS: dict[str, Callable[[Event], Words]] = {
    kinds.RUN_STARTED: _plain("Agent started"),
    kinds.RUN_STOPPED: _plain("Agent stopped", "reason"),
    kinds.INSTRUMENT_CONNECTED: lambda e: (f"{e.body['instrument_id']} connected", str(e.body.get("model", "")), "plain"),
    kinds.INSTRUMENT_LEFT: _plain("Instrument left", "reason"),
    kinds.SCAN_RECEIVED: lambda e: ("Scan received", e.subject, "plain"),
    kinds.SEARCH_CANCELLED: _plain("Search cancelled", "reason", "bad"),
    kinds.DECISION_MADE: lambda e: ("Decided", str(e.body["decision"].get("explanation", "")), "good"),
    kinds.REQUESTS_REFUSED: lambda e: (f"{len(e.body['refused'])} points may not be measured", _reasons(e), "bad"),
    kinds.APPROVAL_ASKED: lambda e: (f"{e.body['points']} points wait for approval", "", "plain"),
    kinds.APPROVAL_GIVEN: _action("Approved"),
    kinds.APPROVAL_REJECTED: _action("Rejected"),
    kinds.COMMAND_GIVEN: lambda e: _action(_ORDERS[e.body["command"]])(e),
    kinds.COMMAND_ACKNOWLEDGED: lambda e: ("Instrument confirmed the command", str(e.body.get("refused", "")), "plain"),
    kinds.RECOMMENDATION_SENT: _plain("Points sent to the instrument"),
    kinds.RECOMMENDATION_ACKNOWLEDGED: lambda e: (
        ("Instrument refused the points", str(e.body["refused"]), "bad")
        if e.body.get("refused")
        else ("Instrument accepted the points", "", "plain")
    ),
    kinds.LIMIT_EXCEEDED: _plain("Limit exceeded", "reason", "bad"),
    kinds.INSTRUMENT_LOST: _plain("Instrument does not respond", "reason", "bad"),
    kinds.INSTRUMENT_BACK: _plain("Instrument responds again"),
    kinds.RESULT_RECEIVED: _result,
    kinds.MESSAGE_REFUSED: _plain("Message refused", "reason", "bad"),
    kinds.MESSAGE_REPEATED: _plain("Repeated message ignored"),
    kinds.INSTRUMENT_TROUBLED: _plain("Instrument reported a fault", "sentence", "bad"),
    kinds.CLIENT_DENIED: _plain("Connection denied", "reason", "bad"),
}
