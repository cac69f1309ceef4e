"""How fast a replay goes: at once, as it was recorded, or N times faster."""

import math
import threading
import time
from collections.abc import Callable

from instrument_adapters.errors import InstrumentFaultError


class Pace:
    """Replayed time, and the waiting that goes with it.

    Parameters
    ----------
    speed
        1 for the recording's own time, N for N times as fast; None waits for nothing.
    stop
        When another thread sets it, whoever waits is woken at once, and everyone who waits afterwards is refused.
    sleep
        Waits so many wall seconds, or until `stop` is set; `stop.wait` by default.
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
        self._stop = stop or threading.Event()
        self._sleep = sleep or self._stop.wait
        self._wall = wall

    def advance(self, seconds: float, steps: int = 1, each: Callable[[int], None] = lambda _: None) -> None:
        """Let `steps` times `seconds` of the recording pass; `each` is called with the number of each finished step.

        Waits are counted from the call on, not each by itself, so that the time that `each` takes is made up for.

        Raises
        ------
        InstrumentFaultError
            If the replay was stopped before or meanwhile.
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

    def _check(self) -> None:
        if self._stop.is_set():
            raise InstrumentFaultError("the replay was stopped while it was busy; start a new one to go on")
