import hashlib
import json
import multiprocessing
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.errors import HistoryError
from agent.history.database import chain_hash
from agent.history.event_log import WRITER_LOCK, History
from agent.history.run_directory import DATABASE
from tests.support.samples import NOW

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def fill(history: History, count: int = 3) -> None:
    for i in range(count):
        history.record("noted", f"thing-{i}", {"i": i}, at=NOW)


def test_what_was_recorded_is_read_back_in_order_and_filtered(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        fill(history)
        history.record("found", "thing-1", {"x": None}, at=NOW)
        assert [e.seq for e in history.events()] == [1, 2, 3, 4]
        assert [e.seq for e in history.events(after=2)] == [3, 4]
        assert [e.seq for e in history.events(subject="thing-1")] == [2, 4]
        assert [e.seq for e in history.events(subject="thing-1", kind="found")] == [4]
        assert len(history) == 4


def test_an_outline_lacks_the_details_of_decisions_and_the_metrics_of_candidates_and_nothing_else(tmp_path: Path) -> None:
    candidates = [
        {"candidate_id": f"c-{i}", "guarded_out": 'µ "x"' if i % 3 else None, "metrics": {"icl": -1.5e-7}} for i in range(120)
    ]
    decision = {"outcome": "bad_scan", "explanation": 'σ "1"', "requests": [{"x_m": 1.25e-7}], "candidates": candidates}
    bodies = {"noted": {"candidates": 3}, "candidates_scored": {"scan_id": "s", "candidates": candidates}}
    bodies |= {kind: {"seconds": 1.5, "decision": decision | {"config": {}}} for kind in ("decision_made", "decision_deepened")}
    with History(tmp_path) as history:
        for kind, body in bodies.items():
            history.record(kind, "x", body, at=NOW, arrays={"a": np.eye(2)}, once=kind)
        whole, outlines = list(history.events()), list(history.events(outlines=True))
    noted, scored, made, deepened = (event.body for event in outlines)
    assert noted == bodies["noted"]
    assert [c["guarded_out"] for c in scored["candidates"]] == [c["guarded_out"] for c in candidates]
    assert ["metrics" in c for c in scored["candidates"]] == [False] * 100 + [True] * 20
    assert made == deepened == {"seconds": 1.5, "decision": {k: decision[k] for k in ("outcome", "explanation", "requests")}}
    for event, outline in zip(whole, outlines, strict=True):
        assert (event.seq, event.recorded_at, event.arrays, event.hash, event.once) == (
            outline.seq,
            outline.recorded_at,
            outline.arrays,
            outline.hash,
            outline.once,
        )


@SETTINGS
@given(text=st.text() | st.text(st.characters(max_codepoint=0x7F)), number=st.integers(0, 2**40))
@example(text="\x7f", number=1)
@example(text="\udc80", number=1)  # half of a character, as altered text is read
def test_a_long_body_is_hashed_as_a_short_one(text: str, number: int) -> None:
    for body in (text, text + "x" * 5000, text * 5000):
        fields = (number, "2026-11-30", "noted", text, None, body, "{}")
        assert chain_hash("0" * 64, *fields) == hashlib.sha256(json.dumps(["0" * 64, *fields]).encode()).hexdigest()


def test_an_event_read_back_equals_the_one_returned(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        event = history.record(
            "noted", "µ-Probe 测试", {"text": "σ, 🔬, \x00, \u2028", "n": 1.5}, at=NOW, arrays={"a": np.eye(2)}
        )
        assert list(history.events()) == [event]
    with History(tmp_path, read_only=True) as history:
        assert list(history.events()) == [event]
        assert history.verify() == []


@pytest.mark.parametrize("statement", ["UPDATE event SET body = '{}'", "DELETE FROM event", "UPDATE event SET once = 'x'"])
def test_events_can_neither_be_changed_nor_deleted(tmp_path: Path, statement: str) -> None:
    with History(tmp_path) as history:
        fill(history)
    db = sqlite3.connect(tmp_path / DATABASE)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        db.execute(statement)
    db.close()


def test_the_writer_commits_to_a_write_ahead_log_and_syncs_each_commit(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        assert history._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert history._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_what_may_happen_once_is_recorded_once_also_after_reopening(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        assert history.record("noted", "a", {}, at=NOW, once="scan:a") is not None
        assert history.record("noted", "b", {}, at=NOW, once="scan:a") is None
        assert history.record("noted", "b", {}, at=NOW, once="scan:b").seq == 2
    with History(tmp_path) as history:
        assert history.record("noted", "c", {}, at=NOW, once="scan:b") is None
        assert history.record("noted", "c", {}, at=NOW).seq == 3
        assert history.verify() == []


def test_numbers_go_on_without_a_gap_after_reopening(tmp_path: Path) -> None:
    for _ in range(3):
        with History(tmp_path) as history:
            fill(history, 2)
    with History(tmp_path, read_only=True) as history:
        assert [e.seq for e in history.events()] == [1, 2, 3, 4, 5, 6]
        assert history.verify() == []


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": [1, {"y": float("inf")}]}, {"x": "\ud800"}, {"x": object()}])
def test_a_body_that_json_cannot_say_is_refused_and_nothing_is_recorded(tmp_path: Path, body: dict) -> None:
    with History(tmp_path) as history:
        with pytest.raises((ValueError, TypeError)):
            history.record("noted", "a", body, at=NOW)
        fill(history, 1)
        assert [e.subject for e in history.events()] == ["thing-0"]
        assert history.verify() == []


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i4", "i8", "u1", "bool", "c16", "<U5"])
@pytest.mark.parametrize("shape", [(), (0, 2), (3, 4)])
def test_arrays_of_every_dtype_and_shape_come_back_as_they_were(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    with History(tmp_path) as history:
        event = history.record("noted", "a", {}, at=NOW, arrays={"a": array})
        found = history.arrays.get(event.arrays["a"])
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array)


def test_arrays_with_nan_and_strides_come_back_as_they_were(tmp_path: Path) -> None:
    array = np.array([[1.0, np.nan, np.inf], [-0.0, 2.0, 3.0]])
    with History(tmp_path) as history:
        for variant in (array, array.T, array[:, ::-2], np.asfortranarray(array)):
            found = history.arrays.get(history.arrays.put(variant))
            assert np.array_equal(found, variant, equal_nan=True)


def test_equal_arrays_are_stored_once(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        for name in ("a", "b"):
            history.record("noted", name, {}, at=NOW, arrays={name: np.arange(5.0)})
    assert len(list((tmp_path / "arrays").rglob("*.npy"))) == 1


def test_objects_are_not_stored_as_arrays(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        with pytest.raises(ValueError, match="allow_pickle"):
            history.record("noted", "a", {}, at=NOW, arrays={"a": np.array([object()])})
        assert len(history) == 0


@SETTINGS
@given(
    body=st.dictionaries(
        st.text(max_size=5),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
        max_size=4,
    ),
    subject=st.text(max_size=10),
)
def test_any_json_body_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, body: dict, subject: str) -> None:
    with History(tmp_path_factory.mktemp("run")) as history:
        history.record("noted", subject, body, at=NOW)
        (event,) = history.events()
        assert (event.subject, event.body) == (subject, body)
        assert history.verify() == []


def test_a_reader_reads_while_the_writer_writes_and_sees_what_came_since(tmp_path: Path) -> None:
    with History(tmp_path) as writer:
        fill(writer, 2)
        with History(tmp_path, read_only=True) as reader:
            rows = reader.events()
            assert next(rows).seq == 1
            fill(writer, 2)  # in the middle of the reader's reading
            assert [e.seq for e in rows] == [2]
            assert [e.seq for e in reader.events(after=2)] == [3, 4]
            assert reader.verify() == []
            with pytest.raises(HistoryError, match="readonly"):
                reader.record("noted", "a", {}, at=NOW)


def test_a_second_writer_is_refused_and_the_first_writes_on(tmp_path: Path) -> None:
    with History(tmp_path) as first:
        with pytest.raises(HistoryError, match=r"another agent is using it; stop that one, or name another"):
            History(tmp_path)
        fill(first)
    with History(tmp_path) as second:
        fill(second)
        assert second.verify() == []


def _hold(directory: Path, ready: object) -> None:
    with History(directory) as history:
        fill(history, 1)
        ready.set()
        threading.Event().wait()


@pytest.mark.slow
def test_a_killed_writer_does_not_lock_out_the_next_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(HistoryError, match="another agent"):
            History(tmp_path)
    finally:
        process.kill()
        process.join()
    with History(tmp_path) as history:
        assert len(history) == 1
    assert (tmp_path / WRITER_LOCK).exists()


def test_reading_where_there_is_no_history_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=rf"there is no history in {tmp_path} \(no {DATABASE}\); name a run directory"):
        History(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_database_is_not_a_history_to_read(tmp_path: Path) -> None:
    (tmp_path / DATABASE).touch()
    with pytest.raises(HistoryError, match="it is empty"):
        History(tmp_path, read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_history_of_a_newer_version_is_refused(tmp_path: Path, read_only: bool) -> None:
    with History(tmp_path) as history:
        history._db.execute("PRAGMA user_version=99")
    with pytest.raises(HistoryError, match="it has schema 99, this vaestar knows up to 2; update vaestar"):
        History(tmp_path, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / DATABASE).write_bytes(b"a letter to my friend" * 100)
    with pytest.raises(HistoryError, match="not a database"):
        History(tmp_path, read_only=read_only)
    assert (tmp_path / DATABASE).read_bytes().startswith(b"a letter")


def test_a_place_that_cannot_be_written_gives_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match="cannot be opened"):
        History(tmp_path / "file" / "run")


def test_after_a_disk_error_nothing_is_recorded_and_it_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with History(tmp_path) as history:
        with monkeypatch.context() as patched:
            patched.setattr("os.fsync", full)
            with pytest.raises(HistoryError, match=r"'noted' could not be written to .*No space left"):
                history.record("noted", "a", {}, at=NOW, arrays={"a": np.arange(3.0)})
        assert len(history) == 0
        assert not [p for p in (tmp_path / "arrays").rglob("*") if p.is_file()]
        event = history.record("noted", "a", {}, at=NOW, arrays={"a": np.arange(3.0)})
        assert event.seq == 1
        assert history.verify() == []


def test_after_a_database_error_nothing_is_recorded_and_it_can_be_tried_again(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        fill(history, 1)
        history._db.execute("PRAGMA max_page_count=8")
        with pytest.raises(HistoryError, match="full"):
            history.record("noted", "big", {"text": "x" * 100_000}, at=NOW)
        history._db.execute("PRAGMA max_page_count=100000")
        assert history.record("noted", "big", {"text": "x" * 100_000}, at=NOW).seq == 2
        assert history.verify() == []


@pytest.mark.attack(
    "`vaestar serve` fails before its run began", promise="no empty run is left that later commands take for the newest"
)
def test_a_history_that_never_got_an_event_can_leave_nothing_behind(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with History(run, keep_empty=False), pytest.raises(HistoryError, match="another agent is using it"):
        History(run, keep_empty=False)
    assert not run.exists()
    with History(run, keep_empty=False) as history:
        history.record("run_started", "run-1", {}, at=NOW)
    with History(run, keep_empty=False) as history:
        assert len(history) == 1
    assert (run / "history.sqlite").is_file()
