"""Commands that are ended by a signal leave no process behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instrument_adapters import exit_codes
from tests.support.data.images import two_textures
from tests.system.commands import quick_config
from tests.system.test_analyze import written

pytestmark = [pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads processes from /proc")]

ROOT = Path(__file__).resolve().parents[2]
MARK = "VAESTAR_TEST_RUN"
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command in `tmp_path`; its processes carry a mark in their environment. What is left at the end is killed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), MARK: str(tmp_path), "OMP_NUM_THREADS": "1"}

    def started(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "agent", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipes)

    yield started
    for pid in marked(tmp_path):
        os.kill(pid, signal.SIGKILL)


def marked(directory: Path) -> list[int]:
    """Ids of the living processes that were started in a test's directory, directly or by others."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            alive = (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
            if alive and f"{MARK}={directory}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
        except OSError:  # it has just ended
            continue
    return found


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for a condition while a process lives."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.attack("`vaestar demo` is ended by SIGTERM or SIGHUP", promise="agent, simulator and workers end with it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_demo_ended_by_a_signal_takes_its_processes_along(number: signal.Signals, start: Start, tmp_path: Path) -> None:
    demo = start("demo", "--run", "run")
    log = tmp_path / "run" / "simulator.log"
    wait_until(log.exists, demo)
    assert len(marked(tmp_path)) >= 3
    demo.send_signal(number)
    _, stderr = demo.communicate(timeout=120)
    assert demo.returncode == exit_codes.INTERRUPTED, stderr
    assert stderr == "vaestar: interrupted; finished work is kept\n"
    assert marked(tmp_path) == []
    assert not (tmp_path / "run" / "service.json").exists()  # the agent has shut down cleanly


@pytest.mark.slow
@pytest.mark.attack("`vaestar analyze` is ended by SIGTERM or SIGHUP", promise="its workers end with it")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_analysis_ended_by_a_signal_takes_its_workers_along(number: signal.Signals, start: Start, tmp_path: Path) -> None:
    scan, config = written(tmp_path / "scan.ibw", two_textures(96)), quick_config(tmp_path, workers=1)
    config.write_text(config.read_text().replace("steps = 60", "steps = 1000000"))
    analysis = start("analyze", str(scan), "--config", str(config))
    wait_until(lambda: len(marked(tmp_path)) > 2, analysis)  # the command, a worker, and multiprocessing's resource tracker
    analysis.send_signal(number)
    _, stderr = analysis.communicate(timeout=120)
    assert analysis.returncode == exit_codes.INTERRUPTED, stderr
    assert marked(tmp_path) == []
