"""The tables of a history as a sequence of migrations, the connections to it, and the hash chain of its events.

A new database goes through the same migrations as an old one, so both end with exactly the same tables, indices and triggers.
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

from pydantic_core import to_json

from agent.history.array_store import sync_directories
from agent.schema.event_kinds import CANDIDATES_SCORED, DECISION_DEEPENED, DECISION_MADE
from instrument_adapters.new_file import open_new

GENESIS = "0" * 64
_LONG = 4096  # characters; of shorter texts, one call that writes all fields is faster
_WAIT_S = 5.0  # how long to wait for a lock held by another program

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
# The instrument named in an event's body; a generated column, so it cannot contradict the body.
INSTRUMENT = "CASE WHEN json_valid(body) THEN CAST(json_extract(body, '$.instrument_id') AS TEXT) END"

#: What an outline of a decision lacks: the parts that grow with the search or the run, and that only describe the analysis.
DETAILS = ("candidates", "configurations", "clusters", "config", "versions", "drift", "verified")
_CANDIDATES = 100  # a function of SQLite takes 126 paths; the metrics of further candidates are read, which takes longer
_WITHOUT_DETAILS = ", ".join(f"'$.decision.{name}'" for name in DETAILS)
_WITHOUT_METRICS = ", ".join(f"'$.candidates[{i}].metrics'" for i in range(_CANDIDATES))
#: The body of an event without the details of decisions and the metrics of candidates, nine tenths of a history. SQLite leaves
#: them out much faster than Python would read them.
OUTLINE = (
    f"CASE WHEN kind IN ('{DECISION_MADE}', '{DECISION_DEEPENED}') THEN json_remove(body, {_WITHOUT_DETAILS}) "
    f"WHEN kind = '{CANDIDATES_SCORED}' THEN json_remove(body, {_WITHOUT_METRICS}) ELSE body END"
)


def _create(db: sqlite3.Connection) -> None:
    """Schema 1: the event table."""
    for statement in _FIRST:
        db.execute(statement)


def _index_events(db: sqlite3.Connection) -> None:
    """Schema 2: indices on instrument and kind."""
    db.execute(f"ALTER TABLE event ADD COLUMN instrument TEXT GENERATED ALWAYS AS ({INSTRUMENT}) VIRTUAL")
    db.execute("CREATE INDEX event_from ON event (instrument)")
    db.execute("CREATE INDEX event_of_kind ON event (kind)")


MIGRATIONS: Sequence[Callable[[sqlite3.Connection], None]] = (_create, _index_events)
SCHEMA_VERSION = len(MIGRATIONS)


def connect(path: Path, *, read_only: bool) -> tuple[sqlite3.Connection, int]:
    """A connection to the database, and the schema version found in it; unless `read_only`, an old schema is migrated.

    Raises
    ------
    sqlite3.Error, OSError
        If it cannot be opened or migrated; the database is then unchanged.
    """
    db = open_reader(path) if read_only else sqlite3.connect(f"{path.resolve().as_uri()}?mode=rwc", uri=True, timeout=_WAIT_S)
    try:
        if not read_only:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        version = schema_version(db)
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


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection; also works on a read-only medium, where no other program can write either."""
    resolved = path.resolve()
    read_only_medium = not os.access(resolved.parent, os.W_OK) and not resolved.with_name(f"{path.name}-wal").exists()
    return sqlite3.connect(f"{resolved.as_uri()}?mode=ro{'&immutable=1' if read_only_medium else ''}", uri=True, timeout=_WAIT_S)


def schema_version(db: sqlite3.Connection) -> int:
    """Schema version of an open database; 0 for an empty one."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(db: sqlite3.Connection, to: int = SCHEMA_VERSION) -> None:
    """Apply the missing migrations in one transaction."""
    version = schema_version(db)
    db.execute("BEGIN IMMEDIATE")
    try:
        for migration in MIGRATIONS[version:to]:
            migration(db)
        db.execute(f"PRAGMA user_version={to}")
    except BaseException:
        db.rollback()
        raise
    db.commit()


@functools.cache
def expected_objects(version: int) -> frozenset[tuple[str, ...]]:
    """(type, name, table, SQL) of every table, index and trigger that this schema version has."""
    with contextlib.closing(sqlite3.connect(":memory:")) as db:
        migrate(db, version)
        return frozenset(schema_objects(db))


def schema_objects(db: sqlite3.Connection) -> set[tuple[str, ...]]:
    """(type, name, table, SQL) of every table, index and trigger in a database, except those that SQLite makes itself."""
    return set(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"))


def backup_path(path: Path, version: int) -> Path:
    """Path of the copy made before a database of this schema version was migrated."""
    return path.with_name(f"{path.name}.v{version}-backup")


def _back_up(db: sqlite3.Connection, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        open_new(part).close()  # SQLite would follow a link of this name
        with contextlib.closing(sqlite3.connect(part)) as copy:
            db.backup(copy)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
        sync_directories(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def canonical_json(value: Mapping[str, Any]) -> str:
    """JSON in the form that is stored and hashed: equal values give the same text.

    Raises
    ------
    ValueError
        If JSON cannot represent the value, for example NaN.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def chain_hash(previous: str, *fields: object) -> str:
    """Hash of an event: of the previous hash and seq, recorded_at, kind, subject, once, body and arrays as stored."""
    if not any(isinstance(field, str) and len(field) > _LONG for field in fields[-2:]):  # body and arrays
        return hashlib.sha256(json.dumps([previous, *fields]).encode()).hexdigest()
    return hashlib.sha256(b"[" + b", ".join(map(_ascii_json, (previous, *fields))) + b"]").hexdigest()


def _ascii_json(value: object) -> bytes:
    """What `json.dumps` gives, in half the time for a long text: decisions of hundreds of megabytes are hashed."""
    fast = isinstance(value, str) and value.isascii() and "\x7f" not in value
    return to_json(value) if fast else json.dumps(value).encode()
