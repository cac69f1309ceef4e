"""Writes events to the history, then to the ledger, then passes them to listeners."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.ledger.ledger import Ledger
from agent.ledger.outlines import state_events

Listener = Callable[[Event], None]


class Recorder:
    """The only writer of a run's history, with the ledger that follows it.

    Parameters
    ----------
    history
        History of the run; the ledger starts from the events already in it.
    now
        Wall clock.
    on_fault
        Called with the error if an event cannot be written.
    """

    def __init__(
        self, history: History, now: Callable[[], datetime], on_fault: Callable[[HistoryError], None] = lambda _error: None
    ) -> None:
        self.history, self.now, self._on_fault = history, now, on_fault
        self.ledger = Ledger.of(state_events(history))
        self.newest_seq = len(history)
        for newest in history.events(after=self.newest_seq - 1):  # of whatever kind
            self.ledger.note_time(newest.recorded_at)
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Pass every further event to `listener` once it is on disk; the listener must return at once and not raise."""
        self._listeners.append(listener)

    def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        *,
        arrays: Mapping[str, np.ndarray] | None = None,
        stored: Mapping[str, str] | None = None,
        once: str | None = None,
    ) -> Event | None:
        """Write an event to disk and to the ledger; returns None if an event with the same `once` exists already.

        Raises
        ------
        HistoryError
            If it cannot be written; `on_fault` is called first, because an agent that cannot record must stop.
        """
        try:
            event = self.history.record(kind, subject, body, at=self.now(), arrays=arrays, stored=stored, once=once)
        except HistoryError as error:
            self._on_fault(error)
            raise
        if event is not None:
            self.newest_seq = event.seq
            self.ledger.apply(event)
            for listener in self._listeners:
                listener(event)
        return event
