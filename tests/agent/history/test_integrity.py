"""`verify` finds any single change made to a history, and names the place."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.head import HEAD, Head, read_head
from agent.history.run_directory import DATABASE
from tests.support.history.history_tampering import tamper
from tests.support.samples import NOW

EVENTS = 6
COLUMNS = ("seq", "recorded_at", "kind", "subject", "once", "body", "arrays", "hash")
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SEQ = st.integers(1, EVENTS)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00'"), max_size=8) | st.sampled_from(
    ["{}", "null", "[1]", "0" * 64]
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six events with three arrays, one of them named by two."""
    run = tmp_path_factory.mktemp("whole") / "run"
    with History(run) as history:
        for i in range(EVENTS):
            arrays = {"image": np.arange(9.0) + i // 2, "same": np.eye(3)} if i in (1, 2, 4) else None
            history.record("noted", f"thing-{i + 1}", {"instrument_id": "afm-1", "i": i}, at=NOW, arrays=arrays, once=f"once-{i}")
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def faults(run: Path, known_head: Head | None = None) -> list[str]:
    with History(run, read_only=True) as history:
        return history.inspect(known_head).faults


def copied(whole: Path, tmp_path: Path) -> Path:
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    return Path(shutil.copytree(whole, tmp_path / "run"))


def rows(run: Path) -> dict[int, tuple]:
    with contextlib.closing(sqlite3.connect(run / DATABASE)) as db:
        return {row[0]: row for row in db.execute(f"SELECT {', '.join(COLUMNS)} FROM event")}


@pytest.mark.slow
@SETTINGS
@given(seq=SEQ, column=st.sampled_from(COLUMNS[1:]), value=TEXT)
@example(seq=3, column="body", value='{"i":2,"instrument_id":"afm-1"} ')
@example(seq=EVENTS, column="hash", value="0" * 64)
def test_any_edit_of_any_event_is_found_in_its_place(whole: Path, tmp_path: Path, seq: int, column: str, value: str) -> None:
    run = copied(whole, tmp_path)
    assume(rows(run)[seq][COLUMNS.index(column)] != value)
    tamper(run, f"UPDATE event SET {column} = '{value}' WHERE seq = {seq}")
    found = faults(run)
    assert any(f.startswith(f"event {seq} ") and "is not as it was written" in f for f in found), found
    assert not any(f.startswith(f"event {other}") for other in range(1, EVENTS + 1) for f in found if abs(other - seq) > 1), found


@pytest.mark.parametrize("column", ["subject", "body", "kind"])
def test_a_text_that_is_no_text_is_found_in_its_place(run: Path, column: str) -> None:
    tamper(run, f"UPDATE event SET {column} = CAST(x'ff41ff' AS TEXT) WHERE seq = 3")
    assert [f for f in faults(run) if f.startswith("event 3 (")]


@pytest.mark.slow
@SETTINGS
@given(gone=st.sets(SEQ, min_size=1, max_size=EVENTS))
def test_any_removed_events_are_found_in_their_place(whole: Path, tmp_path: Path, gone: set[int]) -> None:
    run = copied(whole, tmp_path)
    tamper(run, f"DELETE FROM event WHERE seq IN ({', '.join(map(str, gone))})")
    found = " ".join(faults(run))
    named = {n for a, b in _spans(found) for n in range(a, b + 1)}
    assert gone == named, found


def _spans(text: str) -> list[tuple[int, int]]:
    import re

    return [(int(a), int(b)) for a, b in re.findall(r"events (\d+) to (\d+) (?:are missing|were cut off)", text)]


@pytest.mark.slow
@SETTINGS
@given(seq=st.integers(-3, EVENTS + 4).filter(lambda n: not 1 <= n <= EVENTS), source=SEQ)
def test_any_inserted_event_is_found(whole: Path, tmp_path: Path, seq: int, source: int) -> None:
    run = copied(whole, tmp_path)
    tamper(
        run,
        "INSERT INTO event (seq, recorded_at, kind, subject, once, body, arrays, hash) "
        f"SELECT {seq}, recorded_at, kind, subject, NULL, body, arrays, hash FROM event WHERE seq = {source}",
    )
    found = faults(run)
    assert any(f.startswith(f"event {seq} ") for f in found), found


@SETTINGS
@given(pair=st.lists(SEQ, min_size=2, max_size=2, unique=True))
def test_any_two_events_that_change_places_are_found(whole: Path, tmp_path: Path, pair: list[int]) -> None:
    run = copied(whole, tmp_path)
    a, b = pair
    tamper(run, *(f"UPDATE event SET seq = {new} WHERE seq = {old}" for old, new in ((a, 99), (b, a), (99, b))))
    found = faults(run)
    for seq in pair:
        assert any(f.startswith(f"event {seq} ") for f in found), found


@SETTINGS
@given(data=st.data())
def test_any_altered_byte_of_any_array_and_any_missing_array_is_found(whole: Path, tmp_path: Path, data: st.DataObject) -> None:
    run = copied(whole, tmp_path)
    path = data.draw(st.sampled_from(sorted((run / "arrays").rglob("*.npy"))))
    content = bytearray(path.read_bytes())
    what = data.draw(st.sampled_from(["byte", "shorter", "longer", "gone"]))
    if what == "byte":
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    elif what == "shorter":
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    elif what == "longer":
        content += b"\x00"
    path.write_bytes(content)
    if what == "gone":
        path.unlink()
    found = faults(run)
    named = [seq for seq, row in rows(run).items() if path.stem in row[COLUMNS.index("arrays")]]
    assert [f for f in found if path.stem[:12] in f]
    assert all(any(f.startswith(f"event {seq}: ") for f in found) for seq in named)
    assert len(found) == sum(row[COLUMNS.index("arrays")].count(path.stem) for row in rows(run).values())


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DROP TRIGGER event_stays", "the trigger 'event_stays' of the database was altered or is missing"),
        ("DROP INDEX event_of_kind", "the index 'event_of_kind' of the database was altered or is missing"),
        ("CREATE TABLE notes (x)", "the table 'notes' was added to the database"),
        ("CREATE TRIGGER late AFTER INSERT ON event BEGIN SELECT 1; END", "the trigger 'late' was added to the database"),
        ("PRAGMA user_version=1", "was altered or is missing"),
    ],
)
def test_tables_and_triggers_that_differ_from_the_schema_are_reported(run: Path, statement: str, fault: str) -> None:
    with contextlib.closing(sqlite3.connect(run / DATABASE)) as db, db:
        db.execute(statement)
    assert any(fault in f for f in faults(run))


