"""Status of a running agent as plain JSON, for `vaestar status`, the web page and the metrics."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agent.ledger.entries import ScanEntry
from agent.messaging.dispatcher import Dispatcher


@dataclass(frozen=True)
class Replies:
    """What the connections under one name have answered to its newest command.

    Parameters
    ----------
    connections
        Live connections that speak under the name.
    answered
        Those that have acknowledged or refused the newest command.
    within_ms
        Time from the sending of the command to the latest answer in milliseconds; None without an answer.
    """

    connections: int = 0
    answered: int = 0
    within_ms: float | None = None


def instruments(
    dispatcher: Dispatcher, progress: Mapping[str, Mapping[str, Any]], replies: Callable[[str], Replies]
) -> dict[str, dict[str, Any]]:
    """Status of each instrument of the run, by name.

    Parameters
    ----------
    dispatcher
        Source of the state of the run and of the last status messages.
    progress
        Scan id -> stage, done and total of its search.
    replies
        What the connections of an instrument have answered to its newest command.
    """
    return {name: _instrument(dispatcher, name, progress, replies(name)) for name in sorted(dispatcher.ledger.instruments)}


def _instrument(dispatcher: Dispatcher, name: str, progress: Mapping[str, Mapping[str, Any]], replies: Replies) -> dict[str, Any]:
    ledger, info = dispatcher.ledger, dispatcher.ledger.instruments[name]
    command_state, newest = ledger.command_state, ledger.latest(name)
    waiting, undecided, doing = ledger.waiting(name), ledger.undecided(name), dispatcher.activity.get(name)
    command = command_state.unacknowledged(name)
    return {
        "model": info.model,
        "software": info.software,
        "state": command_state.state(name),
        "state_reason": command_state.reason(name),
        "command_unacknowledged": None if command is None else command.order,
        "command_refused": newest_command.refused if (newest_command := command_state.commands.get(name)) else "",
        "command_replies": asdict(replies),
        "left": name not in ledger.present,
        "connected": dispatcher.presence.responds(name),
        "last_heard_s": round(dispatcher.presence.silent_s(name), 1),
        "doing": None if doing is None else doing.model_dump(mode="json", include=_DOING),
        "newest_scan": None if newest is None else _scan(newest),
        "deciding": None if undecided is None else dict(progress.get(undecided.scan_id, _NOT_STARTED)),
        "waiting_approval": None if waiting is None or waiting.decision is None else waiting.decision.decision_id,
        "waiting_approval_s": None if waiting is None else dispatcher.approvals.waiting_s(waiting),
        "points": _points(dispatcher, name, newest),
        "samples": ledger.samples(name),
    }


_DOING = {"activity", "scan_id", "request_id", "points_left", "sentence", "sent_at"}
_NOT_STARTED = {"stage": "waiting", "done": 0, "total": 0}


def _scan(entry: ScanEntry) -> dict[str, Any]:
    decision = entry.decision
    return {
        "scan_id": entry.scan_id,
        "sample_id": entry.sample_id,
        "received_at": entry.event.recorded_at.isoformat(),
        "decision_id": None if decision is None else decision.decision_id,
        "outcome": None if decision is None else decision.outcome,
        "explanation": None if decision is None else decision.explanation,
        "approved_by": entry.approval.by if entry.approval and entry.approval.given else None,
        "rejected_by": entry.approval.by if entry.approval and not entry.approval.given else None,
        "acknowledged": entry.acknowledged,
    }


def _points(dispatcher: Dispatcher, name: str, newest: ScanEntry | None) -> dict[str, int]:
    """Number of open points of the newest scan, and of points of all scans by the status of their result."""
    ledger = dispatcher.ledger
    counts = {"open": 0, "ok": 0, "skipped": 0, "failed": 0} | ledger.statuses.get(name, {})
    if newest is not None and not newest.void_reason:
        counts["open"] = sum(
            r.status is None and r.request.request_id not in newest.refused for r in ledger.approved_requests(newest)
        )
    return counts
