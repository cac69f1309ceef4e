"""How fast a replay goes: at once, as it was recorded, or N times faster."""

import math
import threading
import time
from collections.abc import Callable

from instrument_adapters.errors import InstrumentFaultError

_PIECE_S = 0.05


class Pace:
    """Replayed time, and the waiting that goes with it.

    Parameters
    ----------
    speed
        1 for the recording's own time, N for N times as fast; None waits for nothing.
    stop
        When another thread sets it, whoever waits is woken at once, and everyone who waits afterwards is refused.
    sleep
        Waits so many wall seconds, or until `stop` is set or the replay halted; by default it does.
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
            raise ValueError(f"a speed of {speed} was asked for; it must be positive and finite, or None for no waiting")
        self.speed = speed
        self.elapsed_s = 0.0
        self._stop, self._halted = stop or threading.Event(), threading.Event()
        self._sleep = sleep or self._wait
        self._wall = wall

    def advance(self, seconds: float, steps: int = 1, each: Callable[[int], None] = lambda _: None) -> None:
        """Let `steps` times `seconds` of the recording pass; `each` is called with the number of each finished step.

        Waits are counted from the call on, not each by itself, so that the time that `each` takes is made up for.

        Raises
        ------
        InstrumentFaultError
            If the replay was stopped or halted before or meanwhile.
        """
        began = self._wall()
        for step in range(steps):
            self._check()
            self.elapsed_s += seconds
            if self.speed is not None:
                left_s = began + (step + 1) * seconds / self.speed - self._wall()
                if left_s > 0:
                    self._sleep(left_s)
            self._check()
            each(step)

    def stop(self) -> None:
        """Wake whoever waits; every later wait is refused."""
        self._stop.set()

    def halt(self) -> None:
        """Wake whoever waits; every later wait is refused until `release`."""
        self._halted.set()

    def release(self) -> None:
        """Let time pass again."""
        self._halted.clear()

    def _wait(self, seconds: float) -> None:
        """Wait in short pieces, since two events may end it."""
        end = time.monotonic() + seconds
        while (left_s := end - time.monotonic()) > 0 and not self._halted.is_set():
            if self._stop.wait(min(left_s, _PIECE_S)):
                return

    def _check(self) -> None:
        if self._stop.is_set():
            raise InstrumentFaultError("the replay was stopped while it was busy; start a new one to go on")
        if self._halted.is_set():
            raise InstrumentFaultError("the replay was halted while it was busy; it goes on when it is released")
