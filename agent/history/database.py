"""The tables of a history, step by step from the first version on, and how an old one is brought up to date.

A new database takes the same steps as an old one, so both end with the same tables, indices and triggers, word for word.
"""

import contextlib
import functools
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.history.array_store import sync_directories

GENESIS = "0" * 64
_WAIT_S = 5.0  # for another program that has locked the database

_FIRST = (
    """CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    recorded_at TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    once TEXT UNIQUE,
    body TEXT NOT NULL,
    arrays TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT""",
    "CREATE INDEX event_of ON event (subject, kind)",
    "CREATE TRIGGER event_is_final BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'history is append-only'); END",
    "CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'history is append-only'); END",
)
# What an event's body says of its instrument; computed, so that it can be neither wrong nor altered.
INSTRUMENT = "CASE WHEN json_valid(body) THEN CAST(json_extract(body, '$.instrument_id') AS TEXT) END"


def _create(db: sqlite3.Connection) -> None:
    """Schema 1: events."""
    for statement in _FIRST:
        db.execute(statement)


def _streams(db: sqlite3.Connection) -> None:
    """Schema 2: the events of one instrument, or of one kind, are found without reading all others."""
    db.execute(f"ALTER TABLE event ADD COLUMN instrument TEXT GENERATED ALWAYS AS ({INSTRUMENT}) VIRTUAL")
    db.execute("CREATE INDEX event_from ON event (instrument)")
    db.execute("CREATE INDEX event_of_kind ON event (kind)")


STEPS: Sequence[Callable[[sqlite3.Connection], None]] = (_create, _streams)
SCHEMA_VERSION = len(STEPS)


def connect(path: Path, *, read_only: bool) -> tuple[sqlite3.Connection, int]:
    """An open history, and the schema that it was found with; unless `read_only` it is brought up to date.

    Raises
    ------
    sqlite3.Error, OSError
        If that cannot be done; the database is then as it was.
    """
    db = reader(path) if read_only else sqlite3.connect(f"{path.resolve().as_uri()}?mode=rwc", uri=True, timeout=_WAIT_S)
    try:
        if not read_only:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        version = version_of(db)
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"it has schema {version}, this vaestar knows up to {SCHEMA_VERSION}; update vaestar")
        if version == 0 and read_only:
            raise sqlite3.DatabaseError("it is empty")
        if version < SCHEMA_VERSION and not read_only:
            if version:
                _back_up(db, backup_path(path, version))
            migrate(db)
    except (sqlite3.Error, OSError):
        db.close()
        raise
    return db, version


def reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads; of a copy on a medium that cannot be written as well, where nobody else writes either."""
    resolved = path.resolve()
    fixed = not os.access(resolved.parent, os.W_OK) and not resolved.with_name(f"{path.name}-wal").exists()
    return sqlite3.connect(f"{resolved.as_uri()}?mode=ro{'&immutable=1' if fixed else ''}", uri=True, timeout=_WAIT_S)


def version_of(db: sqlite3.Connection) -> int:
    """The schema of an open database; 0 for an empty one."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(db: sqlite3.Connection, to: int = SCHEMA_VERSION) -> None:
    """Take the steps that are missing, all or none."""
    version = version_of(db)
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in STEPS[version:to]:
            step(db)
        db.execute(f"PRAGMA user_version={to}")
    except BaseException:
        db.rollback()
        raise
    db.commit()


@functools.cache
def expected(version: int) -> frozenset[tuple[str, ...]]:
    """Type, name, table and text of all that a database of this schema holds."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        migrate(db, version)
        return frozenset(objects(db))


def objects(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Type, name, table and text of all that a database holds, apart from what SQLite makes by itself."""
    return set(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"))


def backup_path(path: Path, version: int) -> Path:
    """Where the copy of a database of an old schema lies."""
    return path.with_name(f"{path.name}.v{version}-backup")


def _back_up(db: sqlite3.Connection, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(part)) as copy:
            db.backup(copy)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        sync_directories(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def canonical(value: Mapping[str, Any]) -> str:
    """JSON as it is stored and hashed: one text for one value.

    Raises
    ------
    ValueError
        If it holds what JSON cannot say.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def chain(previous: str, *fields: object) -> str:
    """The hash of an event: over its predecessor's and seq, recorded_at, kind, subject, once, body and arrays as stored."""
    return hashlib.sha256(json.dumps([previous, *fields]).encode()).hexdigest()
