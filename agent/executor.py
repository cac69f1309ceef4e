"""Where candidates are trained: in the calling thread, in spawned processes, or on a Dask cluster.

Wherever it is, a task is a plain function called with its arguments and a keyword `stopped`, which it must ask now and then. The
result depends on the arguments alone, so that a decision is the same everywhere.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import numpy as np

from agent.workflow.errors import WorkersError

_ALL_SEARCHES = 2**62


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


def workers_for(count: int, directory: Path | None = None, dask: str | None = None) -> Workers:
    """Workers at a Dask scheduler's address, if there is one; else `count` processes, or the calling thread if that is 0.

    Parameters
    ----------
    count
        Processes.
    directory
        Added to the workers' import path, for the user's own modules.
    dask
        Such as "tcp://127.0.0.1:8786".

    Raises
    ------
    WorkersError
        If Dask is not installed, or nobody answers at the address.
    """
    if dask is not None:
        try:
            from agent.dask_executor import DaskWorkers
        except ModuleNotFoundError as error:
            raise WorkersError(
                f"training on Dask needs '{error.name}', which is not installed; install with: pip install 'vaestar[dask]'"
            ) from error
        return DaskWorkers(dask, directory)
    if count:
        from agent.process_executor import ProcessWorkers

        return ProcessWorkers(count, directory)
    return InlineWorkers()


class InlineExecutor(Executor):
    """Runs each task at once in the calling thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A finished future of `fn(*args, **kwargs)`."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a future carries whatever the task raised
            future.set_exception(error)
        return future


class InlineWorkers(Workers):
    """The calling thread; for tests and for `workers = 0`. The import path is the caller's own."""

    at_once = True

    def __init__(self) -> None:
        self._executor = InlineExecutor()
        self._search = 0
        self._cancelled = self._dismissed = -1
        self._interrupted: Callable[[], bool] = lambda: False

    def begin(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """See `Workers`."""
        self._search += 1
        self._interrupted = interrupted

    def share(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """A finished future."""
        number = self._search

        def stopped() -> bool:
            return max(self._cancelled, self._dismissed) >= number or self._interrupted()

        return self._executor.submit(fn, *args, stopped=stopped)

    def cancel(self) -> None:
        """See `Workers`."""
        self._cancelled = self._search

    def dismiss(self) -> None:
        """See `Workers`."""
        self._dismissed = _ALL_SEARCHES

    def restart(self) -> None:
        """Nothing: the calling thread is never lost."""

    def close(self) -> None:
        """See `Workers`."""
        self.dismiss()
