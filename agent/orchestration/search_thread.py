"""Runs a search in a thread of its own, with reasons to end it, and a wait for its result that cannot last for ever.

A thread cannot be killed. If it continues long after its search was ended, because a user's own method never returns, it is
abandoned and its result is ignored.
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
EndReason = Literal["superseded", "agent stops", "emergency stop", "too long", "interrupted"]
_POLL_S = 0.2
_PATIENCE_S = 10.0


class SearchRun:
    """Whether and why a search is to end: set in the event loop's thread, polled in the search's thread.

    Parameters
    ----------
    longest_s
        Seconds after which the search ends in any case.
    clock
        Monotonic clock in seconds.
    """

    def __init__(self, longest_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.began_s = clock()
        self._clock, self._longest_s = clock, longest_s
        self._end_reason: EndReason | None = None
        self.basis: DecisionBasis | None = None  # what the decision rests on

    @property
    def end_reason(self) -> EndReason | None:
        """The first reason to end the search; None while it may run."""
        if self._end_reason is None and self._clock() - self.began_s >= self._longest_s:
            self._end_reason = "too long"
        return self._end_reason

    @property
    def seconds(self) -> float:
        """Seconds since the search began."""
        return self._clock() - self.began_s

    def end(self, reason: EndReason) -> None:
        """Ask the search to end; the first reason is kept."""
        self._end_reason = self.end_reason or reason

    def ended(self) -> bool:
        """True once the search is to end."""
        return self.end_reason is not None

    async def result(self, future: "asyncio.Future[T]") -> T:
        """Result of the search.

        Raises
        ------
        SearchCancelledError
            If the search was ended, or does not end although it was asked to.
        """
        abandoned: Callable[[], bool] | None = None
        while not future.done():
            if self.ended():
                abandoned = abandoned or deadline(_PATIENCE_S, self._clock)
                if abandoned():
                    future.add_done_callback(_retrieve_exception)
                    raise SearchCancelledError("the search did not end when it was asked to, and was abandoned")
            await asyncio.wait({future}, timeout=_POLL_S)
        return future.result()


def in_thread(call: Callable[[], T]) -> "asyncio.Future[T]":
    """Future of `call` in a daemon thread, which does not keep the process alive."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - a future carries whatever the call raised
            future.set_exception(error)

    threading.Thread(target=run, name="search", daemon=True).start()
    return asyncio.wrap_future(future)


def _retrieve_exception(future: "asyncio.Future[T]") -> None:
    if not future.cancelled():
        future.exception()  # else asyncio warns that it was never retrieved