def test_a_trigger_that_no_longer_does_anything_is_reported(run: Path) -> None:
    with contextlib.closing(sqlite3.connect(run / DATABASE)) as db, db:
        db.execute("DROP TRIGGER event_is_final")
        db.execute("CREATE TRIGGER event_is_final BEFORE UPDATE ON event BEGIN SELECT 1; END")
    assert faults(run) == ["the trigger 'event_is_final' of the database was altered or is missing"]


@pytest.mark.parametrize("cut", range(1, EVENTS + 1))
def test_events_cut_off_at_the_end_are_found_by_the_head_file(run: Path, cut: int) -> None:
    tamper(run, f"DELETE FROM event WHERE seq > {EVENTS - cut}")
    (fault,) = (f for f in faults(run) if "cut off" in f)
    assert fault.endswith(f"names event {EVENTS}: events {EVENTS - cut + 1} to {EVENTS} were cut off")


def test_a_history_cut_off_at_the_end_is_not_continued(run: Path) -> None:
    tamper(run, f"DELETE FROM event WHERE seq = {EVENTS}")
    with pytest.raises(HistoryError, match=r"newest events were cut off: it ends with event 5, .* to continue without them"):
        History(run)
    (run / HEAD).unlink()
    with History(run) as history:
        (renewed,) = history.events(kind="head_renewed")
        assert "history.head was missing" in renewed.body["reason"]
        assert history.verify() == []
        assert any("written anew" in remark for remark in history.inspect().remarks)


def test_a_head_that_was_noted_down_reveals_a_rewritten_history(run: Path) -> None:
    with History(run, read_only=True) as history:
        noted = history.head
        assert history.inspect(noted).faults == []
    tamper(run, f"DELETE FROM event WHERE seq = {EVENTS}")
    (run / HEAD).unlink()
    with History(run) as history:
        history.record("noted", "another", {}, at=NOW)
        assert history.verify() == []  # a skilled attacker: nothing in the run itself reveals it
        assert history.inspect(noted).faults == [
            "event 6 is not the one that the given head names: it, or an event before it, was replaced"
        ]
        assert history.inspect(Head(99, noted.hash)).faults[0].endswith("events 8 to 99 were cut off")


