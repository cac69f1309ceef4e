"""A history in memory, for tests that run thousands of loops; bodies go through JSON as on disk."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from agent.history.event_log import Event


class MemoryHistory:
    """Stands in for `History`: records events and reads them back."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._events: list[Event] = []
        self._once: set[str] = set()

    def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        *,
        at: datetime,
        arrays: Mapping[str, np.ndarray] | None = None,
        stored: Mapping[str, str] | None = None,
        once: str | None = None,
    ) -> Event | None:
        if once in self._once:
            return None
        self._once |= {once} - {None}
        digests = {name: f"{len(self._events)}-{name}" for name in arrays or {}}
        self.arrays |= {digests[name]: array for name, array in (arrays or {}).items()}
        text = json.dumps(body, allow_nan=False)
        event = Event(len(self._events) + 1, at.astimezone(UTC), kind, subject, json.loads(text), digests)
        self._events.append(event)
        return event

    def events(
        self,
        *,
        kind: str | None = None,
        kinds: Iterable[str] = (),
        subject: str | None = None,
        after: int = 0,
        outlines: bool = False,
    ) -> Iterator[Event]:
        wanted = set(kinds)
        found = (e for e in self._events[after:] if kind in (None, e.kind) and subject in (None, e.subject))
        return (e for e in found if not wanted or e.kind in wanted)

    def event(self, seq: int) -> Event | None:
        return self._events[seq - 1] if 0 < seq <= len(self._events) else None

    def newest_seqs(self, kind: str, after: int = 0) -> dict[str, int]:
        return {e.body["instrument_id"]: e.seq for e in self._events[after:] if e.kind == kind}

    def __len__(self) -> int:
        return len(self._events)
