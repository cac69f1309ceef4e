"""What systemd is told, over a socket of the kind that it listens on."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.attending import Attendance
from agent.history import DATABASE, History
from agent.notify import notify, watchdog_s
from tests.agent.web.asgi import FakeControl

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd is Linux'")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listening


def told(manager: socket.socket) -> str:
    return manager.recv(4096).decode()


def attend(run: Path, seconds: float = 0.0) -> None:
    async def main() -> None:
        attendance = Attendance(run, "")
        with attendance.listening():
            assert attendance.address == ""
            async with attendance.attending(FakeControl()):
                await asyncio.sleep(seconds)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_the_manager_hears_of_start_and_end(tmp_path: Path, manager: socket.socket) -> None:
    attend(tmp_path)
    assert told(manager) == f"READY=1\nSTATUS=serving {tmp_path}"
    assert told(manager) == "STOPPING=1"


def test_signs_of_life_are_given_while_all_is_well(
    tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    History(tmp_path / "run").close()
    attend(tmp_path / "run", 0.1)
    assert told(manager).startswith("READY=1")
    assert told(manager) == "WATCHDOG=1"
    assert told(manager) == "WATCHDOG=1"


def test_no_sign_of_life_is_given_when_the_history_is_gone(
    tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    History(tmp_path / "run").close()
    (tmp_path / "run" / DATABASE).unlink()
    attend(tmp_path / "run", 0.05)
    assert told(manager).startswith("READY=1")
    assert told(manager) == "STOPPING=1"


def test_without_a_manager_nobody_is_told() -> None:
    assert notify("READY=1", {}) is False
    assert notify("READY=1", {"NOTIFY_SOCKET": "/nowhere/notify"}) is False
    assert notify("READY=1", {"NOTIFY_SOCKET": "@vaestar-nobody"}) is False


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_often_a_sign_of_life_is_wanted(environment: dict[str, str], seconds: float | None) -> None:
    assert watchdog_s(environment) == seconds
