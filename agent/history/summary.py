"""Summary of a run that is not running, from its history alone."""

from pathlib import Path
from typing import Any

from agent.history.counters import RunCounters
from agent.history.event_log import History
from agent.schema import event_kinds as kinds


def summary(run_directory: Path) -> dict[str, Any]:
    """Counts of a run, and how it ended; the history is opened for reading only.

    Raises
    ------
    HistoryError
        If the history cannot be read.
    """
    counters, last = RunCounters(), None
    with History(run_directory, read_only=True) as history:
        for event in history.events(outlines=True):
            counters.apply(event)
            last = event
    if last is None:
        return {"events": 0}
    ended = "clean shutdown" if last.kind == kinds.RUN_STOPPED else "terminated without a clean shutdown"
    return {
        "ended": ended,
        "last_event": f"#{last.seq} {last.kind} {last.subject}",
        "last_recorded": last.recorded_at.isoformat(),
        "events": counters.seq,
        "scans": counters.scans.total(),
        "decisions": counters.decisions.total(),
        "results": counters.results.total(),
    }
