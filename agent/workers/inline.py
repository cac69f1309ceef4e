"""Workers that run each task in the calling thread."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from agent.workers.base import ALL_SEARCHES, Workers


class InlineExecutor(Executor):
    """Runs each task in the calling thread, in `submit`."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A future with the result of `fn(*args, **kwargs)`, which has run."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a future carries any error of the task
            future.set_exception(error)
        return future


class InlineWorkers(Workers):
    """The calling thread; for tests and for `workers = 0`. The import path is that of the caller."""

    synchronous = True

    def __init__(self) -> None:
        self._executor = InlineExecutor()
        self._search = 0
        self._cancelled = self._shut_down = -1
        self._interrupted: Callable[[], bool] = lambda: False

    def begin(self, interrupted: Callable[[], bool] = lambda: False) -> None:
        """See `Workers`."""
        self._search += 1
        self._interrupted = interrupted

    def share(self, array: np.ndarray) -> np.ndarray:
        """The array itself."""
        return array

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """A future of a task that has run."""
        number = self._search

        def stopped() -> bool:
            return max(self._cancelled, self._shut_down) >= number or self._interrupted()

        return self._executor.submit(fn, *args, stopped=stopped)

    def cancel(self) -> None:
        """See `Workers`."""
        self._cancelled = self._search

    def shut_down(self) -> None:
        """See `Workers`."""
        self._shut_down = ALL_SEARCHES

    def restart(self) -> None:
        """Do nothing: the calling thread is never lost."""

    def close(self) -> None:
        """See `Workers`."""
        self.shut_down()
