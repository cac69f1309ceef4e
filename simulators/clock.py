"""Simulated clock of one instrument; everything that takes time advances it."""

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from simulators.errors import InterruptedWaitError

EPOCH = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_WAIT_SLICE_S = 0.05


class SimulatedClock:
    """Simulated time, and the waits that belong to it.

    Parameters
    ----------
    speed
        1 for real time, N for N times as fast; None for an event-driven clock, which never waits.
    stop
        Event that another thread may set: the wait under way and every later one then raise `InterruptedWaitError`.
    sleep
        Function that waits the given wall seconds; by default a wait that `stop` or `halt` ends early.
    wall
        Monotonic clock: wall seconds from any origin.

    Raises
    ------
    ValueError
        If the speed is not a positive, finite number.
    """

    def __init__(
        self,
        speed: float | None = None,
        *,
        stop: threading.Event | None = None,
        sleep: Callable[[float], object] | None = None,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        if speed is not None and not 0 < speed < math.inf:
            raise ValueError(f"the speed of the clock is {speed}; it must be positive and finite, or None for event-driven")
        self.speed = speed
        self.wall = wall
        self._stop, self._halted = stop or threading.Event(), threading.Event()
        self._sleep = sleep or self._wait
        self._elapsed_s = 0.0
        self._due: float | None = None

    @property
    def elapsed_s(self) -> float:
        """Simulated seconds since the start."""
        return self._elapsed_s

    def now(self) -> datetime:
        """Simulated time; the clock always starts at `EPOCH`."""
        return EPOCH + timedelta(seconds=self._elapsed_s)

    def advance(self, seconds: float) -> None:
        """Advance simulated time by `seconds` and wait as long as the speed demands.

        All waits are measured from the first one, so the time spent computing is compensated.

        Raises
        ------
        ValueError
            If `seconds` is negative.
        InterruptedWaitError
            If the clock was stopped or halted before or during the wait.
        """
        if not seconds >= 0:
            raise ValueError(f"the clock cannot advance by {seconds} s; give a number that is not negative")
        self.raise_if_stopped()
        self._elapsed_s += seconds
        if self.speed is None:
            return
        now = self.wall()
        self._due = (now if self._due is None else self._due) + seconds / self.speed
        if self._due > now:
            self._sleep(self._due - now)
        self.raise_if_stopped()

    def charge_wall_time(self, wall_s: float) -> None:
        """Add `wall_s` wall seconds that the agent took to decide, so that a slow agent pays in drift.

        They are multiplied by `speed`; an event-driven clock counts them once. There is no wait.

        Raises
        ------
        ValueError
            If `wall_s` is negative.
        """
        if not wall_s >= 0:
            raise ValueError(f"{wall_s} s of wall time cannot have passed; give a number that is not negative")
        self._elapsed_s += wall_s * (self.speed or 1.0)
        if self._due is not None:
            self._due += wall_s

    def stop(self) -> None:
        """End the wait under way; every later wait fails."""
        self._stop.set()

    def halt(self) -> None:
        """End the wait under way; every later wait fails until `release`."""
        self._halted.set()

    def release(self) -> None:
        """Allow waits again; the remainder of an interrupted wait is dropped."""
        self._due = None
        self._halted.clear()

    def raise_if_stopped(self) -> None:
        """Raise an error if the clock was stopped or halted.

        Raises
        ------
        InterruptedWaitError
            If it was.
        """
        if self._stop.is_set():
            raise InterruptedWaitError("the simulated instrument was stopped while it was busy; start a new one to continue")
        self.raise_if_halted()

    @property
    def halted(self) -> bool:
        """Whether the clock is halted."""
        return self._halted.is_set()

    def raise_if_halted(self) -> None:
        """Raise an error if the clock is halted (see `raise_if_stopped`)."""
        if self.halted:
            raise InterruptedWaitError("the simulated instrument was halted while it was busy; it continues after release")

    def _wait(self, seconds: float) -> None:
        """Wait in short slices, since either of two events may end the wait."""
        end = time.monotonic() + seconds
        while (remaining_s := end - time.monotonic()) > 0 and not self._halted.is_set():
            if self._stop.wait(min(remaining_s, _WAIT_SLICE_S)):
                return
