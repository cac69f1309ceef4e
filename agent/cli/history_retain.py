"""`vaestar history retain`: let go of arrays on which nothing rests."""

import functools
from datetime import UTC, datetime
from pathlib import Path

from agent.config.model import load_config
from agent.config.retention import RetentionSettings
from agent.history.event_log import History
from agent.history.lookup import legible
from agent.history.readers import trusted
from agent.history.retention import Plan, planned, release
from agent.history.run_directory import named_or_newest
from agent.reporting.terminal import say
from agent.schema import event_kinds as kinds


def retain_arrays(run: Path | None, config: Path | None, *, dry_run: bool) -> None:
    """Remove what the settings let go, recorded first; with `dry_run` only say what that would be.

    Parameters
    ----------
    run
        Run directory; no agent may be using it, unless `dry_run`.
    config
        Gives [retention]; by default that of the run's last agent is used.
    dry_run
        Whether nothing is to be removed.
    """
    now = datetime.now(UTC)
    with History(named_or_newest(run), read_only=dry_run) as history, legible(history):
        settings = _settings(history) if config is None else load_config(config).retention
        plan = planned(history, settings, now)
        for line in _lines(history, plan):
            say(line)
        if not dry_run:
            event = release(history, plan, functools.partial(history.record, at=now))
            say("nothing was released" if event is None else f"released, event {event.seq}: {event.body['bytes']} bytes")


def _settings(history: History) -> RetentionSettings:
    for started in history.events(kind=kinds.RUN_STARTED, last=1):
        with trusted(started):
            return RetentionSettings.model_validate(started.body["config"].get("retention", {}))
    return RetentionSettings()


def _lines(history: History, plan: Plan) -> list[str]:
    lines = [f"event {g.seq}: {g.name}, {g.digest[:12]}" for g in plan.released]
    lines += [f"belongs to no event: {path.name}" for path in plan.orphans]
    size = sum(p.stat().st_size for p in {history.arrays.path(g.digest) for g in plan.released} | set(plan.orphans))
    return [*lines, f"{len(plan.released)} arrays and {len(plan.orphans)} stray files may go, {size} bytes ({plan.settings})"]
