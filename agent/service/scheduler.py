"""What the service does at intervals, on APScheduler; and a watch over the computer's clock, which APScheduler goes by.

APScheduler 3 plans by the wall clock: set back by an hour it does nothing for an hour. So each run is also planned by the
monotonic clock, a loop of our own compares the two, and when the wall clock steps all jobs are planned anew.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

from agent.errors import AgentError, HistoryError
from agent.schema import event_kinds as kinds

STEP_S = 2.0
_QUIET_S = 3600.0  # the same trouble of the same job is recorded once in this time
_TROUBLES = {EVENT_JOB_ERROR: "failed", EVENT_JOB_MISSED: "missed", EVENT_JOB_MAX_INSTANCES: "overran"}
_LOG = structlog.get_logger("vaestar.agent")
Record = Callable[[str, str, Mapping[str, Any]], None]  # kind, subject, body


class _Interval(BaseTrigger):  # type: ignore[misc]
    """Every so many seconds. Runs that are past are left out, where APScheduler's own trigger lists them one by one: when a clock
    without a battery is set from 1970 to today, that takes hours and all memory.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """See APScheduler."""
        planned = (previous_fire_time or now) + self._interval
        return planned if planned > now else now + self._interval


@dataclass
class _Job:
    """What is done, how often, and when next by the monotonic clock."""

    work: Callable[[], Any]
    seconds: float
    due_s: float


@dataclass
class _Trouble:
    """How often something has gone wrong since it was recorded last, and when that was."""

    recorded_s: float
    since: int = 0


@dataclass(eq=False)
class Schedule:
    """Jobs at intervals, for as long as `run` runs.

    Parameters
    ----------
    record
        Puts an event into the history.
    watch_s
        Seconds between two looks at the clock.
    wall, clock
        The wall clock as POSIX seconds, and the monotonic one.
    """

    record: Record
    watch_s: float = 1.0
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _troubles: dict[tuple[str, str], _Trouble] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A late run is made up for, once, whatever the delay: the defaults would drop it after a second, or make up for each.
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
        self._scheduler.add_listener(self._heard, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._fatal: HistoryError | None = None

    def every(self, name: str, seconds: float, work: Callable[[], Any], *, at_once: bool = False) -> None:
        """Do `work`, a function or coroutine function, every so many seconds in the event loop's thread.

        Parameters
        ----------
        name
            In the log and the history.
        seconds
            Between two beginnings. A run that takes longer is not disturbed; those it covers are left out.
        work
            What it raises is logged and recorded, and it is called again next time.
        at_once
            Whether the first run is now; else after `seconds`.
        """
        job = self._jobs[name] = _Job(work, seconds, self.clock() + (0.0 if at_once else seconds))
        self._scheduler.add_job(self._run, _Interval(seconds), args=[name], id=name, next_run_time=self._when(job))

    async def run(self) -> None:
        """Do the jobs, and plan them anew when the clock steps, until cancelled.

        Raises
        ------
        HistoryError
            If the history can no longer be written: then the service must not go on.
        """
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # what it has to say is said by `_heard`
        self._scheduler.start()
        apart = self.wall() - self.clock()
        try:
            while self._fatal is None:
                await asyncio.sleep(self.watch_s)
                before, apart = apart, self.wall() - self.clock()
                if abs(apart - before) > STEP_S:
                    self._stepped(apart - before)
            raise self._fatal
        finally:
            self._scheduler.remove_listener(self._heard)  # jobs that are cut off by the end have not failed
            self._scheduler.shutdown(wait=False)

    async def _run(self, name: str) -> None:
        job = self._jobs[name]
        job.due_s = self.clock() + job.seconds
        result = job.work()
        if inspect.isawaitable(result):
            await result

    def _when(self, job: _Job) -> datetime:
        return datetime.fromtimestamp(self.wall(), UTC) + timedelta(seconds=max(0.0, job.due_s - self.clock()))

    def _stepped(self, by_s: float) -> None:
        """The wall clock does not show what it should: plan all jobs by the monotonic one."""
        for name, job in self._jobs.items():
            self._scheduler.modify_job(name, next_run_time=self._when(job))
        body = {"old": _iso(self.wall() - by_s), "new": _iso(self.wall()), "by_s": round(by_s, 3)}
        _LOG.warning("the clock was set, or the computer slept; all jobs are planned anew", **body)
        self.record(kinds.CLOCK_STEPPED, "clock", body)

    def _heard(self, event: JobEvent) -> None:
        """Log a trouble, and record it unless it has been lately. APScheduler would swallow what is raised here."""
        error = getattr(event, "exception", None)
        if isinstance(error, HistoryError):
            self._fatal = error
            return
        name, trouble = event.job_id, _TROUBLES[event.code]
        reason = f"{type(error).__name__}: {error}" if error is not None else f"it is done every {self._jobs[name].seconds:g} s"
        _LOG.warning("a job was not done as planned", job=name, trouble=trouble, why=reason)
        known = self._troubles.get((name, trouble))
        if known is not None and self.clock() - known.recorded_s < _QUIET_S:
            known.since += 1
            return
        self._troubles[name, trouble] = _Trouble(self.clock())
        if error is not None and not isinstance(error, AgentError):
            _LOG.error("a fault in the agent; please report it", job=name, traceback=event.traceback)
        try:
            body = {"job": name, "trouble": trouble, "reason": reason[:2000], "unrecorded_before": known.since if known else 0}
            self.record(kinds.JOB_TROUBLED, name, body)
        except HistoryError as cannot:
            self._fatal = cannot


def _iso(posix_s: float) -> str:
    return datetime.fromtimestamp(posix_s, UTC).isoformat()
