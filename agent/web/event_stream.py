"""Events as they are recorded, for whoever listens over HTTP: first what was missed, out of the history, then live.

The numbers of the events are the ids of the stream, so a browser that was cut off goes on where it was.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from agent.history.event_log import Event
from agent.web.history_reader import HistoryReader

MOST_LISTENERS = 16
_BATCH = 100
_LOOK_S = 1.0  # in case nobody says that there is news
_COMMENT_S = 15.0  # so that whoever is between does not end a connection on which nothing happens
_LONGEST = 2000


class Feed:
    """Tells listeners what is recorded.

    Parameters
    ----------
    reader
        Of the run's history.
    comment_s
        After so many seconds without news a comment is sent.
    """

    def __init__(self, reader: HistoryReader, comment_s: float = _COMMENT_S) -> None:
        self._reader, self._comment_s = reader, comment_s
        self._news: set[asyncio.Event] = set()
        self._ended = False

    @property
    def full(self) -> bool:
        """Whether no further listener is taken."""
        return len(self._news) >= MOST_LISTENERS

    def news(self) -> None:
        """Something has been recorded; called in the event loop's thread."""
        for news in self._news:
            news.set()

    def end(self) -> None:
        """Send all listeners away."""
        self._ended = True
        self.news()

    async def stream(self, after: int | None, *, whole: bool = False) -> AsyncIterator[bytes]:
        """Server-sent events with numbers above `after`, or from now on.

        Parameters
        ----------
        after
            The last number that the listener knows; None: it wants no older ones.
        whole
            With all that an event's body holds; else long values are left out and named in `left_out`.
        """
        news = asyncio.Event()
        self._news.add(news)
        try:
            seen = await self._reader.last() if after is None else after
            yield b": hello\n\n"
            quiet_s = 0.0
            while not self._ended:
                news.clear()
                batch = await self._reader.events(seen, _BATCH)
                for event in batch:
                    yield _sent(event, whole=whole)
                    seen = event.seq
                quiet_s = 0.0 if batch else quiet_s
                if len(batch) == _BATCH:
                    continue
                quiet_s += await _waited(news)
                if quiet_s >= self._comment_s:
                    yield b": alive\n\n"
                    quiet_s = 0.0
        finally:
            self._news.discard(news)


async def _waited(news: asyncio.Event) -> float:
    """Seconds, until there may be news."""
    before = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_LOOK_S):
            await news.wait()
    except TimeoutError:
        pass
    return asyncio.get_running_loop().time() - before


def _sent(event: Event, *, whole: bool) -> bytes:
    data = json.dumps(as_json(event, whole=whole), separators=(",", ":"))
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {data}\n\n".encode()


def as_json(event: Event, *, whole: bool) -> dict[str, Any]:
    """An event as plain JSON."""
    body = event.body
    left_out = [] if whole else [key for key, value in body.items() if _long(value)]
    return {
        "seq": event.seq,
        "recorded_at": event.recorded_at.isoformat(),
        "kind": event.kind,
        "subject": event.subject,
        "body": {key: value for key, value in body.items() if key not in left_out},
        "left_out": left_out,
        "arrays": event.arrays,
    }


def _long(value: Any) -> bool:
    return isinstance(value, str | list | dict) and len(json.dumps(value)) > _LONGEST
