"""Periodic jobs on APScheduler, made robust against steps of the wall clock.

APScheduler 3 schedules by the wall clock: when that is set back by an hour, no job runs for an hour. So the next run of each job
is also kept in monotonic time, a loop compares both clocks, and when the wall clock steps all jobs are rescheduled.
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
_QUIET_S = 3600.0  # the same trouble of the same job is recorded once in this period
_FAILURES = {EVENT_JOB_ERROR: "failed", EVENT_JOB_MISSED: "missed", EVENT_JOB_MAX_INSTANCES: "overran"}
_LOG = structlog.get_logger("vaestar.agent")
Record = Callable[[str, str, Mapping[str, Any]], None]  # kind, subject, body


class _Interval(BaseTrigger):  # type: ignore[misc]
    """Trigger at a fixed interval that skips missed runs.

    APScheduler's own trigger lists missed runs one by one. When a clock without a battery is set from 1970 to today, that takes
    hours and all memory.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Time of the next run, always later than `now`; called by APScheduler."""
        planned = (previous_fire_time or now) + self._interval
        return planned if planned > now else now + self._interval


@dataclass
class _Job:
    """A function, its interval in seconds, and the monotonic time of its next run."""

    work: Callable[[], Any]
    seconds: float
    due_s: float


@dataclass
class _Failure:
    """When a job's failure was last recorded, and how often it has occurred since."""

    recorded_s: float
    unrecorded: int = 0


@dataclass(eq=False)
class Schedule:
    """Periodic jobs, which run for as long as `run` does.

    Parameters
    ----------
    record
        Records an event in the history.
    watch_s
        Interval in seconds at which the two clocks are compared.
    wall, clock
        Wall clock in POSIX seconds, and monotonic clock in seconds.
    """

    record: Record
    watch_s: float = 1.0
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    _jobs: dict[str, _Job] = field(default_factory=dict)
    _failures: dict[tuple[str, str], _Failure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # However late, missed runs are made up for by one run; the defaults would drop it after a second, or run them all.
        defaults = {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
        self._scheduler.add_listener(self._on_failure, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._fatal: HistoryError | None = None

    def every(self, name: str, seconds: float, work: Callable[[], Any], *, at_once: bool = False) -> None:
        """Run a function or coroutine function at an interval, in the event loop's thread.

        Parameters
        ----------
        name
            Name of the job in the log and the history.
        seconds
            Interval in seconds from start to start. A run that takes longer continues; the runs it overlaps are skipped.
        work
            The job. An exception is logged and recorded, and the job runs again at the next interval.
        at_once
            Whether the first run is immediate; otherwise it is after `seconds`.
        """
        job = self._jobs[name] = _Job(work, seconds, self.clock() + (0.0 if at_once else seconds))
        self._scheduler.add_job(self._run, _Interval(seconds), args=[name], id=name, next_run_time=self._when(job))

    async def run(self) -> None:
        """Run the jobs, and reschedule them when the wall clock steps, until cancelled.

        Raises
        ------
        HistoryError
            If the history can no longer be written: the service must then end.
        """
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)  # `_on_failure` logs instead
        self._scheduler.start()
        offset_s = self.wall() - self.clock()
        try:
            while self._fatal is None:
                await asyncio.sleep(self.watch_s)
                before_s, offset_s = offset_s, self.wall() - self.clock()
                if abs(offset_s - before_s) > STEP_S:
                    self._reschedule(offset_s - before_s)
            raise self._fatal
        finally:
            self._scheduler.remove_listener(self._on_failure)  # jobs that are interrupted by the shutdown have not failed
            self._scheduler.shutdown(wait=False)

    async def _run(self, name: str) -> None:
        job = self._jobs[name]
        job.due_s = self.clock() + job.seconds
        result = job.work()
        if inspect.isawaitable(result):
            await result

    def _when(self, job: _Job) -> datetime:
        return datetime.fromtimestamp(self.wall(), UTC) + timedelta(seconds=max(0.0, job.due_s - self.clock()))

    def _reschedule(self, by_s: float) -> None:
        """Reschedule all jobs by monotonic time, after a step of the wall clock, and record the step."""
        for name, job in self._jobs.items():
            self._scheduler.modify_job(name, next_run_time=self._when(job))
        body = {"old": _iso(self.wall() - by_s), "new": _iso(self.wall()), "by_s": round(by_s, 3)}
        _LOG.warning("the clock was set, or the computer was asleep; all jobs were rescheduled", **body)
        self.record(kinds.CLOCK_STEPPED, "clock", body)

    def _on_failure(self, event: JobEvent) -> None:
        """Log a job failure, and record it unless recorded recently. APScheduler would swallow an exception raised here."""
        error = getattr(event, "exception", None)
        if isinstance(error, HistoryError):
            self._fatal = error
            return
        name, trouble = event.job_id, _FAILURES[event.code]
        reason = f"{type(error).__name__}: {error}" if error is not None else f"it runs every {self._jobs[name].seconds:g} s"
        _LOG.warning("a periodic job did not run as planned", job=name, trouble=trouble, why=reason)
        known = self._failures.get((name, trouble))
        if known is not None and self.clock() - known.recorded_s < _QUIET_S:
            known.unrecorded += 1
            return
        self._failures[name, trouble] = _Failure(self.clock())
        if error is not None and not isinstance(error, AgentError):
            _LOG.error("a fault in the agent; please report it", job=name, traceback=event.traceback)
        try:
            body = {
                "job": name,
                "trouble": trouble,
                "reason": reason[:2000],
                "unrecorded_before": known.unrecorded if known else 0,
            }
            self.record(kinds.JOB_TROUBLED, name, body)
        except HistoryError as cannot:
            self._fatal = cannot


def _iso(posix_s: float) -> str:
    return datetime.fromtimestamp(posix_s, UTC).isoformat()
