import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, wait
from pathlib import Path

import numpy as np
import pytest

import agent.workers.base
from agent.errors import AgentError, SearchCancelledError, WorkersError
from agent.search.task_runner import TaskRunner
from agent.workers.base import Workers
from agent.workers.factory import workers_for
from agent.workers.inline import InlineExecutor
from instrument_adapters.child_process import SAFE_PATH
from tests.support.workers_contract import (
    WorkersContract,
    add,
    cut,
    cut_for_torch,
    die_once,
    overwrite,
    pid,
    pid_in,
    pool_threads,
    until_stopped,
    users_own,
    wait_for,
)

pytestmark = pytest.mark.slow

OWNER = """
import sys
from pathlib import Path
import numpy as np
from agent.workers.factory import workers_for
from tests.agent.workers.test_base import until_stopped

if __name__ == "__main__":
    with workers_for(1) as workers:
        workers.begin()
        shared = workers.share(np.zeros(1000))
        Path(sys.argv[2]).write_text(str(shared.path))
        future = workers.submit(until_stopped, Path(sys.argv[1]))
        future.result()
"""


def threads(*, stopped: Callable[[], bool]) -> str:
    return os.environ["OMP_NUM_THREADS"]


def unresponsive(started: Path, *, stopped: Callable[[], bool]) -> None:
    started.touch()
    time.sleep(60)


def says_and_exits(*, stopped: Callable[[], bool]) -> None:
    os.write(2, b"a library speaks:\nno licence found\n")
    os._exit(7)


def crashes(*, stopped: Callable[[], bool]) -> None:
    os.abort()


