"""Runs tasks on workers and returns their results in order, unless the search is cancelled, out of time or loses its workers."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any

from agent.errors import AgentError, OutOfTimeError, SearchCancelledError
from agent.workers.base import Workers

Progress = Callable[[str, int, int], None]  # stage, done, total
_POLL_S = 0.1
_MAX_WORKER_DEATHS = 3
_GRACE_S = 0.8  # for tasks to stop by themselves; starting new processes takes about as long as waiting any longer
_END_S = 5.0


def no_progress(stage: str, done: int, total: int) -> None:
    """Progress callback that does nothing."""


def never() -> bool:
    """Always false: not cancelled, no deadline."""
    return False


def deadline(seconds: float, clock: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """A function that returns true once `seconds` from now have passed."""
    end = clock() + seconds
    return lambda: clock() >= end


class TaskRunner:
    """Runs the tasks of a search, stage by stage.

    Parameters
    ----------
    workers
        Workers on which tasks run.
    progress
        Called with (stage, done, total) after each task.
    cancelled
        Polled about ten times a second; once true, the search is discarded.
    out_of_time
        Polled likewise; once true, the search ends with the last complete rung.
    """

    def __init__(
        self,
        workers: Workers,
        progress: Progress = no_progress,
        cancelled: Callable[[], bool] = never,
        out_of_time: Callable[[], bool] = never,
    ) -> None:
        self._workers, self._progress, self._cancelled, self._out_of_time = workers, progress, cancelled, out_of_time
        self._deaths = 0

    def run(
        self,
        stage: str,
        fn: Callable[..., Any],
        tasks: Sequence[tuple[Any, ...]],
        finished: Callable[[int, Any], None] = lambda _i, _result: None,
    ) -> list[Any]:
        """The results of `fn(*task)` for each task.

        Parameters
        ----------
        stage
            Name of the stage for `progress`.
        fn
            Function that runs in a worker.
        tasks
            Arguments of each task, in the order in which tasks start.
        finished
            Called with the index and the result of each task as soon as it has finished.

        Raises
        ------
        SearchCancelledError
            If `cancelled` returned true.
        OutOfTimeError
            If `out_of_time` returned true.
        AgentError
            If workers keep dying.
        """
        results: dict[int, Any] = {}
        self._progress(stage, 0, len(tasks))
        while len(results) < len(tasks):
            self.raise_if_interrupted()
            todo = [i for i in range(len(tasks)) if i not in results]
            if self._workers.synchronous:
                todo = todo[:1]
            futures = {self._workers.submit(fn, *tasks[i]): i for i in todo}
            died = self._collect(stage, futures, results, len(tasks), finished)
            if died is not None:
                self._restart_workers(died)
        return [results[i] for i in range(len(tasks))]

    def interrupted(self) -> bool:
        """True if `raise_if_interrupted` would raise."""
        return self._cancelled() or self._out_of_time()

    def raise_if_interrupted(self) -> None:
        """End the search if it is cancelled or out of time.

        Raises
        ------
        SearchCancelledError
            If `cancelled` returned true.
        OutOfTimeError
            If `out_of_time` returned true.
        """
        if self._cancelled():
            raise SearchCancelledError("the search was cancelled")
        if self._out_of_time():
            raise OutOfTimeError("the deadline has passed")

    def _collect(
        self,
        stage: str,
        futures: dict[Future[Any], int],
        results: dict[int, Any],
        total: int,
        finished: Callable[[int, Any], None],
    ) -> BrokenExecutor | None:
        """Put finished results into `results`; returns the error if a worker died, whose tasks are then missing."""
        pending, died = set(futures), None
        try:
            while pending:
                done, pending = wait(pending, timeout=_POLL_S, return_when=FIRST_COMPLETED)
                for future in done:
                    try:
                        result = self._result(future)
                    except BrokenExecutor as error:
                        died = error
                        continue
                    results[futures[future]] = result
                    finished(futures[future], result)
                    self._progress(stage, len(results), total)
                if pending:
                    self.raise_if_interrupted()
        except BaseException:
            self._cancel_pending(pending)
            raise
        return died

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except SearchCancelledError:
            self.raise_if_interrupted()  # a task in the calling thread notices a deadline first
            raise

    def _cancel_pending(self, pending: set[Future[Any]]) -> None:
        """Stop running tasks, by force if they do not respond, so that the workers are free for the next search."""
        if not pending:  # the workers may already be running the next search, which must not be cancelled
            return
        self._workers.cancel()
        for future in pending:
            future.cancel()
        _, unresponsive = wait(pending, timeout=_GRACE_S)
        if unresponsive:
            self._workers.replace()
            wait(unresponsive, timeout=_END_S)

    def _restart_workers(self, error: BrokenExecutor) -> None:
        self._deaths += 1
        if self._deaths > _MAX_WORKER_DEATHS:
            how = self._workers.last_loss() or f"{str(error).rstrip('.')}; check whether the computer has enough memory"
            raise AgentError(f"worker processes died {self._deaths} times in one search: {how}") from error
        self._workers.restart()
