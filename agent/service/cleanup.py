"""What is left behind by agents that were killed, and by workers that died, removed."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

_STALE_S = 3600.0
_LOG = structlog.get_logger("vaestar.agent")


def bury_dead_workers() -> None:
    """Let processes that have ended vanish from the system's table; asking for the living does it."""
    multiprocessing.active_children()


def remove_torn_files(run_directory: Path, now: Callable[[], float] = time.time) -> int:
    """How many files were removed whose writing was not finished: of the array store and of unfinished work.

    A file counts as torn when its writer was another process (this one alone may write to the run now), or when it is an hour
    old: process numbers come again, in a container after each start.
    """
    removed = 0
    for path, writer in _unfinished(run_directory):
        try:
            if writer != str(os.getpid()) or now() - path.stat().st_mtime > _STALE_S:
                path.unlink()
                removed += 1
        except OSError:  # it has been finished meanwhile, or is not ours
            continue
    if removed:
        _LOG.info("removed files that a killed agent had not finished", files=removed)
    return removed


def _unfinished(run_directory: Path) -> Iterator[tuple[Path, str]]:
    """Files under the names that `agent.history.event_log` and `agent.search.task_cache` write under, with the number of the
    process that did.
    """
    for path in (run_directory / "arrays").glob("*/.*.npy.*"):
        yield path, path.name.rpartition(".")[2]
    for path in (run_directory / "work").glob("*.part"):
        yield path, path.name.split(".")[-2]
