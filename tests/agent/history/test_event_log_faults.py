"""Faults that `verify` finds, and what remains after a kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.run_directory import DATABASE
from tests.support.history.history_tampering import tamper
from tests.support.samples import NOW

RECORDER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from agent.history.event_log import History

history = History(Path(sys.argv[1]))
while True:
    number = len(history)
    arrays = {"a": np.full(2000, float(number))} if number % 3 == 0 else None
    event = history.record("noted", "x", {"text": "x" * 500}, at=datetime.now(UTC), arrays=arrays)
    sys.stdout.write(f"{event.seq}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Five events, of which the third has two arrays."""
    with History(tmp_path) as history:
        for i in range(5):
            arrays = {"image": np.arange(9.0), "points": np.eye(3)} if i == 2 else None
            history.record("noted", f"thing-{i + 1}", {"i": i}, at=NOW, arrays=arrays, once=f"once-{i}")
        assert history.verify() == []
    return tmp_path


def faults_after(run: Path, *statements: str) -> list[str]:
    tamper(run, *statements)
    with History(run, read_only=True) as history:
        return history.verify()


@pytest.mark.parametrize(
    "change",
    [
        """body = '{"i":7}'""",
        "kind = 'undone'",
        "subject = 'thing-9'",
        "recorded_at = '2027-01-01T00:00:00+00:00'",
        "once = NULL",
        "arrays = '{}'",
        "arrays = 'nonsense'",
        "arrays = '[1]'",
        "body = 'nonsense'",
    ],
)
def test_an_event_that_was_edited_is_found(run: Path, change: str) -> None:
    faults = faults_after(run, f"UPDATE event SET {change} WHERE seq = 3")
    assert any("event 3 " in f and "is not as it was written" in f for f in faults)
    assert not any("event 4" in f for f in faults)


def test_an_event_whose_hash_was_edited_too_is_found_by_its_successor(run: Path) -> None:
    faults = faults_after(run, f"UPDATE event SET hash = '{'a' * 64}' WHERE seq = 2")
    assert [f.split(" (")[0] for f in faults] == ["event 2", "event 3"]


@pytest.mark.parametrize(("gone", "sentence"), [("2", "events 2 to 2 are missing"), ("1, 2, 3", "events 1 to 3 are missing")])
def test_events_that_were_removed_are_found(run: Path, gone: str, sentence: str) -> None:
    faults = faults_after(run, f"DELETE FROM event WHERE seq IN ({gone})")
    assert faults[0] == sentence
    assert "does not follow its predecessor" in faults[1]
    assert len(faults) == 2


def test_an_array_that_was_altered_is_found_and_not_given_out(run: Path) -> None:
    with History(run, read_only=True) as history:
        digest = next(e for e in history.events() if e.arrays).arrays["image"]
        path = run / "arrays" / digest[:2] / f"{digest}.npy"
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
        (fault,) = history.verify()
        assert fault.startswith("event 3: 'image': array")
        assert "has been altered; restore it from a copy" in fault
        with pytest.raises(HistoryError, match="altered"):
            history.arrays.get(digest)


def test_an_array_that_is_missing_is_found(run: Path) -> None:
    with History(run, read_only=True) as history:
        digest = next(e for e in history.events() if e.arrays).arrays["points"]
        (run / "arrays" / digest[:2] / f"{digest}.npy").unlink()
        (fault,) = history.verify()
        assert fault.startswith("event 3: 'points': array")
        assert "is missing" in fault


@pytest.mark.parametrize("change", ["body = 'nonsense'", "body = '[1]'", "arrays = '3'", "recorded_at = 'yesterday'"])
def test_reading_an_event_that_is_no_event_gives_one_sentence(run: Path, change: str) -> None:
    tamper(run, f"UPDATE event SET {change} WHERE seq = 3")
    with History(run, read_only=True) as history, pytest.raises(HistoryError, match=r"cannot be read: .*history verify"):
        list(history.events())


def test_a_damaged_database_file_is_a_fault_and_no_crash(run: Path) -> None:
    with History(run) as history:
        for i in range(200):
            history.record("noted", f"more-{i}", {"text": "y" * 300}, at=NOW)
    path = run / DATABASE
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    with History(run, read_only=True) as history:
        assert any("cannot be read" in fault for fault in history.verify())
        with pytest.raises(HistoryError, match="cannot be read"):
            list(history.events())


@pytest.mark.slow
def test_after_sigkill_every_acknowledged_event_is_there_and_whole(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", RECORDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        acknowledged = [int(process.stdout.readline()) for _ in range(60)]
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]
    assert process.returncode == -signal.SIGKILL
    with History(tmp_path) as history:
        there = [e.seq for e in history.events()]
        assert acknowledged == list(range(1, len(acknowledged) + 1))
        assert there[: len(acknowledged)] == acknowledged
        assert history.verify() == []
        assert history.record("noted", "after", {}, at=NOW).seq == len(there) + 1
        assert history.verify() == []
