"""Server-sent events: missed events are read from the history, then new ones are streamed as they are recorded.

The sequence numbers of the events are the ids of the stream, so a browser resumes where its connection broke off.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agent.history.event_log import Event
from agent.web.history_reader import HistoryReader

MOST_LISTENERS = 16
_BATCH = 100
_POLL_S = 1.0  # in case a wake-up is lost
_KEEP_ALIVE_S = 15.0  # a proxy must not close an idle connection
_MAX_VALUE_CHARS = 2000


class Feed:
    """Streams recorded events to HTTP clients.

    Parameters
    ----------
    reader
        Reader of the run's history.
    comment_s
        Seconds without an event after which a keep-alive comment is sent.
    """

    def __init__(self, reader: HistoryReader, comment_s: float = _KEEP_ALIVE_S) -> None:
        self._reader, self._comment_s = reader, comment_s
        self._wakeups: set[asyncio.Event] = set()
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether the maximum number of listeners is reached."""
        return len(self._wakeups) >= MOST_LISTENERS

    def wake(self) -> None:
        """Wake all streams after an event was recorded. Call it in the thread of the event loop."""
        for wakeup in self._wakeups:
            wakeup.set()

    def end(self) -> None:
        """End all streams."""
        self._ended = True
        self.wake()

    async def stream(self, after: int | None, *, with_long_values: bool = False) -> AsyncIterator[bytes]:
        """Yield server-sent events with sequence numbers above `after`, then new ones.

        Parameters
        ----------
        after
            Last sequence number that the listener knows; None: new events only.
        with_long_values
            Whether to send complete event bodies. Otherwise long values are omitted and their keys listed in `left_out`.
        """
        wakeup = asyncio.Event()
        self._wakeups.add(wakeup)
        try:
            seen = await self._reader.last_seq() if after is None else after
            yield b": hello\n\n"
            idle_s = 0.0
            while not self._ended:
                wakeup.clear()
                batch = await self._reader.events(seen, _BATCH)
                for event in batch:
                    yield _encode(event, with_long_values=with_long_values)
                    seen = event.seq
                idle_s = 0.0 if batch else idle_s
                if len(batch) == _BATCH:
                    continue
                idle_s += await _wait(wakeup)
                if idle_s >= self._comment_s:
                    yield b": alive\n\n"
                    idle_s = 0.0
        finally:
            self._wakeups.discard(wakeup)


async def _wait(wakeup: asyncio.Event) -> float:
    """Wait for a wake-up or the poll interval, and return the seconds waited."""
    before = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_POLL_S):
            await wakeup.wait()
    except TimeoutError:
        pass
    return asyncio.get_running_loop().time() - before


def _encode(event: Event, *, with_long_values: bool) -> bytes:
    data = json.dumps(as_json(event, with_long_values=with_long_values), separators=(",", ":"))
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def as_json(event: Event, *, with_long_values: bool) -> dict[str, Any]:
    """Return an event as a JSON-serialisable dictionary."""
    body = event.body
    left_out = [] if with_long_values else [key for key, value in body.items() if _is_long(value)]
    return {
        "seq": event.seq,
        "recorded_at": event.recorded_at.isoformat(),
        "kind": event.kind,
        "subject": event.subject,
        "body": {key: value for key, value in body.items() if key not in left_out},
        "left_out": left_out,
        "arrays": event.arrays,
    }


def _is_long(value: Any) -> bool:
    return isinstance(value, str | list | dict) and len(json.dumps(value)) > _MAX_VALUE_CHARS
