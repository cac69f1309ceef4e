"""A search in a thread of its own: what may end it, and waiting for it without ever waiting for ever.

A thread cannot be killed. One that goes on long after its search was told to end, because a method of the user's own never comes
back, is left to itself; what it brings is not looked at.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Literal, TypeVar

from agent.errors import SearchCancelledError
from agent.schema.decision_basis import DecisionBasis
from agent.search.task_runner import deadline

T = TypeVar("T")
End = Literal["overtaken", "agent stops", "emergency stop", "too long", "interrupted"]
_LOOK_S = 0.2
_PATIENCE_S = 10.0


class SearchRun:
    """Whether and why a search is to end; told by the event loop's thread, asked by the search's.

    Parameters
    ----------
    longest_s
        Seconds after which it is to end, whatever it does.
    clock
        Monotonic, in seconds.
    """

    def __init__(self, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.began_s = clock()
        self._clock, self._longest_s = clock, longest_s
        self._why: End | None = None
        self.question: DecisionBasis | None = None  # what it rests on

    @property
    def why(self) -> End | None:
        """The first reason to end it, or None."""
        if self._why is None and self._clock() - self.began_s >= self._longest_s:
            self._why = "too long"
        return self._why

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self.began_s

    def end(self, why: End) -> None:
        """Give it up; the first reason stays."""
        self._why = self.why or why

    def ended(self) -> bool:
        """True once it is to end."""
        return self.why is not None

    async def result(self, future: "asyncio.Future[T]") -> T:
        """What the search comes to.

        Raises
        ------
        SearchCancelledError
            If it was ended, or was told to end and does not.
        """
        lost: Callable[[], bool] | None = None
        while not future.done():
            if self.ended():
                lost = lost or deadline(_PATIENCE_S, self._clock)
                if lost():
                    future.add_done_callback(_unheard)
                    raise SearchCancelledError("the search does not end when it is told to, and was left to itself")
            await asyncio.wait({future}, timeout=_LOOK_S)
        return future.result()


def in_thread(call: Callable[[], T]) -> "asyncio.Future[T]":
    """The outcome of `call` in a thread that does not keep the process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - a future carries whatever the call raised
            future.set_exception(error)

    threading.Thread(target=run, name="search", daemon=True).start()
    return asyncio.wrap_future(future)


def _unheard(future: "asyncio.Future[T]") -> None:
    if not future.cancelled():
        future.exception()  # so that asyncio does not complain that nobody did
