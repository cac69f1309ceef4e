"""The history as HTTP reads it: over a connection of its own that cannot write, in a thread of its own.

What is read for one page must neither hold up the event loop, which answers instruments, nor the connection that records.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from agent.history.counters import RunCounters
from agent.history.event_log import Event, History
from agent.schema import event_kinds as kinds

_T = TypeVar("_T")


class HistoryReader:
    """Answers questions about a run while an agent writes to it.

    Parameters
    ----------
    run_directory
        Holds the history; it is opened at the first question.
    """

    def __init__(self, run_directory: Path) -> None:
        self.run_directory = run_directory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history-reader")
        self._history: History | None = None
        self._tally = RunCounters()

    async def events(self, after: int, most: int) -> list[Event]:
        """At most so many events with numbers above `after`."""
        return await self._asked(lambda history: _first(history, after, most))

    async def last(self) -> int:
        """The number of the newest event."""
        return await self._asked(len)

    async def counted(self, question: Callable[[RunCounters], _T]) -> _T:
        """The answer to a question about what has been counted up to now; it is asked in the reader's thread."""
        return await self._asked(lambda history: question(self._brought_up_to_date(history)))

    async def decision(self, decision_id: str) -> dict[str, Any] | None:
        """The record of a decision, or None if there is none."""
        return await self._asked(lambda history: _record(history, decision_id))

    async def close(self) -> None:
        """Release the files; waits for the question that is being answered."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    async def _asked(self, question: Callable[[History], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: question(self._opened()))

    def _opened(self) -> History:
        if self._history is None:
            self._history = History(self.run_directory, read_only=True)
        return self._history

    def _brought_up_to_date(self, history: History) -> RunCounters:
        for event in history.events(after=self._tally.seq):
            self._tally.apply(event)
        return self._tally

    def _close(self) -> None:
        if self._history is not None:
            self._history.close()


def _first(history: History, after: int, most: int) -> list[Event]:
    found = []
    for event in history.events(after=after):
        found.append(event)
        if len(found) == most:
            break
    return found


def _record(history: History, decision_id: str) -> dict[str, Any] | None:
    for event in history.events(kind=kinds.DECISION_MADE, subject=decision_id):
        return {"seq": event.seq, "recorded_at": event.recorded_at.isoformat(), "arrays": event.arrays, **event.body}
    return None
