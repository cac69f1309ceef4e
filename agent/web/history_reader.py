"""Read access to the history for HTTP requests: a read-only connection in a thread of its own.

Reading for a request must block neither the event loop, which answers instruments, nor the connection that records.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from agent.history.counters import RunCounters, decision_summary
from agent.history.event_log import Event, History
from agent.schema import event_kinds as kinds

_T = TypeVar("_T")


class HistoryReader:
    """Runs queries on a run's history while the agent writes to it.

    Parameters
    ----------
    run_directory
        Run directory; its history is opened at the first query.
    """

    def __init__(self, run_directory: Path) -> None:
        self.run_directory = run_directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history-reader")
        self._history: History | None = None
        self._counters = RunCounters()

    async def events(self, after: int, limit: int) -> list[Event]:
        """Return at most `limit` events with sequence numbers above `after`."""
        return await self._run(lambda history: _first_events(history, after, limit))

    async def last_seq(self) -> int:
        """Return the sequence number of the newest event."""
        return await self._run(len)

    async def from_counters(self, query: Callable[[RunCounters], _T]) -> _T:
        """Return the result of a query on the counters, brought up to date. It runs in the reader's thread."""
        return await self._run(lambda history: query(self._updated_counters(history)))

    async def decisions(self, most: int, before: int | None = None) -> list[dict[str, Any]]:
        """Return the newest decisions in a few fields, the newest first; those before event `before`, if it is given."""

        def newest_first(history: History) -> list[dict[str, Any]]:
            return [decision_summary(e) for e in history.newest(most, kind=kinds.DECISION_MADE, before=before)]

        return await self._run(newest_first)

    async def decision(self, decision_id: str) -> dict[str, Any] | None:
        """Return the record of a decision, or None if the run does not have it."""
        return await self._run(lambda history: _record(history, decision_id))

    async def close(self) -> None:
        """Close the history once the query under way has finished."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _run(self, query: Callable[[History], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: query(self._open()))

    def _open(self) -> History:
        if self._history is None:
            self._history = History(self.run_directory, read_only=True)
        return self._history

    def _updated_counters(self, history: History) -> RunCounters:
        for event in history.events(after=self._counters.seq, outlines=True):
            self._counters.apply(event)
        return self._counters

    def _close(self) -> None:
        if self._history is not None:
            self._history.close()


def _first_events(history: History, after: int, limit: int) -> list[Event]:
    found = []
    for event in history.events(after=after):
        found.append(event)
        if len(found) == limit:
            break
    return found


def _record(history: History, decision_id: str) -> dict[str, Any] | None:
    for event in history.events(kind=kinds.DECISION_MADE, subject=decision_id):
        return {"seq": event.seq, "recorded_at": event.recorded_at.isoformat(), "arrays": event.arrays, **event.body}
    return None
