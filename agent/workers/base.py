"""Interface of all workers: the calling thread, spawned processes, or a Dask cluster.

A task is a plain function, called with its arguments and a keyword `stopped`, a function that it must call now and then and that
returns true once the task should end. The result depends on the arguments alone, so that a decision is the same everywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

ALL_SEARCHES = 2**62  # larger than the number of any search


class Workers(ABC):
    """Runs the tasks of one search after another, and can cancel the running search.

    A search calls `begin`, then `share` for each large array, then `submit` for each task. If a future raises `BrokenExecutor`,
    its worker was lost: after `restart` the task can be submitted again, with the same shared arrays.

    Attributes
    ----------
    synchronous
        Whether `submit` runs the task and returns when it has ended. The caller should then submit one task at a time, and check
        in between whether the search was cancelled.
    """

    synchronous = False

    @abstractmethod
    def begin(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """Begin a new search. Earlier cancellations do not affect it, and shared arrays are discarded.

        Parameters
        ----------
        interrupted
            Function that returns true once the search should end. Tasks in the calling thread call it, since the caller cannot
            cancel while it waits for them.
        """

    @abstractmethod
    def share(self, array: np.ndarray) -> Any:
        """A small handle for `array`: passed to `submit`, it reaches the task as the array itself, which must not be changed."""

    @abstractmethod
    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """A future of `fn(*args, stopped=...)`.

        Raises
        ------
        WorkersError
            If no worker is left to run it.
        """

    @abstractmethod
    def cancel(self) -> None:
        """Make `stopped` true for all tasks of the current search; callable from any thread."""

    @abstractmethod
    def shut_down(self) -> None:
        """Make `stopped` true for the tasks of this and all later searches; callable from any thread."""

    @abstractmethod
    def restart(self) -> None:
        """Abandon all submitted tasks, and replace lost workers.

        Raises
        ------
        WorkersError
            If they cannot be replaced.
        """

    def replace(self) -> None:
        """Replace workers whose tasks do not respond to `stopped`, where that is possible."""
        self.restart()

    def problem(self) -> str:
        """A sentence on why the workers cannot work; empty if they can."""
        return ""

    def last_loss(self) -> str:
        """How a worker was lost last, and what it said, as the end of a sentence; empty if that is not known."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Cancel running tasks, and end or remove all processes, connections and files."""

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
