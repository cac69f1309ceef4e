"""The decision history: an append-only table of events and a store of arrays, both on disk before anything is acted on.

One SQLite file a run (WAL, `synchronous=FULL`: what was committed survives a power cut), one row an event. Rows can neither be
changed nor deleted, and each carries a hash over itself and its predecessor, so that tampering and gaps show; a file beside the
database notes the newest one, so that a cut at the end shows too (`agent.history.head`). Arrays lie beside it as files named
after their content.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from agent.errors import HistoryError, StorageError
from agent.history.array_store import ArrayStore
from agent.history.database import GENESIS, INSTRUMENT, SCHEMA_VERSION, backup_path, canonical, chain, connect
from agent.history.head import HEAD, Head, head_file, read_head
from agent.history.integrity import IntegrityReport, inspected
from agent.history.run_directory import DATABASE
from agent.history.storage_errors import InPlace, gone, why
from agent.schema.event_kinds import ARRAYS_RELEASED, HEAD_RENEWED, HISTORY_MIGRATED

WRITER_LOCK = "writer.lock"
_COLUMNS = "seq, recorded_at, kind, subject, body, arrays, hash, once"


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
        SHA-256 over the previous event's hash and everything else.
    once
        Something that may happen once only, such as "scan:afm1:scan-0001".
    """

    seq: int
    recorded_at: datetime
    kind: str
    subject: str
    body: dict[str, Any]
    arrays: dict[str, str] = field(default_factory=dict)
    hash: str = GENESIS
    once: str | None = None


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
                self._db, was = connect(path, read_only=read_only)
                stack.callback(self._db.close)
                self._instrument = INSTRUMENT if read_only and was < 2 else "instrument"
                self._head = self._newest()
                news = [] if read_only else self._news(was)
                self._note = None if read_only else stack.enter_context(head_file(run_directory))
            except (sqlite3.Error, OSError) as error:
                raise StorageError(f"the history {path} cannot be opened: {why(error)}") from error
            self._in_place = InPlace(path, path.with_name(f"{DATABASE}-wal"))
            for kind, body in news:
                self.record(kind, "history", body, at=datetime.now(UTC))
            self._open = stack.pop_all()

    @property
    def head(self) -> Head:
        """The newest event; who has noted it down can hold the history against it later on."""
        try:
            return self._newest() if self._note is None else self._head
        except sqlite3.Error as error:
            raise StorageError(f"the history in {self.run_directory} cannot be read: {why(error)}") from error

    def _newest(self) -> Head:
        last = self._db.execute("SELECT seq, hash FROM event ORDER BY seq DESC LIMIT 1").fetchone()
        return Head(*last) if last else Head(0, GENESIS)

    def _news(self, was: int) -> list[tuple[str, dict[str, Any]]]:
        """What is to be told of the history itself, now that it is taken up again."""
        try:
            noted, reason = read_head(self.run_directory), f"{HEAD} was missing"
        except HistoryError as error:
            noted, reason = None, str(error)
        if noted is not None and noted.seq > self._head.seq:
            raise HistoryError(
                f"its newest events were cut off: it ends with event {self._head.seq}, and {HEAD} says that event {noted.seq} "
                f"was written; restore {DATABASE} from a copy, or, to go on without them, remove {HEAD}"
            )
        if not self._head.seq:
            return []
        if was < SCHEMA_VERSION:
            return [(HISTORY_MIGRATED, {"from": was, "to": SCHEMA_VERSION, "backup": backup_path(Path(DATABASE), was).name})]
        if noted is None:
            return [(HEAD_RENEWED, {"reason": f"{reason}: whether events before this one were cut off cannot be told"})]
        return []

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
            body_text, arrays_text = canonical(body), canonical(digests)
            seq = self._head.seq + 1
            chained = chain(self._head.hash, seq, when.isoformat(), kind, subject, once, body_text, arrays_text)
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
        self._head = Head(seq, chained)
        if self._note is not None:
            self._note.write(self._head)
        return Event(seq, when, kind, subject, json.loads(body_text), digests, chained, once)

    def events(
        self,
        *,
        kind: str | None = None,
        subject: str | None = None,
        instrument: str | None = None,
        mentioning: str | None = None,
        after: int = 0,
        last: int | None = None,
    ) -> Iterator[Event]:
        """Events in order, one at a time from the disk.

        Parameters
        ----------
        kind, subject
            Only such.
        instrument
            Only those of one instrument: each has a stream of its own.
        mentioning
            Only those whose subject or body holds this text somewhere.
        after
            Only those with a greater number.
        last
            Of these, only so many, the newest.
        """
        wanted = {"kind": kind, "subject": subject, self._instrument: instrument}
        asked = {column: value for column, value in wanted.items() if value is not None}
        conditions = ["seq > ?", *(f"{column} = ?" for column in asked)]
        values = [after, *asked.values()]
        if mentioning is not None:
            conditions.append("(instr(subject, ?) OR instr(body, ?))")
            values += [mentioning, mentioning]
        where = " AND ".join(conditions)
        query = f"SELECT {_COLUMNS} FROM event WHERE {where} ORDER BY seq"  # noqa: S608 - constants only
        if last is not None:
            query = f"SELECT * FROM ({query} DESC LIMIT {int(last)}) ORDER BY seq"  # noqa: S608
        try:
            for row in self._db.execute(query, values):
                recorded_at, body, arrays = datetime.fromisoformat(row[1]), dict(json.loads(row[4])), dict(json.loads(row[5]))
                yield Event(row[0], recorded_at, row[2], row[3], body, arrays, *row[6:])
        except (sqlite3.Error, ValueError, TypeError, RecursionError) as error:
            raise StorageError(
                f"the history in {self.run_directory} cannot be read: {why(error)}; "
                "`vaestar history verify` says what was altered"
            ) from error

    def event(self, seq: int) -> Event | None:
        """One event by its number."""
        first = next(self.events(after=seq - 1), None)
        return first if first is not None and first.seq == seq else None

    def released(self) -> set[str]:
        """Digests of arrays that retention has removed (`agent.history.retention`); of these, what is there again is there."""
        gone = {entry["digest"] for event in self.events(kind=ARRAYS_RELEASED) for entry in event.body["released"]}
        return {digest for digest in gone if not self.arrays.path(digest).exists()}

    def verify(self) -> list[str]:
        """What is wrong with the history, one sentence each; empty if every event and every array is as it was written."""
        return self.inspect().faults

    def inspect(self, noted: Head | None = None, progress: Callable[[int, int], None] | None = None) -> IntegrityReport:
        """All that can be said of whether the history is as it was written.

        Parameters
        ----------
        noted
            A head that somebody noted down earlier: the history must still hold it.
        progress
            Told of how many events of how many have been looked at.
        """
        return inspected(self.run_directory, DATABASE, self.arrays, noted, progress)

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
