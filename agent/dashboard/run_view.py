"""The run at a glance: its instruments with their scans, the newest first."""

import json
from pathlib import Path

from agent.dashboard.models import InstrumentView, RunView, ScanLine
from agent.dashboard.run_follower import RunFollower
from agent.history.run_directory import STATE_FILE
from agent.ledger.entries import ScanEntry

_SCANS = 30


def run_view(story: RunFollower) -> RunView:
    """What the story has come to."""
    return RunView(
        run_id=story.run_id,
        directory=str(story.run_directory),
        listens_at=_listens_at(story.run_directory),
        seq=story.seq,
        started_at=story.started_at,
        versions=story.versions,
        reward=str(story.config.get("reward", "")),
        instruments=[_instrument(story, name) for name in sorted(story.ledger.told)],
    )


def _listens_at(run_directory: Path) -> str:
    """As the service has announced it; "" while none runs."""
    try:
        return str(json.loads((run_directory / STATE_FILE).read_text())["bind"])
    except (OSError, ValueError, KeyError):
        return ""


def _instrument(story: RunFollower, name: str) -> InstrumentView:
    ledger = story.ledger
    told = ledger.told[name]
    return InstrumentView(
        instrument_id=name,
        model=told.model,
        software=told.software,
        limits=told.limits,
        connected=name in ledger.present and name not in ledger.lost,
        state=ledger.standing.state(name),
        state_reason=ledger.standing.reason(name),
        scans=[_scan(story, ledger.scans[name, scan_id]) for scan_id in reversed(story.scans.get(name, [])[-_SCANS:])],
    )


def _scan(story: RunFollower, entry: ScanEntry) -> ScanLine:
    record = entry.decision
    told = story.decisions.get(record.decision_id) if record is not None else None
    return ScanLine(
        scan_id=entry.scan_id,
        sample_id=entry.sample_id,
        at=entry.event.recorded_at,
        decision_id=record.decision_id if record is not None else None,
        outcome=record.outcome if record is not None else None,
        places=len(record.requests) if record is not None else 0,
        measured=len(told.results) if told is not None else 0,
        closed=entry.closed,
    )