def killed(*, stopped: Callable[[], bool]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def safe_path(*, stopped: Callable[[], bool]) -> str | None:
    return os.environ.get(SAFE_PATH)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestInline(WorkersContract):
    @pytest.fixture
    def workers(self) -> Iterator[Workers]:
        with workers_for(0) as workers:
            yield workers

    def test_tasks_run_here(self, workers: Workers) -> None:
        assert workers.submit(pid).result() == os.getpid()

    def test_an_interrupt_is_not_swallowed(self) -> None:
        def interrupted() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            InlineExecutor().submit(interrupted)


class TestProcesses(WorkersContract):
    @pytest.fixture
    def workers(self) -> Iterator[Workers]:
        with workers_for(1) as workers:
            yield workers

    def test_a_worker_is_a_process_that_computes_on_one_thread(self, workers: Workers) -> None:
        assert workers.submit(pid).result() != os.getpid()
        assert workers.submit(threads).result() == os.environ.get("OMP_NUM_THREADS", "1")
        assert workers.submit(pool_threads).result() == {1}  # also of libraries that were loaded before the limit was set

    def test_a_stage_survives_a_dead_worker(self, workers: Workers, tmp_path: Path) -> None:
        workers.begin()
        progress: list[int] = []
        tasks = [(tmp_path / name,) for name in ("a", "b", "c")]
        runner = TaskRunner(workers, lambda _stage, done, _total: progress.append(done))
        assert runner.run("training", die_once, tasks) == ["done"] * 3
        assert progress[-1] == 3

    @pytest.mark.attack("A worker crashes, or is killed for memory", promise="A child that dies is reported with what it said.")
    @pytest.mark.parametrize(
        ("task", "sentence"),
        [
            (
                says_and_exits,
                r"worker processes died 4 times in one search: one ended with exit code 7; it said: .*no licence found$",
            ),
            (crashes, r"one ended by signal 6; it said: Fatal Python error: Aborted .* in crashes$"),
            (killed, r"one was killed \(signal 9\), as the system does when memory runs out$"),
        ],
    )
    def test_a_search_that_ends_for_its_workers_says_how_they_died(
        self, task: Callable[..., None], sentence: str, workers: Workers
    ) -> None:
        workers.begin()
        with pytest.raises(AgentError, match=sentence):
            TaskRunner(workers).run("training", task, [()])

    def test_processes_start_without_the_working_directory_on_their_path(
        self, workers: Workers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(SAFE_PATH, raising=False)
        assert workers.submit(safe_path).result() == "1"
        assert SAFE_PATH not in os.environ, "processes that the user starts are not concerned"

    def test_killed_workers_are_replaced_while_they_work_and_while_they_rest(self, workers: Workers, tmp_path: Path) -> None:
        workers.begin()
        shared = workers.share(np.arange(5.0))
        future = workers.submit(until_stopped, tmp_path / "task")
        os.kill(pid_in(tmp_path / "task"), signal.SIGKILL)
        with pytest.raises(BrokenExecutor):
            future.result(timeout=60)
        workers.restart()
        resting = workers.submit(pid).result()
        os.kill(resting, signal.SIGKILL)
        wait_for(lambda: workers._pool._broken)
        assert workers.submit(cut, shared, [4]).result()[0].tolist() == [4]

    def test_an_unresponsive_task_ends_with_its_process(self, workers: Workers, tmp_path: Path) -> None:
        before = time.monotonic()
        workers.begin()
        future = workers.submit(unresponsive, tmp_path / "started")
        wait_for((tmp_path / "started").exists)
        workers.close()
        assert isinstance(future.exception(timeout=0), BrokenExecutor)
        assert time.monotonic() - before < 60  # otherwise for ever

    def test_a_dead_worker_ends_all_waiting_futures_also_after_some_were_cancelled(
        self, workers: Workers, tmp_path: Path
    ) -> None:
        workers.begin()
        running = workers.submit(unresponsive, tmp_path / "started")
        queued = [workers.submit(pid) for _ in range(6)]
        wait_for((tmp_path / "started").exists)
        for future in queued[:3]:
            future.cancel()
        for process in list(workers._pool._processes.values()):
            process.kill()
        _, pending = wait([running, *queued], timeout=60)
        assert not pending
        assert isinstance(running.exception(), BrokenExecutor)
        workers.restart()

    def test_an_unresponsive_task_does_not_keep_the_next_search_waiting(self, workers: Workers, tmp_path: Path) -> None:
        cancelled = threading.Event()
        runner = TaskRunner(workers, cancelled=cancelled.is_set)
        workers.begin()
        threading.Thread(target=lambda: (wait_for((tmp_path / "started").exists), cancelled.set())).start()
        with pytest.raises(SearchCancelledError):
            runner.run("judging", unresponsive, [(tmp_path / "started",)])
        began = (tmp_path / "started").stat().st_mtime
        assert time.time() - began < 60  # otherwise for ever
        workers.begin()
        assert TaskRunner(workers).run("training", add, [(1, 2)]) == [(3, False)]

    def test_an_abandoned_search_cannot_cancel_the_next_one(self, workers: Workers) -> None:
        cancelled = threading.Event()
        abandoned = TaskRunner(workers, cancelled=cancelled.is_set)
        workers.begin()
        cancelled.set()
        with pytest.raises(SearchCancelledError):
            abandoned.run("training", add, [(1, 2)])
        assert workers.submit(add, 1, 2).result(timeout=30) == (3, False)

    def test_a_shared_array_is_mapped_once_and_cannot_be_changed(self, workers: Workers) -> None:
        workers.begin()
        shared = workers.share(np.zeros(1000))
        addresses = {workers.submit(cut, shared, [0]).result()[1] for _ in range(3)}
        assert len(addresses) == 1
        with pytest.raises(ValueError, match="read-only"):
            workers.submit(overwrite, shared).result()
        assert workers.submit(cut_for_torch, workers.share(np.ones(1000)), [0, 5, 8]).result() == 3

    def test_shared_arrays_leave_nothing_behind(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with workers_for(1) as workers:
            for _ in range(2):
                workers.begin()
                assert workers.submit(cut, workers.share(np.ones(1000)), [0]).result()[0] == 1
                assert len(list(tmp_path.rglob("*.npy"))) == 1
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.attack("stops a worker process (SIGSTOP) and ends the agent", promise="Workers end with the agent.")
    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux continues a stopped process when its parent ends")
    def test_a_stopped_worker_and_its_files_end_with_a_parent_that_was_killed(self, tmp_path: Path) -> None:
        script, started, shared_path = tmp_path / "owner.py", tmp_path / "task", tmp_path / "shared"
        script.write_text(OWNER)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        with subprocess.Popen([sys.executable, script, started, shared_path], env=environment) as owner:
            try:
                worker, shared = pid_in(started), Path(shared_path.read_text())
                os.kill(worker, signal.SIGSTOP)
            finally:
                owner.kill()
        try:
            wait_for(lambda: not alive(worker) and not shared.parent.exists())
        finally:
            if alive(worker):
                os.kill(worker, signal.SIGKILL)

    @pytest.mark.attack("stops a worker process (SIGSTOP) and kills another", promise="Workers end with the agent.")
    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
    def test_a_stopped_worker_ends_with_its_pool_when_another_one_was_killed(self, tmp_path: Path) -> None:
        with workers_for(2) as workers:
            workers.begin()
            futures = [workers.submit(until_stopped, tmp_path / name) for name in ("stopped", "killed")]
            stopped, killed = pid_in(tmp_path / "stopped"), pid_in(tmp_path / "killed")
            os.kill(stopped, signal.SIGSTOP)
            try:
                os.kill(killed, signal.SIGKILL)
                wait(futures, timeout=30)
                workers.restart()
                wait_for(lambda: not alive(stopped))
                assert workers.submit(add, 1, 2).result(timeout=30) == (3, False)
            finally:
                if alive(stopped):
                    os.kill(stopped, signal.SIGKILL)

    @pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
    def test_workers_and_files_end_with_a_parent_that_was_killed(self, tmp_path: Path) -> None:
        script, started, shared_path = tmp_path / "owner.py", tmp_path / "task", tmp_path / "shared"
        script.write_text(OWNER)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        with subprocess.Popen([sys.executable, script, started, shared_path], env=environment) as owner:
            try:
                worker, shared = pid_in(started), Path(shared_path.read_text())
                assert shared.exists()
            finally:
                owner.kill()
        wait_for(lambda: not alive(worker) and not shared.parent.exists(), seconds=5)


def test_a_worker_finds_the_users_modules_but_none_of_ours_is_hidden_by_them(tmp_path: Path) -> None:
    (tmp_path / "my_own_module_of_the_lab.py").write_text("ANSWER = 42")
    (tmp_path / "agent.py").write_text("raise RuntimeError('this is not the agent')")
    with workers_for(1, tmp_path) as workers:
        workers.begin()
        assert workers.submit(users_own).result() == 42


def test_without_dask_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "agent.workers.dask_cluster", raising=False)
    monkeypatch.delattr(agent, "dask_executor", raising=False)
    with pytest.raises(WorkersError, match=r"needs 'distributed'.* pip install 'vaestar\[dask\]'"):
        workers_for(0, None, "tcp://127.0.0.1:8786")


def test_an_address_of_dask_takes_precedence_over_the_number_of_processes() -> None:
    with pytest.raises(WorkersError, match="'here' is not the address of a Dask scheduler"):
        workers_for(2, None, "here")