def test_a_database_ahead_of_the_head_file_is_fine_as_after_a_power_cut(run: Path) -> None:
    with History(run) as history:
        before = (run / HEAD).read_bytes()
        history.record("noted", "more", {}, at=NOW)
    (run / HEAD).write_bytes(before)
    assert faults(run) == []
    with History(run) as history:
        assert history.record("noted", "more", {}, at=NOW).seq == EVENTS + 2
    assert read_head(run).seq == EVENTS + 2


def test_without_a_head_file_that_is_a_fault_unless_a_head_was_noted_down(run: Path) -> None:
    with History(run, read_only=True) as history:
        noted = history.head
    (run / HEAD).unlink()
    assert faults(run) == ["history.head is missing: it is unknown whether the newest events were cut off"]
    assert faults(run, noted) == []


def test_damage_that_only_sqlite_sees_is_a_fault_as_well(run: Path) -> None:
    with contextlib.closing(sqlite3.connect(run / DATABASE)) as db:
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'event_of_kind'")
        ((size,),) = db.execute("PRAGMA page_size")
    content = bytearray((run / DATABASE).read_bytes())
    at = content.index(b"noted", (page - 1) * size)
    content[at : at + 5] = b"xoted"  # the index says what the table does not
    (run / DATABASE).write_bytes(content)
    found = faults(run)
    assert found
    assert all(fault.startswith("the database is damaged: ") for fault in found)


@pytest.mark.parametrize("content", ["nonsense", "6:zz", "\x01" * 84])
def test_a_damaged_head_file_is_a_fault_and_begun_anew(run: Path, content: str) -> None:
    (run / HEAD).write_text(content)
    assert any(f.startswith("history.head is damaged") for f in faults(run))
    with History(run) as history:
        assert "is not a head" in next(history.events(kind="head_renewed")).body["reason"]
        assert history.verify() == []


@pytest.mark.parametrize("content", [b"", b"\x00" * 84])
def test_what_a_power_cut_leaves_of_a_new_head_file_is_none(run: Path, content: bytes) -> None:
    (run / HEAD).write_bytes(content)
    assert read_head(run) is None


def test_the_head_is_noted_with_each_event_and_an_error_there_does_no_harm(run: Path) -> None:
    with History(run) as history:
        for _ in range(3):
            event = history.record("noted", "more", {}, at=NOW)
            assert read_head(run) == history.head == Head(event.seq, event.hash)
        history._head_file._file.close()
        with Path(os.devnull).open("rb", buffering=0) as file:
            history._head_file._file = file
            history.record("noted", "more", {}, at=NOW)
    assert faults(run) == []


@pytest.mark.attack(
    "the newest 20 events are cut off and the head file of that moment is put back",
    promise="a head noted elsewhere, as in the agent's log, shows it; without one, verify names arrays without an event",
)
def test_an_older_copy_with_its_own_head_is_shown_by_a_head_noted_elsewhere(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with History(run) as history:
        history.record("noted", "x", {}, at=NOW)
        copies = [shutil.copy(run / name, tmp_path / name) for name in (DATABASE, f"{DATABASE}-wal", HEAD)]
        for i in range(20):
            history.record("noted", f"x-{i}", {}, at=NOW, arrays={"a": np.arange(3.0) + i})
        noted = history.head
    for copy in copies:
        shutil.copy(copy, run / Path(copy).name)
    with History(run, read_only=True) as history:
        report = history.inspect()
        assert (report.events, report.faults) == (1, [])
        assert report.remarks[0].startswith("20 array files belong to no event")
        assert "an older copy of history.sqlite together with its history.head" in report.remarks[0]
        assert history.inspect(noted).faults == [
            "the history ends with event 1, but the given head names event 21: events 2 to 21 were cut off"
        ]


def test_array_files_that_belong_to_no_event_are_harmless_and_reported(run: Path) -> None:
    with History(run) as history:
        history.arrays.put(np.arange(99.0))
        report = history.inspect()
    assert report.faults == []
    (remark,) = report.remarks
    assert remark.startswith("1 array file belongs to no event: written before a crash, which is harmless, or by events that are")
    assert (report.events, report.arrays, report.head.seq) == (EVENTS, 4, EVENTS)


def test_progress_is_reported_up_to_the_end(run: Path) -> None:
    calls = []
    with History(run, read_only=True) as history:
        history.inspect(progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (EVENTS, EVENTS)


@pytest.mark.parametrize("text", ["", "6", "x:y", "6:" + "0" * 63, "-1:" + "0" * 64])
def test_what_is_not_a_head_is_refused(text: str) -> None:
    with pytest.raises(HistoryError, match="give what `vaestar history head` printed"):
        Head.parse(text)
