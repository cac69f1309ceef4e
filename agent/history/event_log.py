"""The decision history: an append-only table of events and a store of arrays, both on disk before anything is acted on.

Each run has one SQLite file (WAL, `synchronous=FULL`: committed events survive a power cut) with one row for each event. Rows
cannot be changed or deleted, and each holds a hash over itself and its predecessor, which reveals tampering and gaps. A file
beside the database names the newest event, which reveals a truncated history (`agent.history.head`). Arrays are separate files
named after their content.
"""

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydantic_core import from_json  # twice as fast as json.loads, with the same results

from agent.errors import HistoryError, StorageError
from agent.history.array_store import ArrayStore
from agent.history.database import GENESIS, INSTRUMENT, OUTLINE, SCHEMA_VERSION, backup_path, canonical_json, chain_hash, connect
from agent.history.head import HEAD, Head, head_file, read_head
from agent.history.integrity import IntegrityReport, inspect_history
from agent.history.run_directory import DATABASE
from agent.history.storage_errors import WRITER_LOCK, OpenFiles, describe_error, storage_error
from agent.schema.event_kinds import ARRAYS_RELEASED, HEAD_RENEWED, HISTORY_MIGRATED

if sys.platform != "win32":  # there, an open file cannot be deleted
    import fcntl

