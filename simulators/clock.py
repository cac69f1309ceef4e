"""One simulated clock for one instrument: everything that takes time advances it."""

import math
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from simulators.errors import InterruptedWaitError

EPOCH = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
_PIECE_S = 0.05


class SimulatedClock:
    """Simulated time, and the waiting that goes with it.

    Parameters
    ----------
    speed
        1 for real time, N for N times as fast; None is event-driven: nothing waits.
    stop
        When another thread sets it, whoever waits is woken at once and gets `InterruptedWaitError`, as does everyone who
        waits afterwards.
    sleep
        Waits so many wall seconds, or until `stop` is set or the clock halted; by default it does.
    wall
        Wall seconds from any origin; never jumps backwards.

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
            raise ValueError(f"a clock of speed {speed} was asked for; it must be positive and finite, or None for event-driven")
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
        """Simulated time; the clock starts at `EPOCH`, whatever the date."""
        return EPOCH + timedelta(seconds=self._elapsed_s)

    def advance(self, seconds: float) -> None:
        """Let the instrument be busy for so many simulated seconds, and wait as long as the speed demands.

        Waits are counted from the first one on, not each by itself, so that the time that computing takes is made up for.

        Raises
        ------
        ValueError
            If `seconds` is negative.
        InterruptedWaitError
            If the clock was stopped or halted before or during the wait.
        """
        if not seconds >= 0:
            raise ValueError(f"a clock cannot advance by {seconds} s; give a number that is not negative")
        self.check()
        self._elapsed_s += seconds
        if self.speed is None:
            return
        now = self.wall()
        self._due = (now if self._due is None else self._due) + seconds / self.speed
        if self._due > now:
            self._sleep(self._due - now)
        self.check()

    def idle(self, wall_s: float) -> None:
        """Charge `wall_s` wall seconds that have passed while somebody else was thinking: a slow agent pays in drift.

        They count `speed` times, and once when event-driven. Nothing waits.

        Raises
        ------
        ValueError
            If `wall_s` is negative.
        """
        if not wall_s >= 0:
            raise ValueError(f"{wall_s} s cannot have passed; give a number that is not negative")
        self._elapsed_s += wall_s * (self.speed or 1.0)
        if self._due is not None:
            self._due += wall_s

    def stop(self) -> None:
        """Wake whoever waits; every later wait is refused."""
        self._stop.set()

    def halt(self) -> None:
        """Wake whoever waits; every later wait is refused until `release`."""
        self._halted.set()

    def release(self) -> None:
        """Let time pass again; what was left of a wait that was ended is not made up for."""
        self._due = None
        self._halted.clear()

    def check(self) -> None:
        """Do nothing, unless the clock was stopped or halted.

        Raises
        ------
        InterruptedWaitError
            If it was.
        """
        if self._stop.is_set():
            raise InterruptedWaitError("the simulated instrument was stopped while it was busy; start a new one to go on")
        self.check_halted()

    @property
    def halted(self) -> bool:
        """Whether the clock was halted and not released."""
        return self._halted.is_set()

    def check_halted(self) -> None:
        """Do nothing, unless the clock was halted (see `check`)."""
        if self.halted:
            raise InterruptedWaitError("the simulated instrument was halted while it was busy; it goes on when it is released")

    def _wait(self, seconds: float) -> None:
        """Wait in short pieces, since two events may end it."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0 and not self._halted.is_set():
            if self._stop.wait(min(left_s, _PIECE_S)):
                return
