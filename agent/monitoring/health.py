"""Whether the agent can do its work: asked by /healthz, by `vaestar status` and by systemd's watchdog, and cheap.

A check is a function that returns a sentence on what is wrong, or an empty one. Those that touch the disk run in a thread and
are not repeated for some seconds, however often somebody asks.
"""

import asyncio
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.history.run_directory import DATABASE

LEAST_FREE_BYTES = 200_000_000
"""A scan of 256² with six channels takes 1.6 MB, a decision with its models some more: enough for a warning in time."""

_KEPT_S = 5.0
_SLOWEST_S = 2.0
_PROBE = ".writable"
Check = Callable[[], str]


@dataclass(frozen=True)
class Health:
    """What was found.

    Parameters
    ----------
    checks
        Name -> what is wrong, in a sentence; empty where all is well.
    disk_free_bytes
        Where the run is kept.
    loop_lag_s
        How late the event loop was at most in the last minute.
    """

    checks: Mapping[str, str]
    disk_free_bytes: int
    loop_lag_s: float

    @property
    def ok(self) -> bool:
        """Whether all is well."""
        return not any(self.checks.values())

    @property
    def restart_helps(self) -> bool:
        """Whether something is wrong that this process will not get over, and that is not the disk's own fault.

        Little space is waited for, a slow loop and lost workers mend themselves.
        """
        return bool(self.checks["history"])

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON."""
        checks = {name: wrong or "ok" for name, wrong in self.checks.items()}
        return {
            "ok": self.ok,
            "checks": checks,
            "disk_free_bytes": self.disk_free_bytes,
            "loop_lag_s": round(self.loop_lag_s, 4),
        }


class HealthChecks:
    """Looks after one run.

    Parameters
    ----------
    run_directory
        Where the history is kept.
    checks
        Further ones, by name; called in the event loop's thread.
    now
        Seconds from any origin; never jumps backwards.
    """

    def __init__(
        self, run_directory: Path, checks: Mapping[str, Check] | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._now = run_directory, now
        self.checks: dict[str, Check] = dict(checks or {})
        self._disk: tuple[str, int] = ("", 0)
        self._looked_at = -float("inf")
        self._looking = asyncio.Lock()
        self._lags_s = deque([0.0], maxlen=60)

    @property
    def loop_lag_s(self) -> float:
        """How late the event loop was at most, the last sixty times that it was looked at."""
        return max(self._lags_s)

    async def health(self) -> Health:
        """What is found now; of the disk, what was found in the last seconds."""
        async with self._looking:  # who asks during the first look waits for what it finds
            if self._now() - self._looked_at > _KEPT_S:
                self._disk = await asyncio.to_thread(_disk, self._directory)
                self._looked_at = self._now()
        wrong, free = self._disk
        late = f"the event loop answered {self.loop_lag_s:.1f} s late" if self.loop_lag_s > _SLOWEST_S else ""
        space = f"{free / 1e6:.0f} MB are left on the disk" if free < LEAST_FREE_BYTES else ""
        checks = {"event_loop": late, "history": wrong, "disk": space, **{name: check() for name, check in self.checks.items()}}
        return Health(checks, free, self.loop_lag_s)

    async def watch_the_loop(self, every_s: float = 1.0) -> None:
        """Notice, for as long as it runs, how late the event loop is."""
        while True:
            before = self._now()
            await asyncio.sleep(every_s)
            self._lags_s.append(max(0.0, self._now() - before - every_s))


def _disk(run_directory: Path) -> tuple[str, int]:
    """What keeps the history from being written, and the bytes that are free."""
    try:
        free = shutil.disk_usage(run_directory).free
        if not (run_directory / DATABASE).is_file():
            return f"{DATABASE} is gone from {run_directory}", free
        probe = run_directory / f"{_PROBE}.{os.getpid()}"
        try:
            probe.write_bytes(b"?" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return f"{run_directory} cannot be written: {error}", 0
    return "", free
