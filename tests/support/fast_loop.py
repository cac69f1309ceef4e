"""An event loop with simulated time, which jumps to the next timer when nothing else is left to do, and clocks that follow it."""

import asyncio
import contextlib
import datetime as dt
import selectors
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

EPOCH_S = 1_770_000_000.0


class _Selector(selectors.DefaultSelector):  # type: ignore[valid-type, misc]
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            return super().select(10.0)  # a thread may still deliver something
        if not ready and timeout:
            self.now += timeout
        return ready


class FastLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._selector_ = _Selector()
        super().__init__(self._selector_)

    def time(self) -> float:
        return self._selector_.now


class Clocks:
    """A monotonic clock, and a wall clock that can be set."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return EPOCH_S + self.monotonic() + self.ahead_s

    @contextlib.contextmanager
    def as_apscheduler_sees_it(self) -> Iterator[None]:
        clocks = self

        class Now(dt.datetime):
            @classmethod
            def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
                return dt.datetime.fromtimestamp(clocks.wall(), tz)

        with pytest.MonkeyPatch.context() as patch:
            for module in ("schedulers.base", "triggers.interval", "executors.base"):
                patch.setattr(f"apscheduler.{module}.datetime", Now)
            yield


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=FastLoop) as runner:
        return runner.run(scenario)
