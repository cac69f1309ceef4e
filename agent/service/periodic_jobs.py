"""All periodic jobs of the service; `docs/scheduling.md` gives the reason for each."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.config.model import Config
from agent.orchestration.orchestrator import Orchestrator
from agent.service.cleanup import reap_workers, remove_torn_files
from agent.service.scheduler import Record, Schedule

Job = Callable[[], Awaitable[None] | None]


def schedule_jobs(
    config: Config,
    run_directory: Path,
    record: Record,
    orchestrator: Orchestrator,
    tick: Job,
    *,
    retain: Job | None = None,
    check_health: Job | None = None,
) -> Schedule:
    """Schedule of all periodic jobs, not running yet.

    Parameters
    ----------
    config
        Configuration with the intervals.
    run_directory
        Run directory, in which unfinished files are removed.
    record
        Records an event in the history.
    orchestrator
        Re-evaluates its queue, and clears its cache.
    tick
        Sends heartbeats and unacknowledged messages.
    retain
        Applies the retention rules; None: no retention job.
    check_health
        Checks the health of the agent; None: no health checks.
    """
    settings = config.schedule
    schedule = Schedule(record, settings.watch_s)

    async def reap() -> None:
        reap_workers()
        orchestrator.clear_cache()
        await asyncio.to_thread(remove_torn_files, run_directory)

    schedule.every("tick", config.service.heartbeat_s, tick)
    schedule.every("poke", min(settings.poke_s, max(settings.idle_after_s, 1.0)), orchestrator.wake)
    schedule.every("reap", settings.reap_s, reap, at_once=True)
    if retain is not None:
        schedule.every("retention", settings.retention_s, retain, at_once=True)
    if check_health is not None:
        schedule.every("health", settings.health_s, check_health, at_once=True)
    return schedule
