"""Failing disks and databases, and the messages about them."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from agent.errors import HistoryError, StorageError
from agent.history import array_store as arrays
from agent.history import database as history_schema
from agent.history import event_log
from agent.history.event_log import History
from agent.history.run_directory import DATABASE
from agent.history.storage_errors import (
    WRITER_LOCK,
    OpenFiles,
    check_writable,
    describe_error,
    storage_error,
    when_descriptors_free,
)
from instrument_adapters import exit_codes
from tests.support.samples import NOW
from tests.support.small_disk import fill, small_disk  # noqa: F401 - a fixture

FILLS_UP = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from agent.history.event_log import History, StorageError

with History(Path(sys.argv[1])) as history:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        while True:
            print(history.record("noted", "x", {"text": "x" * 5000}, at=datetime.now(UTC)).seq)
    except StorageError as error:
        print(error, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; free some space"),
        (OSError(errno.EFBIG, "File too large"), "the disk is full; free some space"),
        (OSError(errno.EROFS, "Read-only file system"), "this user may not write there; change the permissions"),
        (PermissionError(errno.EACCES, "Permission denied"), "this user may not write there; change the permissions"),
        (OSError(errno.EMFILE, "Too many open files"), "too many files and connections are open; nothing is wrong with the disk"),
    ],
)
def test_errors_of_the_system_come_with_advice(error: OSError, advice: str) -> None:
    assert describe_error(error).startswith(f"{error.strerror}: {advice}")


def test_an_error_without_advice_is_reported_as_it_is() -> None:
    assert describe_error(OSError(errno.EIO, "Input/output error")) == "Input/output error"
    assert describe_error(sqlite3.DatabaseError("it has schema 9")) == "it has schema 9"


def test_a_disk_that_fills_up_ends_in_a_sentence_and_all_acknowledged_events_are_there(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", FILLS_UP, tmp_path], capture_output=True, text=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"'noted' could not be written to {tmp_path}: ")
    with History(tmp_path, read_only=True) as history:
        there = [e.seq for e in history.events()]
        assert history.verify() == []
    acknowledged = [int(line) for line in done.stdout.split()]
    assert len(acknowledged) > 3
    assert there[: len(acknowledged)] == acknowledged


def test_a_full_disk_under_an_array_records_nothing_and_the_next_event_follows_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with History(tmp_path) as history:
        original = arrays.write_durably
        monkeypatch.setattr(arrays, "write_durably", full)
        with pytest.raises(StorageError, match="the disk is full; free some space"):
            history.record("noted", "x", {}, at=NOW, arrays={"a": np.zeros(3)})
        monkeypatch.setattr(arrays, "write_durably", original)
        assert len(history) == 0
        assert history.record("noted", "x", {}, at=NOW, arrays={"a": np.zeros(3)}).seq == 1
        assert history.verify() == []


def test_a_database_that_another_program_holds_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_schema, "_WAIT_S", 0.1)
    with History(tmp_path) as history, closing(sqlite3.connect(tmp_path / DATABASE)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="another program has kept it locked for seconds; close that program"):
            history.record("noted", "x", {}, at=NOW)
        other.execute("ROLLBACK")
        assert history.record("noted", "x", {}, at=NOW).seq == 1


@pytest.mark.parametrize("name", [DATABASE, f"{DATABASE}-wal"])
@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_counts_as_recorded_once_the_database_was_deleted_or_replaced(tmp_path: Path, name: str, replaced: bool) -> None:
    with History(tmp_path / "run") as history:
        history.record("noted", "x", {}, at=NOW)
        copy = shutil.copy(tmp_path / "run" / name, tmp_path / "copy")
        (tmp_path / "run" / name).unlink()
        if replaced:
            shutil.move(copy, tmp_path / "run" / name)
        with pytest.raises(StorageError, match=rf"{name} was deleted or replaced while the agent was running; restore it"):
            history.record("noted", "y", {}, at=NOW)


def test_a_reopened_history_is_watched_as_well(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        history.record("noted", "x", {}, at=NOW)
    with History(tmp_path) as history:
        assert (tmp_path / f"{DATABASE}-wal").exists()
        (tmp_path / DATABASE).unlink()
        with pytest.raises(StorageError, match="was deleted"):
            history.record("noted", "y", {}, at=NOW)


def test_a_run_whose_database_was_deleted_is_not_begun_anew(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        history.record("noted", "x", {}, at=NOW, arrays={"a": np.zeros(3)})
    (tmp_path / DATABASE).unlink()
    with pytest.raises(StorageError, match=r"holds the arrays of a run, but not its history.sqlite; restore that file"):
        History(tmp_path)
    assert not (tmp_path / DATABASE).exists()


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("content", [b"this is a text, and not a database at all" * 10, b"SQLite format 3\0" + bytes(4000)])
def test_what_is_no_sound_database_is_left_as_it_is(tmp_path: Path, content: bytes, read_only: bool) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(StorageError, match="it is damaged, or not a history; nothing was overwritten: keep a copy"):
        History(tmp_path, read_only=read_only)
    assert (tmp_path / DATABASE).read_bytes() == content


def test_an_overwritten_page_is_reported_when_it_is_read(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        for number in range(200):
            history.record("noted", f"x-{number}", {"text": "x" * 500}, at=NOW)
    content = bytearray((tmp_path / DATABASE).read_bytes())
    content[40_960:81_920] = b"\xff" * 40_960
    (tmp_path / DATABASE).write_bytes(content)
    with pytest.raises(HistoryError, match="malformed: it is damaged"), History(tmp_path, read_only=True) as history:
        list(history.events())


def test_a_file_that_is_written_to_does_not_count_as_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    files = OpenFiles(tmp_path / "a", tmp_path / "never")
    (tmp_path / "a").write_text("2")
    (tmp_path / "never").write_text("new")
    assert files.replaced() is None
    (tmp_path / "a").unlink()
    assert files.replaced() == tmp_path / "a"


@pytest.mark.attack("connections take all file descriptors", promise="that is no storage fault, and the agent is started again")
def test_a_lack_of_descriptors_ends_with_another_code_than_a_full_disk() -> None:
    assert storage_error("'x' could not be written", OSError(errno.EMFILE, "Too many open files")).exit_code == exit_codes.FAILED
    assert storage_error("'x' could not be written", OSError(errno.ENOSPC, "No space left")).exit_code == exit_codes.STORAGE


def test_a_lack_of_descriptors_is_waited_for_and_other_errors_are_not() -> None:
    errors = [OSError(errno.EMFILE, "Too many open files"), OSError(errno.ENFILE, "Too many open files in system")]
    pauses: list[float] = []

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "opened"

    assert when_descriptors_free(call, sleep=pauses.append) == "opened"
    assert len(pauses) == 2
    errors = [OSError(errno.EMFILE, "Too many open files")]
    with pytest.raises(OSError, match="Too many open files"):
        when_descriptors_free(call, wait_s=0.0, sleep=pauses.append)
    errors = [OSError(errno.ENOSPC, "No space left")]
    with pytest.raises(OSError, match="No space"):
        when_descriptors_free(call, sleep=pauses.append)
    assert len(pauses) == 2


def test_an_event_holds_arrays_that_were_stored_before_and_stores_one_that_was_removed_since(tmp_path: Path) -> None:
    curves = {"a": np.arange(3.0), "b": np.arange(4.0)}
    with History(tmp_path) as history:
        stored = history.store_arrays(curves)
        history.arrays.path(stored["b"]).unlink()
        event = history.record("noted", "x", {}, at=NOW, arrays=curves, stored=stored)
        assert event.arrays == stored
        assert history.arrays.get(stored["b"]).tolist() == [0, 1, 2, 3]
        assert history.verify() == []


@pytest.mark.attack(
    "the database is cut short while the agent runs", promise="noticed at the next event, which does not count as recorded"
)
def test_a_database_that_is_cut_short_is_noticed_at_the_next_event(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        for _ in range(50):
            history.record("noted", "x", {"text": "x" * 5000}, at=NOW)
        history._db.execute("PRAGMA wal_checkpoint")
        history.record("noted", "x", {}, at=NOW)
        os.truncate(tmp_path / DATABASE, 8192)
        with pytest.raises(StorageError, match=rf"{DATABASE} was cut short while the agent was running \(8192 bytes remain of"):
            history.record("noted", "y", {}, at=NOW)


@pytest.mark.attack("writer.lock is deleted by hand and a second agent is started", promise="the second one is refused")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let an open file be deleted")
def test_without_its_lock_file_a_run_is_still_in_use_and_its_agent_ends(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        history.record("noted", "x", {}, at=NOW)
        (tmp_path / WRITER_LOCK).unlink()
        with pytest.raises(StorageError, match="another agent is using it"):
            History(tmp_path)
        with pytest.raises(StorageError, match=f"{WRITER_LOCK} was deleted or replaced .* start this one again"):
            history.record("noted", "y", {}, at=NOW)
    with History(tmp_path) as history:
        assert len(history) == 1


@pytest.mark.attack(
    "the same where the file system cannot lock a directory",
    promise="the first agent writes nothing more, the history stays whole",
)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not let an open file be deleted")
def test_where_directories_cannot_be_locked_the_first_agent_stops_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(event_log.fcntl, "flock", no_locks)
    with History(tmp_path) as first:
        first.record("noted", "x", {}, at=NOW)
        (tmp_path / WRITER_LOCK).unlink()
        with History(tmp_path) as second:
            assert second.record("noted", "second", {}, at=NOW).seq == 2
            with pytest.raises(StorageError, match="another agent may write now"):
                first.record("noted", "first", {}, at=NOW)
            assert second.record("noted", "second", {}, at=NOW).seq == 3
            assert second.verify() == []


@pytest.mark.parametrize("lacks", ["space", "files"])
@pytest.mark.attack("an agent is started on a disk without space, or without room for files", promise="refused, nothing is begun")
def test_a_disk_on_which_nothing_can_be_written_is_refused_and_left_as_it_is(small_disk: Path, lacks: str) -> None:  # noqa: F811
    check_writable(small_disk / "run")
    filled = fill(small_disk, lacks)
    for run in (small_disk / "run", small_disk / "other"):
        before = sorted(small_disk.rglob("*"))
        with pytest.raises(StorageError, match=r"cannot be written: .* the disk is full; free some space"):
            check_writable(run)
        assert sorted(small_disk.rglob("*")) == before
    for path in filled:
        path.unlink()
    check_writable(small_disk / "run")
