"""Where a running agent stands, as plain JSON: for `vaestar status`, the web page and whoever else asks."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from agent.ledger.entries import ScanEntry
from agent.messaging.dispatcher import Dispatcher


def instruments(dispatch: Dispatcher, progress: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Each instrument of the run, by name.

    Parameters
    ----------
    dispatch
        Knows what stands where.
    progress
        Scan id -> stage, done and total of the search on it.
    """
    return {name: _instrument(dispatch, name, progress) for name in sorted(dispatch.ledger.told)}


def uptime_s(started_at: datetime, now: datetime) -> float:
    """Seconds since the start; 0 where the clock has been set back."""
    return max(0.0, (now - started_at).total_seconds())


def _instrument(dispatch: Dispatcher, name: str, progress: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    ledger, told = dispatch.ledger, dispatch.ledger.told[name]
    standing, newest = ledger.standing, ledger.latest(name)
    waiting, undecided, doing = ledger.waiting(name), ledger.undecided(name), dispatch.doing.get(name)
    command = standing.unacknowledged(name)
    return {
        "model": told.model,
        "software": told.software,
        "state": standing.state(name),
        "state_reason": standing.reason(name),
        "command_unacknowledged": None if command is None else command.order,
        "connected": name in dispatch.limits and name not in ledger.lost,
        "last_heard_s": round(dispatch.presence.silent_s(name), 1),
        "doing": None if doing is None else doing.model_dump(mode="json", include=_DOING),
        "newest_scan": None if newest is None else _scan(newest),
        "deciding": None if undecided is None else dict(progress.get(undecided.scan_id, _NOT_BEGUN)),
        "waiting_approval": None if waiting is None or waiting.decision is None else waiting.decision.decision_id,
        "points": _points(dispatch, name, newest),
        "samples": sorted({entry.sample_id for entry in ledger.scans.values() if entry.instrument_id == name}),
    }


_DOING = {"activity", "scan_id", "request_id", "points_left", "sentence", "sent_at"}
_NOT_BEGUN = {"stage": "waiting", "done": 0, "total": 0}


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


def _points(dispatch: Dispatcher, name: str, newest: ScanEntry | None) -> dict[str, int]:
    """Of the newest scan: points that have no result yet; of all: how they ended."""
    ledger = dispatch.ledger
    counts = {"open": 0, "ok": 0, "skipped": 0, "failed": 0}
    for request in ledger.requests.values():
        if request.instrument_id == name and request.status is not None:
            counts[request.status] += 1
    if newest is not None and not newest.void:
        counts["open"] = sum(r.status is None and r.request.request_id not in newest.refused for r in ledger.asked(newest))
    return counts
