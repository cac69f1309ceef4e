"""Clock of a replay: without waiting, at the recorded speed, or N times as fast."""

import math
import threading
import time
from collections.abc import Callable

from instrument_adapters.errors import InstrumentFaultError

_WAIT_SLICE_S = 0.05


class Pace:
    """Replayed time, and the waits that belong to it.

    Parameters
    ----------
    speed
        1 for the recorded speed, N for N times as fast; None for no waits.
    stop
        Event that another thread may set: it ends the wait under way, and every later wait fails.
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
            raise ValueError(f"the speed is {speed}; it must be positive and finite, or None for no waits")
        self.speed = speed
        self.elapsed_s = 0.0
        self._stop, self._halted = stop or threading.Event(), threading.Event()
        self._sleep = sleep or self._wait
        self._wall = wall

    def advance(self, seconds: float, steps: int = 1, on_step: Callable[[int], None] = lambda _: None) -> None:
        """Advance the replay by `steps` steps of `seconds` each and call `on_step` with the number of each finished step.

        All waits are measured from the beginning of the call, so the time spent in `on_step` is compensated.

        Raises
        ------
        InstrumentFaultError
            If the replay was stopped or halted before or during the wait.
        """
        start = self._wall()
        for step in range(steps):
            self._check()
            self.elapsed_s += seconds
            if self.speed is not None:
                remaining_s = start + (step + 1) * seconds / self.speed - self._wall()
                if remaining_s > 0:
                    self._sleep(remaining_s)
            self._check()
            on_step(step)

    def stop(self) -> None:
        """End the wait under way; every later wait fails."""
        self._stop.set()

    def halt(self) -> None:
        """End the wait under way; every later wait fails until `release`."""
        self._halted.set()

    def release(self) -> None:
        """Allow waits again."""
        self._halted.clear()

    def _wait(self, seconds: float) -> None:
        """Wait in short slices, since either of two events may end the wait."""
        end = time.monotonic() + seconds
        while (remaining_s := end - time.monotonic()) > 0 and not self._halted.is_set():
            if self._stop.wait(min(remaining_s, _WAIT_SLICE_S)):
                return

    def _check(self) -> None:
        if self._stop.is_set():
            raise InstrumentFaultError("the replay was stopped while it was busy; start a new one to continue")
        if self._halted.is_set():
            raise InstrumentFaultError("the replay was halted while it was busy; it continues after release")
