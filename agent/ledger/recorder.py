"""Writes events: into the history first, then into the ledger, then to whoever listens."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.ledger.ledger import Ledger

Hears = Callable[[Event], None]


class Recorder:
    """The one writer of a run's history, and the ledger that follows it.

    Parameters
    ----------
    history
        Of this run; what it holds already is taken up.
    now
        The wall clock.
    """

    def __init__(self, history: History, now: Callable[[], datetime]) -> None:
        self.history, self.now = history, now
        self.ledger = Ledger.of(history.events())
        self.newest_seq = len(history)
        self._listeners: list[Hears] = []
        self.on_fault: Callable[[HistoryError], None] = lambda _: None

    def listen(self, hears: Hears) -> None:
        """Have every event told from now on, once it is on disk; `hears` returns at once and raises nothing."""
        self._listeners.append(hears)

    def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        *,
        arrays: Mapping[str, np.ndarray] | None = None,
        once: str | None = None,
    ) -> Event | None:
        """The event, on disk and in the ledger; None if what may happen once only has happened before.

        Raises
        ------
        HistoryError
            If it could not be written; `on_fault` has been told, since an agent that cannot record must not go on.
        """
        try:
            event = self.history.record(kind, subject, body, at=self.now(), arrays=arrays, once=once)
        except HistoryError as error:
            self.on_fault(error)
            raise
        if event is not None:
            self.newest_seq = event.seq
            self.ledger.apply(event)
            for hears in self._listeners:
                hears(event)
        return event
