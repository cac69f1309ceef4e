"""Health checks of the agent, for /healthz, `vaestar status` and systemd's watchdog.

A check is a function that returns a sentence on what is wrong, or "". Disk checks run in a thread, and their result is reused
for five seconds, so that frequent requests cost nothing.
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
from instrument_adapters.new_file import open_new

LEAST_FREE_BYTES = 200_000_000
"""A scan of 256² pixels with six channels takes 1.6 MB, a decision with its models somewhat more: the warning comes in time."""

_DISK_CACHE_S = 5.0
_MAX_LAG_S = 2.0
_PROBE = ".writable"
Check = Callable[[], str]


@dataclass(frozen=True)
class Health:
    """Result of all checks at one moment.

    Parameters
    ----------
    checks
        Name of each check -> a sentence on what is wrong, or "".
    disk_free_bytes
        Free space on the disk of the run directory.
    loop_lag_s
        Largest delay of the event loop in the last minute, in seconds.
    """

    checks: Mapping[str, str]
    disk_free_bytes: int
    loop_lag_s: float

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return not any(self.checks.values())

    @property
    def restart_helps(self) -> bool:
        """Whether the process should be restarted because it can no longer write its history.

        A restart does not help against low disk space; a slow event loop and lost workers recover by themselves.
        """
        return bool(self.checks["history"])

    def as_json(self) -> dict[str, Any]:
        """Return the result as a JSON-serialisable dictionary."""
        checks = {name: problem or "ok" for name, problem in self.checks.items()}
        return {
            "ok": self.ok,
            "checks": checks,
            "disk_free_bytes": self.disk_free_bytes,
            "loop_lag_s": round(self.loop_lag_s, 4),
        }


class HealthChecks:
    """Runs the health checks of one run.

    Parameters
    ----------
    run_directory
        Run directory, which holds the history.
    checks
        Further checks by name; called in the thread of the event loop.
    now
        Monotonic clock in seconds.
    """

    def __init__(
        self, run_directory: Path, checks: Mapping[str, Check] | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory, self._now = run_directory, now
        self.checks: dict[str, Check] = dict(checks or {})
        self._disk: tuple[str, int] = ("", 0)
        self._disk_checked_at = -float("inf")
        self._disk_lock = asyncio.Lock()
        self._lags_s = deque([0.0], maxlen=60)

    @property
    def loop_lag_s(self) -> float:
        """Largest delay of the event loop in the last sixty samples, in seconds."""
        return max(self._lags_s)

    async def health(self) -> Health:
        """Run all checks; the result of the disk check may be up to five seconds old."""
        async with self._disk_lock:  # a second request waits for the check under way
            if self._now() - self._disk_checked_at > _DISK_CACHE_S:
                self._disk = await asyncio.to_thread(_check_disk, self._directory)
                self._disk_checked_at = self._now()
        history, free = self._disk
        late = f"the event loop was up to {self.loop_lag_s:.1f} s late" if self.loop_lag_s > _MAX_LAG_S else ""
        space = f"only {free / 1e6:.0f} MB are free on the disk" if free < LEAST_FREE_BYTES else ""
        checks = {"event_loop": late, "history": history, "disk": space, **{name: check() for name, check in self.checks.items()}}
        return Health(checks, free, self.loop_lag_s)

    async def monitor_event_loop(self, every_s: float = 1.0) -> None:
        """Sample the delay of the event loop until cancelled."""
        while True:
            before = self._now()
            await asyncio.sleep(every_s)
            self._lags_s.append(max(0.0, self._now() - before - every_s))


def _check_disk(run_directory: Path) -> tuple[str, int]:
    """Return why the history cannot be written, or "", and the free bytes."""
    try:
        free = shutil.disk_usage(run_directory).free
        if not (run_directory / DATABASE).is_file():
            return f"{DATABASE} is missing from {run_directory}", free
        probe = run_directory / f"{_PROBE}.{os.getpid()}"
        try:
            with open_new(probe) as file:
                file.write(b"?" * 4096)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return f"{run_directory} cannot be written: {error}", 0
    return "", free
