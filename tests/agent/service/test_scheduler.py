"""Periodic jobs, in an event loop with simulated time. Each pitfall is also demonstrated on plain APScheduler."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from agent.errors import HistoryError
from agent.schema import event_kinds as kinds
from agent.service.scheduler import Schedule
from tests.support.fast_loop import Clocks, run

HOUR_S, DAY_S = 3600.0, 86400.0


class Bell:
    """A job that notes the monotonic times of its runs, and may take some time or fail."""

    def __init__(self, clocks: Clocks, lasts_s: float = 0.0, error: Exception | None = None) -> None:
        self.at: list[float] = []
        self._clocks, self._lasts_s, self._error = clocks, lasts_s, error

    async def ring(self) -> None:
        self.at.append(round(self._clocks.monotonic(), 3))
        await asyncio.sleep(self._lasts_s)
        if self._error is not None:
            raise self._error


class Events(list[tuple[str, str, dict[str, Any]]]):
    def __call__(self, kind: str, subject: str, body: Any) -> None:
        self.append((kind, subject, dict(body)))


@contextlib.asynccontextmanager
async def running(clocks: Clocks, events: Events, **jobs: tuple[float, Callable[[], Any]]) -> AsyncIterator[asyncio.Task[None]]:
    with clocks.as_apscheduler_sees_it():
        schedule = Schedule(events, 1.0, clocks.wall, clocks.monotonic)
        for name, (seconds, work) in jobs.items():
            schedule.every(name, seconds, work)
        task = asyncio.create_task(schedule.run())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def plain_apscheduler(
    clocks: Clocks, seconds: float, work: Callable[[], Any], **defaults: Any
) -> AsyncIterator[AsyncIOScheduler]:
    with clocks.as_apscheduler_sees_it():
        scheduler = AsyncIOScheduler(timezone="UTC", job_defaults=defaults)
        scheduler.add_job(work, "interval", seconds=seconds)
        scheduler.start()
        try:
            yield scheduler
        finally:
            scheduler.shutdown(wait=False)
            await asyncio.sleep(0)


def rings(
    error: Exception | None = None, lasts_s: float = 0.0, during_s: float = 30.0, every_s: float = 5.0
) -> tuple[list[float], Events]:
    async def scenario() -> tuple[list[float], Events]:
        clocks, events = Clocks(), Events()
        bell = Bell(clocks, lasts_s, error)
        async with running(clocks, events, bell=(every_s, bell.ring)):
            await asyncio.sleep(during_s)
        return bell.at, events

    return run(scenario())


def test_a_job_is_done_at_its_interval() -> None:
    assert rings(during_s=21.0) == ([5, 10, 15, 20], [])


def test_a_plain_function_runs_in_the_loops_thread_and_the_first_run_may_be_at_once() -> None:
    async def scenario() -> list[tuple[float, bool]]:
        clocks, seen = Clocks(), []
        with clocks.as_apscheduler_sees_it():
            schedule = Schedule(Events(), 1.0, clocks.wall, clocks.monotonic)
            here = threading.get_ident()
            schedule.every("look", 60.0, lambda: seen.append((clocks.monotonic(), threading.get_ident() == here)), at_once=True)
            task = asyncio.create_task(schedule.run())
            await asyncio.sleep(61.0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return seen

    assert run(scenario()) == [(0.0, True), (60.0, True)]


@pytest.mark.slow
def test_a_job_that_overruns_continues_alone_and_keeps_its_interval_afterwards() -> None:
    at, events = rings(lasts_s=12.0, during_s=36.0)
    assert at == [5, 20, 35]
    assert [(kind, subject, body["trouble"]) for kind, subject, body in events] == [(kinds.JOB_TROUBLED, "bell", "overran")]
    assert events[0][2]["reason"] == "it runs every 5 s"


def test_a_job_that_fails_is_done_again_and_the_trouble_is_recorded_once_an_hour_with_their_number() -> None:
    at, events = rings(ValueError("the disk is\nupside down"), during_s=HOUR_S + 121.0, every_s=60.0)
    assert len(at) == HOUR_S / 60 + 2
    assert [(body["trouble"], body["reason"], body["unrecorded_before"]) for _, _, body in events] == [
        ("failed", "ValueError: the disk is\nupside down", 0),
        ("failed", "ValueError: the disk is\nupside down", HOUR_S / 60 - 1),
    ]


@pytest.mark.parametrize("error", [HistoryError("No space left on device"), ValueError("no")], ids=["in a job", "of a job"])
def test_a_history_that_cannot_be_written_ends_the_schedule_with_its_error(error: Exception) -> None:
    class Full(Events):
        def __call__(self, kind: str, subject: str, body: Any) -> None:
            raise HistoryError("No space left on device")

    async def scenario() -> None:
        clocks = Clocks()
        async with running(clocks, Full(), bell=(5.0, Bell(clocks, error=error).ring)) as task:
            await task

    with pytest.raises(HistoryError, match="No space left"):
        run(scenario())


@pytest.mark.parametrize("step_s", [-HOUR_S, DAY_S, 56 * 365 * DAY_S, -3.0, 3.0])
def test_when_the_clock_is_set_every_job_keeps_its_pace_and_the_step_is_recorded(step_s: float) -> None:
    async def scenario() -> tuple[list[float], list[float], Events]:
        clocks, events = Clocks(), Events()
        often, seldom = Bell(clocks), Bell(clocks)
        async with running(clocks, events, often=(5.0, often.ring), seldom=(60.0, seldom.ring)):
            await asyncio.sleep(12.5)
            clocks.ahead_s += step_s
            await asyncio.sleep(50.0)
        return often.at, seldom.at, events

    often, seldom, events = run(scenario())
    gaps = [b - a for a, b in zip([0.0, *often], often, strict=False)]
    assert max(gaps) <= 6.0
    # A step forward may bring one run early, before the step is noticed; never a storm.
    assert len(often) <= 13
    assert len(seldom) <= 2
    (stepped,) = events
    kind, _, body = stepped
    assert kind == kinds.CLOCK_STEPPED
    assert body["by_s"] == pytest.approx(step_s, abs=0.01)
    assert body["old"].startswith("2026-02-02T")


def test_a_slow_or_a_small_change_of_the_clock_is_not_a_step() -> None:
    async def scenario() -> tuple[list[float], Events]:
        clocks, events = Clocks(), Events()
        bell = Bell(clocks)
        async with running(clocks, events, bell=(5.0, bell.ring)):
            for _ in range(60):
                await asyncio.sleep(1.0)
                clocks.ahead_s += 0.05  # as a time server slews
            clocks.ahead_s -= 1.5
            await asyncio.sleep(30.0)
        return bell.at, events

    at, events = run(scenario())
    assert events == []
    assert 17 <= len(at) <= 19


def test_set_back_by_an_hour_apscheduler_alone_would_do_nothing_for_an_hour() -> None:
    async def scenario() -> list[float]:
        clocks = Clocks()
        bell = Bell(clocks)
        async with plain_apscheduler(clocks, 5.0, bell.ring, coalesce=True, max_instances=1, misfire_grace_time=None):
            await asyncio.sleep(12.5)
            clocks.ahead_s -= HOUR_S
            await asyncio.sleep(HOUR_S + 20.0)
        return bell.at

    at = run(scenario())
    assert max(b - a for a, b in pairwise(at)) > HOUR_S - 10


def test_set_forward_by_a_day_apscheduler_alone_would_make_up_for_all_runs_or_for_none() -> None:
    async def scenario(**defaults: Any) -> int:
        clocks = Clocks()
        bell = Bell(clocks)
        async with plain_apscheduler(clocks, 60.0, bell.ring, **defaults):
            await asyncio.sleep(30.0)
            clocks.ahead_s += DAY_S + 20.0
            await asyncio.sleep(31.0)
        return len(bell.at)

    assert run(scenario(coalesce=False, misfire_grace_time=None)) > 1000
    assert run(scenario()) == 0  # with its defaults: after a second of grace the run is dropped


def test_a_loop_that_was_held_up_is_made_up_for_once() -> None:
    def held_up(clocks: Clocks, seconds: float) -> None:
        asyncio.get_running_loop()._selector_.now += seconds  # type: ignore[attr-defined]

    async def scenario() -> tuple[list[float], Events]:
        clocks, events = Clocks(), Events()
        bell = Bell(clocks)
        async with running(clocks, events, bell=(5.0, bell.ring)):
            await asyncio.sleep(7.0)
            held_up(clocks, 40.0)
            await asyncio.sleep(6.0)
        return bell.at, events

    async def plain() -> list[float]:
        clocks = Clocks()
        bell = Bell(clocks)
        async with plain_apscheduler(clocks, 5.0, bell.ring):
            await asyncio.sleep(7.0)
            held_up(clocks, 42.0)
            await asyncio.sleep(0.5)
        return bell.at

    at, events = run(scenario())
    assert at == [5, 47, 52]
    assert events == []
    assert run(plain()) == [5]
