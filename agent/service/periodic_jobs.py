"""All that the service does at intervals, in one list: `docs/scheduling.md` says why each is there."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.config.model import Config
from agent.orchestration.orchestrator import Orchestrator
from agent.service.cleanup import bury_dead_workers, remove_torn_files
from agent.service.scheduler import Record, Schedule

Chore = Callable[[], Awaitable[None] | None]


def planned(
    config: Config,
    run_directory: Path,
    record: Record,
    decider: Orchestrator,
    tick: Chore,
    *,
    retain: Chore | None = None,
    look_after: Chore | None = None,
) -> Schedule:
    """The schedule of a service that has not begun yet.

    Parameters
    ----------
    config
        How often.
    run_directory
        Whose leftovers are removed.
    record
        Puts an event into the history.
    decider
        Looks what waits.
    tick
        Heartbeats, and messages that nobody has acknowledged.
    retain
        Removes what need not be kept any longer.
    look_after
        Looks at disk and history.
    """
    settings = config.schedule
    schedule = Schedule(record, settings.watch_s)

    async def reap() -> None:
        bury_dead_workers()
        decider.forget_work()
        await asyncio.to_thread(remove_torn_files, run_directory)

    schedule.every("tick", config.service.heartbeat_s, tick)
    schedule.every("poke", min(settings.poke_s, max(settings.idle_after_s, 1.0)), decider.news)
    schedule.every("reap", settings.reap_s, reap, at_once=True)
    if retain is not None:
        schedule.every("retention", settings.retention_s, retain, at_once=True)
    if look_after is not None:
        schedule.every("health", settings.health_s, look_after, at_once=True)
    return schedule
