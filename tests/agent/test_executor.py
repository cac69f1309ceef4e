import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path

import pytest

from agent.executor import InlineExecutor, Workers
from agent.workflow.errors import SearchCancelledError

OWNER = """
import sys
from pathlib import Path
from agent.executor import Workers
from tests.agent.test_executor import until_stopped

if __name__ == "__main__":
    with Workers(1) as workers:
        workers.begin()
        future = workers.submit(until_stopped, Path(sys.argv[1]))
        future.result()
"""


def add(a: int, b: int, *, stopped: Callable[[], bool]) -> tuple[int, bool]:
    return a + b, stopped()


def fail(*, stopped: Callable[[], bool]) -> None:
    raise ZeroDivisionError("nothing to divide")


def pid(*, stopped: Callable[[], bool]) -> int:
    return os.getpid()


def threads(*, stopped: Callable[[], bool]) -> str:
    return os.environ["OMP_NUM_THREADS"]


def users_own(*, stopped: Callable[[], bool]) -> int:
    import my_own_module_of_the_lab

    return my_own_module_of_the_lab.ANSWER


def until_stopped(started: Path, *, stopped: Callable[[], bool]) -> None:
    started.write_text(str(os.getpid()))
    deadline = time.monotonic() + 60
    while not stopped():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    raise SearchCancelledError("the search was cancelled")


def deaf(started: Path, *, stopped: Callable[[], bool]) -> None:
    started.touch()
    time.sleep(60)


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def one_process() -> Workers:
    """One worker process for all tests that leave it whole."""
    with Workers(1) as workers:
        yield workers


def test_the_calling_thread_and_a_process_give_equal_results(one_process: Workers) -> None:
    with Workers(0) as inline:
        for workers in (inline, one_process):
            workers.begin()
            assert workers.submit(add, 1, 2).result() == (3, False)
            with pytest.raises(ZeroDivisionError, match="nothing to divide"):
                workers.submit(fail).result()
        assert inline.submit(pid).result() == os.getpid()
    assert one_process.submit(pid).result() != os.getpid()


def test_an_interrupt_in_the_calling_thread_is_not_swallowed() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        InlineExecutor().submit(interrupted)


def test_a_worker_computes_on_one_thread(one_process: Workers) -> None:
    assert one_process.submit(threads).result() == os.environ.get("OMP_NUM_THREADS", "1")


def test_a_running_task_in_a_process_is_cancelled_and_the_next_search_is_not(one_process: Workers, tmp_path: Path) -> None:
    one_process.begin()
    future = one_process.submit(until_stopped, tmp_path / "started")
    wait_for((tmp_path / "started").exists)
    one_process.cancel()
    with pytest.raises(SearchCancelledError):
        future.result(timeout=10)
    one_process.begin()
    assert one_process.submit(add, 1, 2).result() == (3, False)


def test_a_running_task_in_the_calling_thread_is_cancelled_from_another_thread(tmp_path: Path) -> None:
    with Workers(0) as workers:
        workers.begin()
        canceller = threading.Thread(target=lambda: (wait_for((tmp_path / "started").exists), workers.cancel()))
        canceller.start()
        with pytest.raises(SearchCancelledError):
            workers.submit(until_stopped, tmp_path / "started").result()
        canceller.join()


def test_a_worker_finds_the_users_modules_but_none_of_ours_is_hidden_by_them(tmp_path: Path) -> None:
    (tmp_path / "my_own_module_of_the_lab.py").write_text("ANSWER = 42")
    (tmp_path / "agent.py").write_text("raise RuntimeError('this is not the agent')")
    with Workers(1, tmp_path) as workers:
        workers.begin()
        assert workers.submit(users_own).result() == 42


def test_killed_workers_are_replaced_while_they_work_and_while_they_rest(tmp_path: Path) -> None:
    with Workers(1) as workers:
        workers.begin()
        future = workers.submit(until_stopped, tmp_path / "started")
        wait_for(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text())
        os.kill(int((tmp_path / "started").read_text()), signal.SIGKILL)
        with pytest.raises(BrokenExecutor):
            future.result(timeout=10)
        workers.restart()
        resting = workers.submit(pid).result()
        os.kill(resting, signal.SIGKILL)
        wait_for(lambda: workers._executor._broken)
        assert workers.submit(add, 1, 2).result() == (3, False)


def test_closing_ends_a_running_task_and_its_process(tmp_path: Path) -> None:
    with Workers(1) as workers:
        workers.begin()
        future = workers.submit(until_stopped, tmp_path / "started")
        wait_for(lambda: (tmp_path / "started").exists() and (tmp_path / "started").read_text())
    assert isinstance(future.exception(timeout=0), SearchCancelledError)
    assert not alive(int((tmp_path / "started").read_text()))


def test_a_task_that_does_not_heed_its_cancelling_ends_with_its_process(tmp_path: Path) -> None:
    before = time.monotonic()
    with Workers(1) as workers:
        workers.begin()
        future = workers.submit(deaf, tmp_path / "started")
        wait_for((tmp_path / "started").exists)
    assert isinstance(future.exception(timeout=0), BrokenExecutor)
    assert time.monotonic() - before < 20


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen([sys.executable, script, started], env=environment) as owner:
        try:
            wait_for(lambda: started.exists() and started.read_text())
        finally:
            owner.kill()
    worker = int(started.read_text())
    wait_for(lambda: not alive(worker), seconds=5)