_IN_USE = "another agent is using it; stop that one, or name another run directory"
_COLUMNS = "seq, recorded_at, kind, subject, body, arrays, hash, once"
_OUTLINED_COLUMNS = _COLUMNS.replace("body", OUTLINE)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the history.

    Parameters
    ----------
    seq
        Sequence number, counted from 1 without gaps.
    recorded_at
        Time of recording, UTC.
    kind
        Event kind, such as "scan_received".
    subject
        Id of the scan, decision, request or instrument that the event is about.
    body
        Facts of the event, a JSON object.
    arrays
        Name -> digest in the array store.
    hash
        SHA-256 over the previous event's hash and all other fields.
    once
        Key of which a history holds only one event, such as "scan:afm1:scan-0001".
    outlined
        Whether the body may lack details, because only an outline was read.
    """

    seq: int
    recorded_at: datetime
    kind: str
    subject: str
    body: dict[str, Any]
    arrays: dict[str, str] = field(default_factory=dict)
    hash: str = GENESIS
    once: str | None = None
    outlined: bool = field(default=False, compare=False, repr=False)


class History:
    """The events of one run.

    Parameters
    ----------
    run_directory
        Directory with `history.sqlite` and `arrays/`; created if missing, unless `read_only`.
    read_only
        Whether to open an existing history for reading only; this works while an agent writes to it.
    keep_empty
        Whether a history that holds no event when it is closed is kept; else a run that never started would be the newest one.

    Raises
    ------
    HistoryError
        If there is no history there, it was written by a newer version, the directory cannot be written, or another agent is
        using it.
    """

    def __init__(self, run_directory: Path, *, read_only: bool = False, keep_empty: bool = True) -> None:
        self.run_directory, self._remove_empty = run_directory, False
        self.arrays = ArrayStore(run_directory / "arrays")
        path = run_directory / DATABASE
        if read_only and not path.is_file():
            raise HistoryError(f"there is no history in {run_directory} (no {DATABASE}); name a run directory of `vaestar serve`")
        if not read_only and not path.exists() and (run_directory / "arrays").is_dir():
            raise StorageError(
                f"{run_directory} holds the arrays of a run, but not its {DATABASE}; restore that file from a backup, "
                "or name another run directory"
            )
        with contextlib.ExitStack() as stack:
            try:
                if not read_only:
                    run_directory.mkdir(parents=True, exist_ok=True)
                    stack.callback(self._remove_empty_directory)
                    stack.enter_context(_sole_writer(run_directory))
                    stack.callback(
                        self._remove_empty_history
                    )  # when the database is closed, and still locked against another agent
                self._db, found_version = connect(path, read_only=read_only)
                stack.callback(self._db.close)
                self._instrument = INSTRUMENT if read_only and found_version < 2 else "instrument"
                self._head = self._newest()
                opening_events = [] if read_only else self._opening_events(found_version)
                self._head_file = None if read_only else stack.enter_context(head_file(run_directory))
            except (sqlite3.Error, OSError) as error:
                raise storage_error(f"the history {path} cannot be opened", error) from error
            lock = () if read_only else (run_directory / WRITER_LOCK,)
            self._open_files = OpenFiles(path.with_name(f"{DATABASE}-wal"), *lock, growing=path)
            for kind, body in opening_events:
                self.record(kind, "history", body, at=datetime.now(UTC))
            self._remove_empty = not (read_only or keep_empty)
            self._resources = stack.pop_all()

    @property
    def head(self) -> Head:
        """Sequence number and hash of the newest event; a copy kept elsewhere proves later that the history was not rewritten."""
        try:
            return self._newest() if self._head_file is None else self._head
        except sqlite3.Error as error:
            raise StorageError(f"the history in {self.run_directory} cannot be read: {describe_error(error)}") from error

    def _newest(self) -> Head:
        last = self._db.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*last) if last else Head(0, GENESIS)

    def _opening_events(self, found_version: int) -> list[tuple[str, dict[str, Any]]]:
        """Events to record on opening: a migration of the schema, or a head file that had to be written anew."""
        try:
            filed, reason = read_head(self.run_directory), f"{HEAD} was missing"
        except HistoryError as error:
            filed, reason = None, str(error)
        if filed is not None and filed.seq > self._head.seq:
            raise HistoryError(
                f"its newest events were cut off: it ends with event {self._head.seq}, but {HEAD} says that event {filed.seq} "
                f"was written; restore {DATABASE} from a copy, or remove {HEAD} to continue without them"
            )
        if not self._head.seq:
            return []
        if found_version < SCHEMA_VERSION:
            return [
                (
                    HISTORY_MIGRATED,
                    {"from": found_version, "to": SCHEMA_VERSION, "backup": backup_path(Path(DATABASE), found_version).name},
                )
            ]
        if filed is None:
            return [(HEAD_RENEWED, {"reason": f"{reason}: it is unknown whether events before this one were cut off"})]
        return []

    def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        *,
        at: datetime,
        arrays: Mapping[str, np.ndarray] | None = None,
        stored: Mapping[str, str] | None = None,
        once: str | None = None,
    ) -> Event | None:
        """Write an event; it is on disk when this returns. Returns None if an event with the same `once` exists already.

        Parameters
        ----------
        kind, subject, body
            As in `Event`.
        at
            Time of recording, with time zone.
        arrays
            Arrays by name; they are stored first, and the event holds their digests.
        stored
            Digests of those of the arrays that `self.arrays.put` has stored already, by name.
        once
            Key of which the history holds only one event, such as "scan:afm1:scan-0001".

        Raises
        ------
        HistoryError
            If it cannot be written (disk full, read-only); then nothing is recorded.
        ValueError
            If JSON or UTF-8 cannot represent the body (NaN, for example); then nothing is recorded.
        """
        self._check_files(kind)  # before it is written: another agent may have begun to write
        try:
            digests = {name: self._store(a, (stored or {}).get(name)) for name, a in (arrays or {}).items()}
            when = at.astimezone(UTC)
            body_text, arrays_text = canonical_json(body), canonical_json(digests)
            seq = self._head.seq + 1
            event_hash = chain_hash(self._head.hash, seq, when.isoformat(), kind, subject, once, body_text, arrays_text)
            row = (seq, when.isoformat(), kind, subject, once, body_text, arrays_text, event_hash)
            with self._db:
                self._db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.IntegrityError) and self._has(once):
                return None
            raise storage_error(f"'{kind}' could not be written to {self.run_directory}", error) from error
        self._check_files(kind)  # and afterwards, because it may have been written to a file that is gone
        self._head = Head(seq, event_hash)
        if self._head_file is not None:
            self._head_file.write(self._head)
        return Event(seq, when, kind, subject, json.loads(body_text), digests, event_hash, once)

    def _check_files(self, kind: str) -> None:
        if problem := self._open_files.problem():
            raise StorageError(f"'{kind}' could not be written to {self.run_directory}: {problem}")

    def events(
        self,
        *,
        kind: str | None = None,
        kinds: Iterable[str] = (),
        subject: str | None = None,
        instrument: str | None = None,
        mentioning: str | None = None,
        after: int = 0,
        last: int | None = None,
        outlines: bool = False,
    ) -> Iterator[Event]:
        """Events in order, read from the disk one at a time.

        Parameters
        ----------
        kind, subject
            Event kind and subject to select.
        kinds
            Event kinds to select, if any are given. The bodies of others are not read, which saves time.
        instrument
            Instrument id to select.
        mentioning
            Text that the subject or the body must contain.
        after
            Sequence number after which events are read.
        last
            Largest number of events; the newest ones are returned.
        outlines
            Whether the bodies lack the details of decisions and the metrics of candidates (`agent.history.database.OUTLINE`),
            which takes a tenth of the time.
        """
        columns = {"kind": kind, "subject": subject, self._instrument: instrument}
        given = {column: value for column, value in columns.items() if value is not None}
        conditions = ["seq > ?", *(f"{column} = ?" for column in given)]
        values = [after, *given.values()]
        if several := list(kinds):
            # "+": without the index on kinds, which would have the events sorted afterwards
            conditions.append(f"+kind IN ({', '.join('?' * len(several))})")
            values += several
        if mentioning is not None:
            conditions.append("(instr(subject, ?) OR instr(body, ?))")
            values += [mentioning, mentioning]
        where = " AND ".join(conditions)
        selected = _OUTLINED_COLUMNS if outlines else _COLUMNS
        query = f"SELECT {selected} FROM event WHERE {where} ORDER BY seq"  # noqa: S608 - constants only
        if last is not None:
            query = f"SELECT * FROM ({query} DESC LIMIT {int(last)}) ORDER BY seq"  # noqa: S608
        yield from self._read(query, values, outlined=outlines)

    def _read(self, query: str, values: Sequence[object], *, outlined: bool = False) -> Iterator[Event]:
        try:
            for row in self._db.execute(query, values):
                recorded_at, body, arrays = datetime.fromisoformat(row[1]), dict(from_json(row[4])), dict(from_json(row[5]))
                yield Event(row[0], recorded_at, row[2], row[3], body, arrays, row[6], row[7], outlined)
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            raise StorageError(
                f"the history in {self.run_directory} cannot be read: {describe_error(error)}; "
                "`vaestar history verify` shows what was altered"
            ) from error

    def newest(
        self,
        limit: int,
        *,
        kind: str | None = None,
        instrument: str | None = None,
        without: Sequence[str] = (),
        before: int | None = None,
    ) -> list[Event]:
        """The newest events, the newest first.

        Parameters
        ----------
        limit
            Largest number of events.
        kind
            Event kind to select.
        instrument
            Instrument whose events are meant, with those that concern no instrument; None: all events.
        without
            Event kinds to leave out.
        before
            Sequence number before which events are read.
        """
        conditions, values = [f"+kind NOT IN ({', '.join('?' * len(without))})"], list[object](without)
        for condition, value in (("kind = ?", kind), ("seq < ?", before)):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if instrument is not None:
            conditions.append(f"coalesce({self._instrument}, '') IN ('', ?)")
            values.append(instrument)
        query = f"SELECT {_COLUMNS} FROM event WHERE {' AND '.join(conditions)} ORDER BY seq DESC LIMIT {int(limit)}"  # noqa: S608
        return list(self._read(query, values))

    def newest_seqs(self, kind: str, after: int = 0) -> dict[str, int]:
        """Sequence number of the newest event of a kind of each instrument, among those after event `after`."""
        query = f"SELECT {self._instrument}, max(seq) FROM event WHERE kind = ? AND seq > ? GROUP BY 1"  # noqa: S608
        try:
            return dict(self._db.execute(query, (kind, after)))
        except sqlite3.Error as error:
            raise StorageError(f"the history in {self.run_directory} cannot be read: {describe_error(error)}") from error

    def event(self, seq: int) -> Event | None:
        """The event with a sequence number, or None."""
        first = next(self.events(after=seq - 1), None)
        return first if first is not None and first.seq == seq else None

    def released(self) -> set[str]:
        """Digests of arrays that retention has removed (`agent.history.retention`) and that have not been stored again."""
        digests = {entry["digest"] for event in self.events(kind=ARRAYS_RELEASED) for entry in event.body["released"]}
        return {digest for digest in digests if not self.arrays.path(digest).exists()}

    def verify(self) -> list[str]:
        """Faults of the history, one sentence each; empty if every event and every array is as it was written."""
        return self.inspect().faults

    def inspect(self, known_head: Head | None = None, progress: Callable[[int, int], None] | None = None) -> IntegrityReport:
        """Check whether the history is as it was written.

        Parameters
        ----------
        known_head
            Head noted down earlier by the operator; the history must still contain it.
        progress
            Called with the number of events checked and the total.
        """
        return inspect_history(self.run_directory, DATABASE, self.arrays, known_head, progress)

    def store_arrays(self, arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
        """Store arrays of an event that is recorded afterwards; returns their digests. It may be called in another thread.

        Raises
        ------
        HistoryError
            If they cannot be written.
        """
        try:
            return {name: self.arrays.put(array) for name, array in arrays.items()}
        except OSError as error:
            raise storage_error(f"an array could not be written to {self.run_directory}", error) from error

    def _store(self, array: np.ndarray, digest: str | None) -> str:
        # Retention may have removed a file since it was found in the store.
        return digest if digest is not None and self.arrays.path(digest).exists() else self.arrays.put(array)

    def _has(self, once: str | None) -> bool:
        return once is not None and self._db.execute("SELECT 1 FROM event WHERE once = ?", (once,)).fetchone() is not None

    def __len__(self) -> int:
        """Number of events."""
        try:
            count: int = self._db.execute("SELECT count(*) FROM event").fetchone()[0]
        except sqlite3.Error as error:
            raise StorageError(f"the history in {self.run_directory} cannot be read: {describe_error(error)}") from error
        return count

    def close(self) -> None:
        """Close the database and the head file, and release the lock."""
        self._resources.close()

    def _remove_empty_history(self) -> None:
        """Remove the files of a history without events; what cannot be removed, as on Windows the lock, is left."""
        self._remove_empty = self._remove_empty and not self._head.seq and not (self.run_directory / "arrays").exists()
        for name in (DATABASE, HEAD, WRITER_LOCK) if self._remove_empty else ():
            with contextlib.suppress(OSError):
                (self.run_directory / name).unlink()

    def _remove_empty_directory(self) -> None:
        if self._remove_empty:
            with contextlib.suppress(OSError):  # it holds other files
                self.run_directory.rmdir()

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextlib.contextmanager
def _sole_writer(run_directory: Path) -> Iterator[None]:
    """Lock the run for one writer, so that a second agent is refused at once instead of breaking the first one.

    An exclusive transaction is a lock that works the same on all systems and is released however the process ends. Where the
    system can lock a directory, that is locked as well: a file may be deleted by hand, and another one has another lock.
    """
    with _locked_directory(run_directory), contextlib.closing(sqlite3.connect(run_directory / WRITER_LOCK, timeout=0)) as db:
        try:
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise sqlite3.OperationalError(_IN_USE) from error
        yield


@contextlib.contextmanager
def _locked_directory(run_directory: Path) -> Iterator[None]:
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(run_directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise sqlite3.OperationalError(_IN_USE) from error
        except OSError:  # a file system without such locks: the lock file remains
            pass
        yield
    finally:
        os.close(descriptor)
