"""Health checks of the disk, the history and the event loop."""

import asyncio
import shutil
import time
from collections import namedtuple
from pathlib import Path
from typing import BinaryIO

import pytest

from agent.history.event_log import History
from agent.history.run_directory import DATABASE
from agent.monitoring.health import LEAST_FREE_BYTES, Health, HealthChecks

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    History(tmp_path / "run").close()
    return tmp_path / "run"


def check(run: Path) -> Health:
    return asyncio.run(HealthChecks(run).health())


def test_a_writable_run_is_healthy_and_the_check_leaves_no_file(run: Path) -> None:
    before = sorted(run.iterdir())
    health = check(run)
    assert health.ok
    assert not health.restart_helps
    assert sorted(run.iterdir()) == before


def test_a_database_that_is_gone_is_noticed(run: Path) -> None:
    (run / DATABASE).unlink()
    health = check(run)
    assert not health.ok
    assert health.restart_helps
    assert health.checks["history"] == f"history.sqlite is missing from {run}"


def test_a_directory_that_cannot_be_written_is_noticed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: Path) -> BinaryIO:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("agent.monitoring.health.open_new", refused)
    assert check(run).checks["history"] == f"{run} cannot be written: [Errno 30] Read-only file system"
    shutil.rmtree(run)
    assert "No such file" in check(run).checks["history"]


def test_low_disk_space_is_no_fault_that_a_restart_would_mend(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, LEAST_FREE_BYTES - 1))
    health = check(run)
    assert (health.ok, health.restart_helps) == (False, False)
    assert health.checks["disk"] == "only 200 MB are free on the disk"


def test_the_disk_is_not_checked_again_for_some_seconds(run: Path) -> None:
    now = [0.0]
    checks = HealthChecks(run, now=lambda: now[0])
    assert asyncio.run(checks.health()).ok
    (run / DATABASE).unlink()
    now[0] = 4.0
    assert asyncio.run(checks.health()).ok
    now[0] = 6.0
    assert not asyncio.run(checks.health()).ok


def test_a_late_event_loop_is_noticed(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> Health:
        checks = HealthChecks(run)
        watch = asyncio.create_task(checks.monitor_event_loop(0.001))
        await asyncio.sleep(0)
        time.sleep(0.05)
        await asyncio.sleep(0.002)
        watch.cancel()
        assert checks.loop_lag_s > 0.04
        monkeypatch.setattr("agent.monitoring.health._MAX_LAG_S", 0.04)
        return await checks.health()

    health = asyncio.run(scenario())
    assert health.checks["event_loop"].startswith("the event loop was up to 0.")
    assert (health.ok, health.restart_helps) == (False, False)


def test_a_request_during_a_disk_check_gets_the_result_of_that_check(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def slow(_: Path) -> Usage:
        calls.append(time.sleep(0.1))
        return Usage(10**12, 0, 10**12)

    monkeypatch.setattr(shutil, "disk_usage", slow)

    async def two_requests() -> list[Health]:
        checks = HealthChecks(run)
        return await asyncio.gather(checks.health(), checks.health())

    assert [(h.ok, h.disk_free_bytes) for h in asyncio.run(two_requests())] == [(True, 10**12)] * 2
    assert len(calls) == 1
