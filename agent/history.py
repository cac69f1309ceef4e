"""The decision history: an append-only table of events and a store of arrays, both on disk before anything is acted on.

One SQLite file a run (WAL, `synchronous=FULL`: what was committed survives a power cut), one row an event. Rows can neither be
changed nor deleted, and each carries a hash over itself and its predecessor, so that tampering and gaps show. Arrays lie beside
it as files named after their content.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from agent.run_directories import DATABASE as DATABASE
from agent.run_directories import RUNS as RUNS
from agent.storage_faults import InPlace, gone, why
from agent.workflow.errors import AgentError
from instrument_adapters import exit_codes

WRITER_LOCK = "writer.lock"
SCHEMA_VERSION = 1
_WAIT_S = 5.0  # for another program that has locked the database
_GENESIS = "0" * 64

_SCHEMA = """
CREATE TABLE event (
    seq INTEGER PRIMARY KEY,
    recorded_at TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    once TEXT UNIQUE,
    body TEXT NOT NULL,
    arrays TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX event_of ON event (subject, kind);
CREATE TRIGGER event_is_final BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
CREATE TRIGGER event_stays BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;
"""


class HistoryError(AgentError, OSError):
    """The history cannot be opened, written or trusted, or does not hold what was asked for."""


class StorageError(HistoryError):
    """The disk or the database does not do what it should."""

    exit_code = exit_codes.STORAGE


@dataclass(frozen=True)
class Event:
    """One line of the history.

    Parameters
    ----------
    seq
        Its number, from 1, without gaps.
    recorded_at
        When it was written, UTC.
    kind
        What happened, such as "scan_received".
    subject
        The id of what it happened to: a scan, a decision, a request, an instrument.
    body
        JSON object.
    arrays
        Name -> digest in the array store.
    hash
        SHA-256 over the previous event's hash and everything above.
    """

    seq: int
    recorded_at: datetime
    kind: str
    subject: str
    body: dict[str, Any]
    arrays: dict[str, str] = field(default_factory=dict)
    hash: str = _GENESIS


class ArrayStore:
    """Arrays as `.npy` files named after the SHA-256 of their bytes; equal arrays are stored once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, array: np.ndarray) -> str:
        """The digest under which `array` can be had again; on disk when this returns."""
        buffer = BytesIO()
        np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=False)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_durably(path, content)
        return digest

    def get(self, digest: str) -> np.ndarray:
        """The array stored as `digest`.

        Raises
        ------
        HistoryError
            If it is missing or its bytes are not those that were stored.
        """
        try:
            content = self._path(digest).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: what stands for the digest cannot name a file
            raise StorageError(f"array {digest[:12]!r} is missing from {self._directory}: {error}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StorageError(f"array {digest[:12]} in {self._directory} has been altered; restore it from a copy")
        return np.lib.format.read_array(BytesIO(content), allow_pickle=False)

    def _path(self, digest: str) -> Path:
        return self._directory / digest[:2] / f"{digest}.npy"


class History:
    """The events of one run.

    Parameters
    ----------
    run_directory
        Holds `history.sqlite` and `arrays/`. Made if missing, unless `read_only`.
    read_only
        Open an existing history without being able to write; works while an agent writes to it.

    Raises
    ------
    HistoryError
        If there is no history there, or it was written by a newer version, or the place cannot be written, or another program
        writes to it.
    """

    def __init__(self, run_directory: Path, *, read_only: bool = False) -> None:
        self.run_directory = run_directory
        self.arrays = ArrayStore(run_directory / "arrays")
        path = run_directory / DATABASE
        if read_only and not path.is_file():
            raise HistoryError(f"there is no history in {run_directory} (no {DATABASE}); name a run directory of `vaestar serve`")
        if not read_only and not path.exists() and (run_directory / "arrays").is_dir():
            raise StorageError(
                f"{run_directory} holds the arrays of a run, but not its {DATABASE}; put that back from a backup, "
                "or name another run directory"
            )
        with contextlib.ExitStack() as stack:
            try:
                if not read_only:
                    run_directory.mkdir(parents=True, exist_ok=True)
                    stack.enter_context(_sole_writer(run_directory))
                self._db = stack.enter_context(contextlib.closing(_connect(path, read_only)))
                last = self._db.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
            except (sqlite3.Error, OSError) as error:
                raise StorageError(f"the history {path} cannot be opened: {why(error)}") from error
            self._open = stack.pop_all()
        self._in_place = InPlace(path, path.with_name(f"{DATABASE}-wal"))
        self._seq: int = last[0] if last else 0
        self._hash: str = last[1] if last else _GENESIS

    def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        *,
        at: datetime,
        arrays: Mapping[str, np.ndarray] | None = None,
        once: str | None = None,
    ) -> Event | None:
        """The event, on disk when this returns; None if an event with the same `once` is there already.

        Parameters
        ----------
        kind, subject, body
            See `Event`.
        at
            Time of recording, with its zone.
        arrays
            Stored first; their digests become part of the event.
        once
            Something that may happen once only, such as "scan:afm1:scan-0001".

        Raises
        ------
        HistoryError
            If it could not be written (disk full, read-only); then nothing was recorded.
        ValueError
            If the body holds what JSON or UTF-8 cannot say, such as NaN; then nothing was recorded.
        """
        try:
            digests = {name: self.arrays.put(a) for name, a in (arrays or {}).items()}
            when = at.astimezone(UTC)
            body_text, arrays_text = _canonical(body), _canonical(digests)
            seq = self._seq + 1
            chained = _chain(self._hash, seq, when.isoformat(), kind, subject, once, body_text, arrays_text)
            row = (seq, when.isoformat(), kind, subject, once, body_text, arrays_text, chained)
            with self._db:
                self._db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.IntegrityError) and self._has(once):
                return None
            raise StorageError(f"'{kind}' could not be written to {self.run_directory}: {why(error)}") from error
        missing = self._in_place.missing()
        if missing is not None:
            raise StorageError(f"'{kind}' could not be written to {self.run_directory}: {gone(missing)}")
        self._seq, self._hash = seq, chained
        return Event(seq, when, kind, subject, json.loads(body_text), digests, chained)

    def events(self, *, kind: str | None = None, subject: str | None = None, after: int = 0) -> Iterator[Event]:
        """Events in order, filtered by kind and subject, with numbers above `after`."""
        query = (
            "SELECT seq, recorded_at, kind, subject, body, arrays, hash FROM event "
            "WHERE seq > ? AND (? IS NULL OR kind = ?) AND (? IS NULL OR subject = ?) ORDER BY seq"
        )
        try:
            for row in self._db.execute(query, (after, kind, kind, subject, subject)):
                recorded_at, body, arrays = datetime.fromisoformat(row[1]), dict(json.loads(row[4])), dict(json.loads(row[5]))
                yield Event(row[0], recorded_at, row[2], row[3], body, arrays, row[6])
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            raise StorageError(
                f"the history in {self.run_directory} cannot be read: {why(error)}; "
                "`vaestar history verify` says what was altered"
            ) from error

    def verify(self) -> list[str]:
        """What is wrong with the history, one sentence each; empty if every event and every array is as it was written.

        That the newest events were cut off cannot be seen in the history itself.
        """
        try:
            return self._faults()
        except sqlite3.Error as error:
            return [f"{self.run_directory / DATABASE} cannot be read: {error}"]

    def _faults(self) -> list[str]:
        faults = []
        expected, previous = 1, _GENESIS
        columns = "seq, recorded_at, kind, subject, once, body, arrays, hash"
        for seq, *fields, stored in self._db.execute(f"SELECT {columns} FROM event ORDER BY seq"):  # noqa: S608 - constants only
            if seq != expected:
                faults.append(f"events {expected} to {seq - 1} are missing")
            if _chain(previous, seq, *fields) != stored:
                faults.append(
                    f"event {seq} ({fields[1]} {fields[2]}) is not as it was written, or does not follow its predecessor"
                )
            faults += self._array_faults(seq, fields[5])
            expected, previous = seq + 1, stored
        return faults

    def _array_faults(self, seq: int, arrays_text: str) -> list[str]:
        try:
            digests = dict(json.loads(arrays_text))
        except (ValueError, TypeError, RecursionError):
            return [f"event {seq}: what it says of its arrays cannot be read"]
        faults = []
        for name, digest in digests.items():
            try:
                self.arrays.get(str(digest))
            except HistoryError as error:
                faults.append(f"event {seq}: '{name}': {error}")
        return faults

    def _has(self, once: str | None) -> bool:
        return once is not None and self._db.execute("SELECT 1 FROM event WHERE once = ?", (once,)).fetchone() is not None

    def __len__(self) -> int:
        """How many events there are."""
        try:
            count: int = self._db.execute("SELECT count(*) FROM event").fetchone()[0]
        except sqlite3.Error as error:
            raise StorageError(f"the history in {self.run_directory} cannot be read: {why(error)}") from error
        return count

    def close(self) -> None:
        """Release the files."""
        self._open.close()

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextlib.contextmanager
def _sole_writer(run_directory: Path) -> Iterator[None]:
    """Hold the run for one writer: a second agent on it is refused, instead of the first failing at its next event.

    An exclusive transaction is the lock that works alike on all systems and that ends with its process, whatever ended it.
    """
    with contextlib.closing(sqlite3.connect(run_directory / WRITER_LOCK, timeout=0)) as db:
        try:
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise sqlite3.OperationalError("another agent is using it; stop that one, or name another run directory") from error
        yield


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={'ro' if read_only else 'rwc'}", uri=True, timeout=_WAIT_S)
    try:
        if not read_only:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise sqlite3.DatabaseError(f"it has schema {version}, this vaestar knows up to {SCHEMA_VERSION}; update vaestar")
        if version == 0 and read_only:
            raise sqlite3.DatabaseError("it is empty")
        if version == 0:
            db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _chain(previous: str, *fields: object) -> str:
    return hashlib.sha256(json.dumps([previous, *fields]).encode()).hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    """Write so that the file is either there in full or not at all, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    if os.name == "posix":  # Windows cannot open a directory; NTFS journals the rename
        for directory in (path.parent, path.parent.parent):  # the second, since the first may be new
            _sync_directory(directory)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
