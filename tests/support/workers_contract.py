"""Tests that all kinds of workers inherit, and the tasks that they submit."""

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest

from agent.errors import SearchCancelledError
from agent.workers.base import Workers


def add(a: int, b: int, *, stopped: Callable[[], bool]) -> tuple[int, bool]:
    return a + b, stopped()


def fail(*, stopped: Callable[[], bool]) -> None:
    raise ZeroDivisionError("nothing to divide")


def pid(*, stopped: Callable[[], bool]) -> int:
    return os.getpid()


def users_own(*, stopped: Callable[[], bool]) -> int:
    import my_own_module_of_the_lab

    return my_own_module_of_the_lab.ANSWER


def until_stopped(started: Path, *, stopped: Callable[[], bool]) -> None:
    started.write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not stopped():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started.with_suffix(".ended").touch()
    raise SearchCancelledError("the search was cancelled")


def cut(stack: np.ndarray, rows: list[int], *, stopped: Callable[[], bool]) -> tuple[np.ndarray, int]:
    """Some rows of `stack`, and the address of its memory."""
    return stack[rows], stack.ctypes.data


def cut_for_torch(stack: np.ndarray, rows: list[int], *, stopped: Callable[[], bool]) -> float:
    import torch

    with warnings.catch_warnings(action="error"):
        return float(torch.from_numpy(stack[rows]).sum())


def pool_threads(*, stopped: Callable[[], bool]) -> set[int]:
    from threadpoolctl import threadpool_info

    return {pool["num_threads"] for pool in threadpool_info()}


def overwrite(array: np.ndarray, *, stopped: Callable[[], bool]) -> None:
    array[0] = 1


def die_once(trace: Path, *, stopped: Callable[[], bool]) -> str:
    if trace.exists():
        return "done"
    trace.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def draw(*, stopped: Callable[[], bool]) -> bytes:
    return os.urandom(8)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.02)


def pid_in(path: Path) -> int:
    wait_for(lambda: path.exists() and path.read_text())
    return int(path.read_text())


class WorkersContract:
    """Contract of `Workers`. Inherit it, and override the fixture `workers`."""

    @pytest.fixture
    def workers(self) -> Iterator[Workers]:
        raise NotImplementedError

    def test_results_and_errors_come_back(self, workers: Workers) -> None:
        workers.begin()
        assert workers.submit(add, 1, 2).result(timeout=30) == (3, False)
        with pytest.raises(ZeroDivisionError, match="nothing to divide"):
            workers.submit(fail).result(timeout=30)

    def test_equal_calls_are_calls_of_their_own(self, workers: Workers) -> None:
        workers.begin()
        assert workers.submit(draw).result(timeout=30) != workers.submit(draw).result(timeout=30)

    def test_a_running_task_is_cancelled_and_the_next_search_is_not(self, workers: Workers, tmp_path: Path) -> None:
        started = tmp_path / "task"
        workers.begin()
        canceller = threading.Thread(target=lambda: (wait_for(started.exists), workers.cancel()))
        canceller.start()
        with pytest.raises(SearchCancelledError):
            workers.submit(until_stopped, started).result(timeout=30)
        canceller.join()
        wait_for(started.with_suffix(".ended").exists, seconds=5)
        workers.begin()
        assert workers.submit(add, 1, 2).result(timeout=30) == (3, False)

    def test_a_late_task_of_a_cancelled_search_is_cancelled_too(self, workers: Workers, tmp_path: Path) -> None:
        workers.begin()
        workers.cancel()
        with pytest.raises(SearchCancelledError):
            workers.submit(until_stopped, tmp_path / "task").result(timeout=30)

    def test_after_shutting_down_no_task_runs(self, workers: Workers, tmp_path: Path) -> None:
        workers.shut_down()
        workers.begin()
        with pytest.raises(SearchCancelledError):
            workers.submit(until_stopped, tmp_path / "task").result(timeout=30)

    def test_closing_ends_a_running_task(self, workers: Workers, tmp_path: Path) -> None:
        workers.begin()
        inline = isinstance(workers.share(np.zeros(1)), np.ndarray)
        if inline:
            pytest.skip("no task runs in the calling thread while it closes")
        future = workers.submit(until_stopped, tmp_path / "task")
        wait_for((tmp_path / "task").exists)
        workers.close()
        assert isinstance(future.exception(timeout=0), SearchCancelledError)
        wait_for((tmp_path / "task.ended").exists, seconds=5)

    def test_a_shared_array_reaches_each_task_bit_for_bit_also_after_a_restart(self, workers: Workers) -> None:
        for seed in (0, 1):
            stack = np.random.default_rng(seed).random((50, 8, 6), dtype=np.float32)
            workers.begin()
            shared, other = workers.share(stack), workers.share(-stack)
            for _ in range(2):
                futures = [workers.submit(cut, handle, [3, 40]) for handle in (shared, other, shared)]
                wait(futures, timeout=60)
                for future, sign in zip(futures, (1, -1, 1), strict=True):
                    assert np.array_equal(future.result(timeout=0)[0], sign * stack[[3, 40]])
                workers.restart()
