"""This version reads, checks, replays and continues histories that earlier versions wrote."""

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from agent.errors import HistoryError
from agent.history import database as schema
from agent.history.event_log import History
from agent.history.head import HEAD
from agent.history.run_directory import DATABASE
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from tests.support.history.golden_runs import LATER, VERSIONS, golden_run
from tests.support.samples import NOW

Vaestar = Callable[..., Result]


def schema_of(run: Path) -> int:
    with contextlib.closing(sqlite3.connect(run / DATABASE)) as db:
        return schema.schema_version(db)


def events_in(path: Path) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT seq, recorded_at, kind, subject, once, body, arrays, hash FROM event ORDER BY seq").fetchall()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_run_is_whole_and_its_state_is_what_happened(tmp_path: Path, version: str) -> None:
    with History(golden_run(tmp_path, version), read_only=True) as history:
        assert history.verify() == []
        assert len(history) == 56
        ledger = Ledger.of(history.events())
    assert sorted(scan for _, scan in ledger.scans) == [f"scan-{n}" for n in range(1, 9)]
    assert {e.sample_id for e in ledger.scans.values()} == {"bto", "pzt", "mica"}
    assert [ledger.scans["afm-1", "scan-7"].closed, ledger.scans["afm-1", "scan-7"].decision] == [True, None]
    assert len(ledger.measured_xy("bto")) == 8
    assert len(ledger.results("bto").values) == 6
    assert ledger.undecided("afm-1") is None


@pytest.mark.parametrize("version", VERSIONS)
def test_an_old_run_is_listed_shown_explained_and_exported(tmp_path: Path, version: str, vaestar: Vaestar) -> None:
    run = golden_run(tmp_path, version)
    with History(run, read_only=True) as history:
        decision = next(history.events(kind=kinds.DECISION_MADE)).subject
    for command in (["list"], ["show", decision], ["show", "scan-1"], ["verify"], ["explain"], ["explain", decision], ["export"]):
        done = vaestar("history", *command, "--run", run)
        assert done.exit_code == 0, done.stderr
        assert decision in done.stdout or command in (["verify"], ["explain"])
    assert schema_of(run) == int(version[1:])


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_every_decision_of_an_old_run_comes_out_the_same_again(tmp_path: Path, version: str, vaestar: Vaestar) -> None:
    done = vaestar("history", "replay", "--all", "--workers", 0, "--run", golden_run(tmp_path, version))
    if "versions have changed since" in done.stdout:
        pytest.skip("the golden runs were written with other versions of numpy and scikit-learn")
    assert done.exit_code == 0, done.stdout
    assert done.stdout.endswith("7 decisions: 7 identical, 0 different\n")
    assert done.stdout.count("ids are not compared") == (7 if version == "v1" else 0)


@pytest.mark.slow
@pytest.mark.parametrize("version", LATER)
def test_a_later_run_of_the_same_schema_is_read_checked_replayed_and_continued(
    tmp_path: Path, version: str, vaestar: Vaestar
) -> None:
    run = golden_run(tmp_path, version)
    for command in (["list"], ["verify"], ["explain"], ["explain", "scan-1"], ["export"]):
        assert vaestar("history", *command, "--run", run).exit_code == 0
    with History(run) as history:
        ledger = Ledger.of(history.events())
        assert len(ledger.measured_xy("bto")) == 8
        assert history.verify() == []
    done = vaestar("history", "replay", "--all", "--workers", 0, "--run", run)
    if "versions have changed since" in done.stdout:
        pytest.skip("the golden runs were written with other versions of numpy and scikit-learn")
    assert done.stdout.endswith("7 decisions: 7 identical, 0 different\n")


def test_taking_up_an_old_run_brings_it_up_to_date_and_keeps_a_copy(tmp_path: Path) -> None:
    run = golden_run(tmp_path, "v1")
    before = events_in(run / DATABASE)
    with History(run) as history:
        assert history.record("noted", "x", {}, at=NOW).seq == len(before) + 2
        migrated = history.event(len(before) + 1)
        assert (migrated.kind, migrated.body) == (
            kinds.HISTORY_MIGRATED,
            {"from": 1, "to": 2, "backup": "history.sqlite.v1-backup"},
        )
        assert history.verify() == []
    backup = schema.backup_path(run / DATABASE, 1)
    assert events_in(backup) == before == events_in(run / DATABASE)[:-2]
    assert (schema_of(run), (run / HEAD).exists()) == (2, True)
    with contextlib.closing(sqlite3.connect(backup)) as db:
        assert schema.schema_version(db) == 1
        assert schema.schema_objects(db) == schema.expected_objects(1)
    with History(run) as history:  # a second time there is nothing to do
        assert len(history) == len(before) + 2


def test_a_migrated_database_is_word_for_word_what_a_new_one_is(tmp_path: Path) -> None:
    run = golden_run(tmp_path, "v1")
    History(run).close()
    History(tmp_path / "new").close()
    found = []
    for directory in (run, tmp_path / "new"):
        with contextlib.closing(sqlite3.connect(directory / DATABASE)) as db:
            found.append(schema.schema_objects(db))
    assert found[0] == found[1] == schema.expected_objects(schema.SCHEMA_VERSION)


@pytest.mark.parametrize("error", [sqlite3.OperationalError("database or disk is full"), OSError(28, "No space left on device")])
@pytest.mark.parametrize("where", ["step", "copy"])
def test_a_migration_that_fails_leaves_the_history_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    run = golden_run(tmp_path, "v1")
    before = events_in(run / DATABASE)

    def failing_step(db: sqlite3.Connection, *_: object) -> None:
        if where == "step":
            db.execute("CREATE INDEX half_done ON event (once)")
        raise error

    with monkeypatch.context() as patched:
        if where == "step":
            patched.setattr(schema, "MIGRATIONS", (schema.MIGRATIONS[0], failing_step))
        else:
            patched.setattr(schema, "_back_up", failing_step)
        with pytest.raises(HistoryError, match=f"cannot be opened: .*{str(error)[-10:]}"):
            History(run)
    assert (schema_of(run), events_in(run / DATABASE)) == (1, before)
    with History(run, read_only=True) as history:
        assert history.verify() == []
    with History(run) as history:
        assert history.verify() == []


@pytest.mark.slow
def test_the_stream_of_one_instrument_is_the_same_before_and_after_the_migration(tmp_path: Path) -> None:
    run = golden_run(tmp_path, "v1")
    with History(run, read_only=True) as history:
        before = [e.seq for e in history.events(instrument="afm-2")]
    with History(run) as history:
        after = [e.seq for e in history.events(instrument="afm-2")]
    assert before == after == [24, 25, 26, 27, 28, 29]


def test_a_run_on_a_medium_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = golden_run(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with History(run, read_only=True) as history:
        assert history.verify() == []
    assert sorted(p.name for p in run.iterdir()) == ["arrays", "history.head", DATABASE]
