"""Where candidates are trained: in the calling thread, in spawned processes, or on a Dask cluster.

Wherever it is, a task is a plain function called with its arguments and a keyword `stopped`, which it must ask now and then. The
result depends on the arguments alone, so that a decision is the same everywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

ALL_SEARCHES = 2**62


class Workers(ABC):
    """Runs the tasks of one search after the other, and can cancel a search that is running.

    A search calls `begin`, then `share` for each large array, then `submit` for each task. A future that raises `BrokenExecutor`
    has lost its worker: after `restart` the task may be submitted again, with the same shared arrays.

    Attributes
    ----------
    at_once
        True where `submit` returns when the task has ended; so further ones should wait until it is known that they are wanted.
    """

    at_once = False

    @abstractmethod
    def begin(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Start a new search: what was cancelled before does not concern it, and what was shared before is gone.

        Parameters
        ----------
        interrupted
            Asked by tasks that run in the calling thread, which meanwhile can ask nobody itself.
        """

    @abstractmethod
    def share(self, array: np.ndarray) -> Any:
        """Something small that, given to `submit` as an argument, reaches the task as `array`, which the task must not change."""

    @abstractmethod
    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """A future of `fn(*args, stopped=...)`.

        Raises
        ------
        WorkersError
            If there is nobody left to run it.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Make `stopped` true for all tasks of the current search; callable from any thread."""

    @abstractmethod
    def dismiss(self) -> None:
        """Make `stopped` true for good; callable from any thread."""

    @abstractmethod
    def restart(self) -> None:
        """Give up what was submitted, and replace workers that are lost.

        Raises
        ------
        WorkersError
            If they cannot be replaced.
        """

    def replace(self) -> None:
        """End the workers whose tasks do not heed `stopped`, and go on with new ones, where that can be done."""
        self.restart()

    def trouble(self) -> str:
        """What keeps them from working, in a sentence; empty if nothing does."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Cancel what runs, and leave no process, connection or file behind."""

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
