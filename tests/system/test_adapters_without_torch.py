"""The adapter's side on a microscope's PC: programs of their own that may import nothing of what only the agent needs."""

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from instrument_adapters.protocol.messages import Bye, ResultMessage, ScanMessage
from tests.instrument_adapters.conftest import FakeAgent
from tests.support.data.recordings import write_films, write_nsid, write_scan

ROOT = Path(__file__).resolve().parents[2]
# What `pip install vaestar` without extras does not bring.
ABSENT = (
    "torch",
    "pyro",
    "sklearn",
    "skimage",
    "scipy",
    "apscheduler",
    "structlog",
    "matplotlib",
    "threadpoolctl",
    "distributed",
)
BARE = f"""
import importlib.abc, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*ABSENT, "fastapi", "uvicorn", "prometheus_client")!r}:
            raise ModuleNotFoundError(f"{{name}} is not installed here", name=name)
sys.meta_path.insert(0, Absent())
sys.path.insert(0, {str(ROOT)!r})
from instrument_adapters.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    fake = FakeAgent()
    fake.points = lambda _: [(-3e-6, 4e-6), (-2.8e-6, 4e-6)]
    yield fake
    fake.close()


@pytest.fixture
def bare() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts an adapter; none outlives its test."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BARE, *(str(a) for a in arguments)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, log = process.communicate(timeout=60)
    return process.returncode, log


def test_a_folder_works_for_an_agent_without_torch(tmp_path: Path, agent: FakeAgent, bare: Callable) -> None:
    scans, inbox = tmp_path / "scans", tmp_path / "in"
    scans.mkdir()
    inbox.mkdir()
    damaged = write_nsid(tmp_path / "whole.h5").read_bytes()[:-9]
    (scans / "damaged.h5").write_bytes(damaged)  # looked at in a process of its own
    write_scan(scans / "new.ibw", 3.9e9)
    (inbox / "done.csv").write_text("request_id,status,reason\n")
    options = ["--settle", 0.1, "--outbox", tmp_path / "out", "--inbox", inbox, "--wait-results", 60]
    process = bare("folder", scans, "--connect", agent.address, "--cycles", 1, "--zone", "UTC", *options)
    deadline = time.monotonic() + 40
    while not (tables := list((tmp_path / "out").glob("recommendations/*.csv"))):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    filled = tables[0].read_text(encoding="utf-8-sig").replace("policy,,", "policy,skipped,no time")
    (inbox / "done.csv").write_text(filled)
    code, log = ended(process)
    assert code == 0, log
    (scan,) = agent.wait_for(ScanMessage)
    assert scan.scan_id.startswith("new-")
    assert [(r.status, r.reason) for r in agent.wait_for(ResultMessage)] == [("skipped", "no time")] * 2, log
    assert agent.wait_for(Bye)
    assert "Traceback" not in log


def test_a_replay_works_for_an_agent_without_torch(tmp_path: Path, agent: FakeAgent, bare: Callable) -> None:
    agent.points = lambda _: [(0.0, 0.0)]
    films = write_films(tmp_path)
    code, log = ended(bare("replay", "mexpsimu:1d3um", "--data", films, "--connect", agent.address, "--log-format", "json"))
    assert code == 0, log
    assert [r.status for r in agent.wait_for(ResultMessage)] == ["ok"]
    assert all(line.startswith("{") for line in log.splitlines())


def test_what_is_taken_to_be_absent_is_what_the_agent_alone_needs() -> None:
    """Else the tests above would show nothing."""
    assert all(importlib.util.find_spec(name) for name in ABSENT)
    refused = subprocess.run(
        [sys.executable, "-c", BARE.replace("from instrument_adapters.__main__ import main", "import scipy")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "scipy is not installed here" in refused.stderr


def test_the_command_hands_over_to_the_adapter(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent", "adapter", "folder", str(tmp_path / "none"), "--connect", "tcp://127.0.0.1:1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "COLUMNS": "200"},
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("vaestar adapter folder: error: there is no folder")
