"""HTTP connections of the server: requests have to arrive in time, and silent connections make room for new ones.

Anyone on the computer can open connections and say nothing, or send a request byte by byte. uvicorn counts these against its
limit and answers everybody else with 503, also an operator who stops an instrument. Here a connection without a complete request
is closed after `REQUEST_S`, and at `MAX_CONNECTIONS` the one that has been useless for longest is closed for each new one.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_S = 5.0
MAX_CONNECTIONS = 64


class TimedConnection(H11Protocol):
    """One connection; `uvicorn.Config(http=TimedConnection)`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.since_s = self.loop.time()  # when the present request was expected
        self._timer: asyncio.TimerHandle | None = None

    @property
    def useless(self) -> bool:
        """Whether no request is being answered: none has arrived completely, or its client does not read the answer."""
        answering = self.cycle is not None and not self.cycle.response_complete
        return not answering or self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, and close another one if there are too many."""
        super().connection_made(transport)
        self._expect_request()
        others = [other for other in self.connections if isinstance(other, TimedConnection) and other is not self]
        if len(others) >= MAX_CONNECTIONS:
            useless = [other for other in others if other.useless]
            (min(useless, key=lambda other: other.since_s) if useless else self).transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take in data; a request that is complete stops the timer, the first byte of the next one starts it."""
        super().data_received(data)
        if self.conn.their_state in (h11.IDLE, h11.SEND_BODY):
            if self._timer is None:
                self._expect_request()
        else:
            self._cancel_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._cancel_timer()
        super().connection_lost(exc)

    def _expect_request(self) -> None:
        self.since_s = self.loop.time()
        self._timer = self.loop.call_later(REQUEST_S, self.transport.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
