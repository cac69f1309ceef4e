"""With a failing disk or database, an agent acknowledges nothing that is not recorded, and ends with one clear message."""

import asyncio
import errno
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.app import app
from agent.errors import StorageError
from agent.history import array_store as arrays
from agent.history import database
from agent.history.database import SCHEMA_VERSION
from agent.history.event_log import History
from agent.history.run_directory import DATABASE, STATE_FILE, TOKEN_FILE
from agent.schema import event_kinds as kinds
from agent.web.server import WebServer
from instrument_adapters.protocol import messages as wire
from tests.agent.cli.test_log_setup import _put_back  # noqa: F401 - the command sets up logs
from tests.support.samples import hello, sample_scan, scan_message
from tests.support.small_disk import fill, small_disk  # noqa: F401 - a fixture
from tests.system.bench import deciding, events, instrument, serving


@pytest.fixture(autouse=True)
def _short_lock_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_WAIT_S", 0.1)


def serve_once(run: Path, http: str = "") -> tuple[int, str]:
    """Start `vaestar serve` on a run; returns its exit code and the last line of its output."""
    arguments = ["serve", "--run", str(run), "--bind", "tcp://127.0.0.1:*", "--telemetry", "", "--http", http]
    done = CliRunner().invoke(app, arguments)
    assert "Traceback" not in done.stderr
    assert not (run / STATE_FILE).exists()
    return done.exit_code, done.stderr.splitlines()[-1]


def empty_run(run: Path) -> Path:
    """Create an empty history; returns the run directory."""
    History(run).close()
    return run


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    run = empty_run(tmp_path / "run")
    with closing(sqlite3.connect(run / DATABASE)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield run


def test_a_database_that_another_program_holds_keeps_an_agent_from_starting(locked: Path) -> None:
    code, sentence = serve_once(locked)
    assert code == 4
    assert sentence.startswith(
        f"vaestar: 'run_started' could not be written to {locked}: database is locked: another program has"
    )


def test_a_run_that_another_agent_serves_is_left_to_it(tmp_path: Path) -> None:
    with History(tmp_path / "run"):
        code, sentence = serve_once(tmp_path / "run")
    assert (code, "another agent is using it; stop that one, or name another run directory" in sentence) == (4, True)


@pytest.mark.parametrize("content", [b"no database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_not_a_database_is_reported_and_kept(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    code, sentence = serve_once(tmp_path)
    assert (code, "it is damaged, or not a history; nothing was overwritten" in sentence) == (4, True)
    assert (tmp_path / DATABASE).read_bytes() == content


def test_a_history_of_a_newer_version_is_reported_and_kept(tmp_path: Path) -> None:
    run = empty_run(tmp_path / "run")
    with closing(sqlite3.connect(run / DATABASE)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    code, sentence = serve_once(run)
    assert (code, f"it has schema {SCHEMA_VERSION + 1}, this vaestar knows up to {SCHEMA_VERSION}" in sentence) == (4, True)


@pytest.mark.skipif(not Path("/sys").is_dir(), reason="not even root can create a directory in /sys")
def test_a_directory_that_may_not_be_written_is_reported() -> None:
    code, sentence = serve_once(Path("/sys/vaestar"))
    assert (code, "this user may not write there; change the permissions" in sentence) == (4, True)


def test_a_file_in_place_of_the_run_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    assert serve_once(tmp_path / "run")[0] == 4


def break_it(run: Path, fault: str, stack: ExitStack) -> None:
    """Make the storage of a run fail until `stack` is closed."""
    if fault == "deleted":
        (run / DATABASE).unlink()
    elif fault == "locked":
        other = stack.enter_context(closing(sqlite3.connect(run / DATABASE)))
        other.execute("BEGIN IMMEDIATE")
    else:

        def disk_full(_path: Path, _content: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        patched = stack.enter_context(pytest.MonkeyPatch.context())
        patched.setattr(arrays, "write_durably", disk_full)


@pytest.mark.parametrize("fault", ["locked", "deleted", "full"])
def test_a_scan_that_cannot_be_recorded_is_not_acknowledged_and_is_accepted_by_the_next_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    deciding(monkeypatch)
    scan, heard = scan_message(sample_scan()), []

    async def with_fault() -> None:
        async with serving(tmp_path) as (_, state):
            with instrument(state["bind"]) as bench, ExitStack() as broken:
                await bench.ask(hello(), wire.Welcome)
                break_it(tmp_path, fault, broken)
                await bench.say(scan)
                await bench.hear(wire.Bye)
                heard.extend(bench.heard)

    with pytest.raises(StorageError, match="'scan_received' could not be written"):
        asyncio.run(with_fault())
    assert [type(message) for message in heard] == [wire.Welcome, wire.Bye]
    if fault == "deleted":
        return
    assert events(tmp_path, kinds.SCAN_RECEIVED) == []

    async def without_fault() -> wire.Ack:
        async with serving(tmp_path) as (_, state):
            with instrument(state["bind"]) as bench:
                await bench.ask(hello(), wire.Welcome)
                return await bench.ask(scan, wire.Ack)

    assert asyncio.run(without_fault()).duplicate is False
    assert len(events(tmp_path, kinds.SCAN_RECEIVED)) == 1


@pytest.mark.parametrize("lacks", ["space", "files"])
@pytest.mark.attack(
    "an agent is started again on the disk that ended it", promise="refused with exit code 4; with space, it continues the run"
)
def test_on_a_full_disk_no_agent_starts_and_with_space_it_continues_the_run(small_disk: Path, lacks: str) -> None:  # noqa: F811
    run = empty_run(small_disk / "run")
    with History(run) as history:
        history.record("noted", "x", {}, at=datetime.now(UTC))
    filled = fill(small_disk, lacks)
    code, sentence = serve_once(run, "127.0.0.1:0")
    assert code == 4, sentence
    assert "the disk is full; free some space" in sentence
    assert not (run / TOKEN_FILE).exists()
    for path in filled:
        path.unlink()

    async def again() -> None:
        async with serving(run):
            assert (run / STATE_FILE).exists()

    asyncio.run(again())
    assert [event.seq for event in events(run, kinds.RUN_STARTED)] == [2]


@pytest.mark.parametrize("lacks", ["space", "files"])
def test_a_token_that_cannot_be_written_is_a_fault_of_the_disk(small_disk: Path, lacks: str) -> None:  # noqa: F811
    filled = fill(small_disk, lacks)
    with pytest.raises(StorageError, match=r"control.token cannot be written: .* the disk is full; free some space"):
        WebServer("127.0.0.1:0", small_disk).open().__enter__()
    assert sorted(small_disk.iterdir()) == sorted(filled)
