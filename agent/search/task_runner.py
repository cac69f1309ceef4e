"""Tasks handed to workers, their results in order, and what may end the waiting: a newer scan, a deadline, dying workers."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any

from agent.errors import AgentError, OutOfTimeError, SearchCancelledError
from agent.workers.base import Workers

Progress = Callable[[str, int, int], None]  # stage, done, total
_POLL_S = 0.1
_WORKER_DEATHS = 3
_GRACE_S = 0.8  # for tasks to hear that they are stopped; new processes cost about as much as waiting longer
_END_S = 5.0


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


def never() -> bool:
    """No end to the waiting."""
    return False


def deadline(seconds: float, clock: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """True once so many seconds from now have passed."""
    end = clock() + seconds
    return lambda: clock() >= end


class TaskRunner:
    """Runs a stage's tasks in the workers and returns their results in order.

    Parameters
    ----------
    workers
        Where they run.
    progress
        Told of each finished task.
    cancelled, out_of_time
        Asked about ten times a second; the first discards the search, the second ends it.
    """

    def __init__(
        self,
        workers: Workers,
        progress: Progress = silent,
        cancelled: Callable[[], bool] = never,
        out_of_time: Callable[[], bool] = never,
    ) -> None:
        self._workers, self._progress, self._cancelled, self._out_of_time = workers, progress, cancelled, out_of_time
        self._deaths = 0

    def __call__(
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
            Named to `progress`.
        fn
            Runs in a worker.
        tasks
            Arguments; the first are started first.
        finished
            Told number and result of a task as soon as it is finished.

        Raises
        ------
        SearchCancelledError
            If `cancelled` said so.
        OutOfTimeError
            If `out_of_time` said so.
        AgentError
            If workers keep dying.
        """
        results: dict[int, Any] = {}
        self._progress(stage, 0, len(tasks))
        while len(results) < len(tasks):
            self.check()
            todo = [i for i in range(len(tasks)) if i not in results]
            if self._workers.at_once:
                todo = todo[:1]
            futures = {self._workers.submit(fn, *tasks[i]): i for i in todo}
            died = self._collect(stage, futures, results, len(tasks), finished)
            if died is not None:
                self._survive(died)
        return [results[i] for i in range(len(tasks))]

    def interrupted(self) -> bool:
        """True when `check` would raise."""
        return self._cancelled() or self._out_of_time()

    def check(self) -> None:
        """Raise what ends the search, if anything does."""
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
        """Put what becomes finished into `results`; what a dead worker took with it is left out, and said to be."""
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
                    self.check()
        except BaseException:
            self._withdraw(pending)
            raise
        return died

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except SearchCancelledError:
            self.check()  # a task in the calling thread hears of a deadline before we do
            raise

    def _withdraw(self, pending: set[Future[Any]]) -> None:
        """Stop what runs, by force where it does not heed it, so that the workers are free for the next search."""
        if not pending:  # another search may have begun, if nobody has waited for this one
            return
        self._workers.cancel()
        for future in pending:
            future.cancel()
        _, deaf = wait(pending, timeout=_GRACE_S)
        if deaf:
            self._workers.replace()
            wait(deaf, timeout=_END_S)

    def _survive(self, error: BrokenExecutor) -> None:
        self._deaths += 1
        if self._deaths > _WORKER_DEATHS:
            raise AgentError(f"training processes died {self._deaths} times in one search; is there enough memory?") from error
        self._workers.restart()
