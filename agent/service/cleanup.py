"""Cleanup after killed agents and dead workers: unfinished files and zombie processes."""

import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from agent.history import array_store
from agent.search import task_cache

_STALE_S = 3600.0
_LOG = structlog.get_logger("vaestar.agent")


def reap_workers() -> None:
    """Reap child processes that have ended; `multiprocessing` does so whenever it lists its children."""
    multiprocessing.active_children()


def remove_torn_files(run_directory: Path, now: Callable[[], float] = time.time) -> int:
    """Remove unfinished files of the array store and of the task cache; returns the number of files removed.

    A file counts as unfinished when another process wrote it (only this process may write to the run now), or when it is more
    than an hour old: process ids are reused, in a container after each start.
    """
    removed = 0
    arrays, tasks = array_store.unfinished_files(run_directory / "arrays"), task_cache.unfinished_files(run_directory / "work")
    for path, writer in (*arrays, *tasks):
        try:
            if writer != str(os.getpid()) or now() - path.stat().st_mtime > _STALE_S:
                path.unlink()
                removed += 1
        except OSError:  # finished meanwhile, or not owned by this user
            continue
    if removed:
        _LOG.info("removed unfinished files of a killed agent", files=removed)
    return removed
