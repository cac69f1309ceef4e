"""Where candidates are trained: in the calling thread, or in spawned processes of one thread each.

Either way a task is a plain function called with its arguments and a keyword `stopped`, which it must ask now and then. The
workers outlive a search; they end with their parent, whatever ended it.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

_cancelled_up_to: Any = None  # in a worker: the shared number of the latest cancelled search
_ALL_SEARCHES = 2**62
_GRACE_S = 1.0  # a task that does not stop by then ends with its worker
_WATCH_S = 0.2


class InlineExecutor(Executor):
    """Runs each task at once in the calling thread; for tests and for `workers = 0`."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """A finished future of `fn(*args, **kwargs)`."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - a future carries whatever the task raised
            future.set_exception(error)
        return future


class Workers:
    """Runs the tasks of one search after the other, and can cancel a search that is running.

    Parameters
    ----------
    count
        Processes; 0 for the calling thread.
    directory
        Added to the workers' import path, for the user's own modules.
    """

    def __init__(self, count: int, directory: Path | None = None) -> None:
        self._search = 0
        self._cancelled = multiprocessing.get_context("spawn").Value("q", 0)
        self._make = (lambda: _pool(count, self._cancelled, directory)) if count else InlineExecutor
        self._inline = count == 0
        self._executor: Executor = self._make()

    def begin(self) -> None:
        """Start a new search; what was cancelled before does not concern it."""
        self._search += 1

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """A future of `fn(*args, stopped=...)` in a worker."""
        if self._inline:
            number = self._search
            return self._executor.submit(fn, *args, stopped=lambda: self._cancelled.value >= number)
        try:
            return self._executor.submit(_run, self._search, fn, *args)
        except BrokenExecutor:  # a process died while it had nothing to do
            self.restart()
            return self._executor.submit(_run, self._search, fn, *args)

    def cancel(self) -> None:
        """Make `stopped` true for all tasks of the current search; callable from any thread."""
        self._cancelled.value = max(self._cancelled.value, self._search)

    def dismiss(self) -> None:
        """Make `stopped` true for good, and end the processes of tasks that do not heed it; callable from any thread."""
        self._cancelled.value = _ALL_SEARCHES

    def restart(self) -> None:
        """New processes in place of a broken pool."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._make()

    def close(self) -> None:
        """Cancel what runs and end the processes."""
        self.dismiss()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _pool(count: int, cancelled: Any, directory: Path | None) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, context, initializer=_start_worker, initargs=(cancelled, directory))


def _start_worker(cancelled: Any, directory: Path | None) -> None:
    global _cancelled_up_to
    _cancelled_up_to = cancelled
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    if directory is not None and str(directory) not in sys.path:
        sys.path.append(str(directory))  # last, so that a user's file named like one of our modules does not hide it
    threading.Thread(target=_end_when_not_needed, daemon=True).start()


def _end_when_not_needed() -> None:
    """End this worker when its parent was killed or dismissed it: nobody waits for a result."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while parent.is_alive():
        parent.join(_WATCH_S)
        if _cancelled_up_to.value == _ALL_SEARCHES:
            time.sleep(_GRACE_S)
            break
    os._exit(1)


def _run(search: int, fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args, stopped=lambda: _cancelled_up_to.value >= search)
