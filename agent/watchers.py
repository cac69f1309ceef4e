"""Whoever watches the agent from inside its process: a web page, metrics. Nothing waits for them."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.history import Event

_MOST = 1000  # events that one who does not look keeps; the oldest are let go
_LONGEST = 300


class Watchers:
    """Hands every recorded event to those who have subscribed, in the event loop's thread."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, Any]]] = set()

    @contextmanager
    def subscription(self) -> Iterator[asyncio.Queue[dict[str, Any]]]:
        """Events from now on, as `told`; a gap in their `seq` says that too many came: ask the history for what is missing."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_MOST)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def tell(self, event: Event) -> None:
        """Hand on an event."""
        if not self._queues:
            return
        news = told(event)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(news)


def told(event: Event) -> dict[str, Any]:
    """An event as plain JSON, short: numbers and words as they are, and of longer things how many there are."""
    facts = {"recorded_at": event.recorded_at.isoformat()}
    return {"seq": event.seq, "kind": event.kind, "subject": event.subject, "facts": facts | _short(event.body)}


def _short(body: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in body.items():
        if isinstance(value, str):
            out[key] = value[:_LONGEST]
        elif isinstance(value, bool | int | float) or value is None:
            out[key] = value
        elif isinstance(value, list | tuple):
            out[key] = len(value)
        elif key == "decision":
            out |= {name: value.get(name) for name in ("decision_id", "outcome", "sample_id", "chosen", "explanation")}
            out["requests"] = len(value.get("requests", ()))
        elif key in ("parameters", "seqs"):
            out[key] = value
    return out
