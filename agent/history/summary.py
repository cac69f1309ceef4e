"""What is known of a run from its history alone, in a few lines."""

from pathlib import Path
from typing import Any

from agent.history.counters import RunCounters
from agent.history.event_log import History
from agent.schema import event_kinds as kinds


def summary(run_directory: Path) -> dict[str, Any]:
    """Counts, and how it ended; the history is opened for reading only.

    Raises
    ------
    HistoryError
        If it cannot be read.
    """
    tally, last = RunCounters(), None
    with History(run_directory, read_only=True) as history:
        for event in history.events():
            tally.apply(event)
            last = event
    if last is None:
        return {"events": 0}
    ended = "in order" if last.kind == kinds.RUN_STOPPED else "without a farewell"
    return {
        "ended": ended,
        "last_event": f"#{last.seq} {last.kind} {last.subject}",
        "last_recorded": last.recorded_at.isoformat(),
        "events": tally.seq,
        "scans": tally.scans.total(),
        "decisions": tally.decisions.total(),
        "results": tally.results.total(),
    }
