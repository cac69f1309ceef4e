"""Integrity check of a history: its tables, every event and the hash chain, every array, and the newest event.

It finds events that were edited, removed, inserted or moved; arrays that were altered or are missing; events cut off at the end
(by comparison with the head file or with a head noted down elsewhere); and tables, indices or triggers that differ from the
schema. An attacker with write access can recompute the chain and the head file after a change; only a head noted down elsewhere
reveals that.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pydantic_core import from_json

from agent.errors import HistoryError
from agent.history.array_store import ArrayStore
from agent.history.database import (
    GENESIS,
    SCHEMA_VERSION,
    chain_hash,
    expected_objects,
    open_reader,
    schema_objects,
    schema_version,
)
from agent.history.head import HEAD, Head, read_head
from agent.history.run_directory import DATABASE
from agent.schema.event_kinds import ARRAYS_RELEASED, DECISION_DEEPENED, DECISION_MADE, HEAD_RENEWED

_COLUMNS = "seq, recorded_at, kind, subject, once, body, arrays, hash"
_PROGRESS_EVERY = 500  # events
_KNOWN_VERSIONS = range(1, SCHEMA_VERSION + 1)
_Reference = tuple[int, str, str]  # sequence number and kind of the event, name of the array


@dataclass
class IntegrityReport:
    """Result of an integrity check.

    Parameters
    ----------
    faults
        Differences from what was written, one sentence each.
    remarks
        Observations that are not faults, one sentence each.
    events, arrays
        Numbers of events and arrays checked.
    head
        Head of the history, its newest event.
    """

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    events: int = 0
    arrays: int = 0
    head: Head = field(default_factory=lambda: Head(0, GENESIS))


def releasable(kind: str, name: str) -> bool:
    """Whether retention may remove arrays of this name from events of this kind."""
    return kind in (DECISION_MADE, DECISION_DEEPENED) and (name == "latents" or name.startswith("weights:"))


def inspect_history(
    run_directory: Path,
    database: str,
    arrays: ArrayStore,
    known_head: Head | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IntegrityReport:
    """Check the history in a run directory; an agent may write to it meanwhile.

    Parameters
    ----------
    run_directory
        Path of the run directory.
    database
        File name of the database in it.
    arrays
        Array store of the run.
    known_head
        Head noted down earlier by the operator; the history must still contain it.
    progress
        Called with the number of events checked and the total.
    """
    report = IntegrityReport()
    path = run_directory / database
    inspection = _HistoryInspection(report, run_directory, arrays, progress or (lambda _done, _total: None))
    # Read the head file first: an event written from now on makes the database newer than it, which is not a fault.
    filed = inspection.read_head_file()
    try:
        with ThreadPoolExecutor(1) as thread, contextlib.closing(open_reader(path)) as db:
            # Altered text may not be valid UTF-8; it must be reported with its event and not abort the check.
            db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            version = schema_version(db)
            inspection.check_schema(db, version)
            place, damage = len(report.faults), thread.submit(_damage, path) if version in _KNOWN_VERSIONS else None
            try:
                inspection.check_events(db, {head.seq for head in (filed, known_head) if head is not None})
                inspection.check_heads(filed, known_head, version)
            finally:
                report.faults[place:place] = damage.result() if damage else []
    except sqlite3.Error as error:
        after = f" after event {report.head.seq}" if report.head.seq else ""
        report.faults.append(f"{path} cannot be read{after}: {error}")
    inspection.find_orphans()
    return report


class _HistoryInspection:
    """One pass over a history from beginning to end."""

    def __init__(
        self, report: IntegrityReport, run_directory: Path, arrays: ArrayStore, progress: Callable[[int, int], None]
    ) -> None:
        self._report, self._directory, self._arrays, self._progress = report, run_directory, arrays, progress
        self._faults = report.faults
        self._array_faults: dict[str, str] = {}  # digest -> fault, empty if it is intact
        self._missing: dict[str, list[_Reference]] = {}
        self._released: dict[str, int] = {}  # digest -> the last event that released it
        self._hashes: dict[int, str] = {}  # of the events that a head names

    def read_head_file(self) -> Head | None:
        """The head in the head file; a damaged file is a fault."""
        try:
            return read_head(self._directory)
        except HistoryError as error:
            self._faults.append(f"{HEAD} is damaged: {error}")
            return None

    def check_schema(self, db: sqlite3.Connection, version: int) -> None:
        """Compare tables, indices and triggers with those of the schema."""
        if version not in _KNOWN_VERSIONS:
            self._faults.append(f"the database has schema version {version}, but only 1 to {SCHEMA_VERSION} are known")
            return
        found, wanted = schema_objects(db), expected_objects(version)
        names = {(kind, name) for kind, name, *_ in wanted}
        self._faults += [f"the {kind} '{name}' of the database was altered or is missing" for kind, name, *_ in wanted - found]
        added = sorted((kind, name) for kind, name, *_ in found - wanted if (kind, name) not in names)
        self._faults += [f"the {kind} '{name}' was added to the database" for kind, name in added]

    def check_events(self, db: sqlite3.Connection, head_seqs: set[int]) -> None:
        """Check every event, its place in the chain and its arrays; keep the hashes of the events in `head_seqs`."""
        total = db.execute("SELECT count(*) FROM event").fetchone()[0]
        expected_seq, previous = 1, GENESIS
        for seq, *fields, stored in db.execute(f"SELECT {_COLUMNS} FROM event ORDER BY seq"):  # noqa: S608 - constants only
            if seq < expected_seq:
                self._faults.append(f"event {seq} was inserted: sequence numbers begin with 1")
            elif seq > expected_seq:
                self._faults.append(f"events {expected_seq} to {seq - 1} are missing")
            if chain_hash(previous, seq, *fields) != stored:
                self._faults.append(
                    f"event {seq} ({_printable(fields[1])} {_printable(fields[2])}) is not as it was written, "
                    "or does not follow its predecessor"
                )
            self._check_arrays(seq, fields[1], fields[5])
            self._note_explanations(seq, fields[1], fields[4])
            expected_seq, previous = max(seq + 1, 1), stored
            if seq in head_seqs:
                self._hashes[seq] = stored
            self._report.events += 1
            self._report.head = Head(seq, stored)
            if self._report.events % _PROGRESS_EVERY == 0:
                self._progress(self._report.events, total)
        self._progress(total, total)
        self._resolve_missing()

    def check_heads(self, filed: Head | None, known_head: Head | None, version: int) -> None:
        """Check that no events were cut off at the end."""
        if filed is not None:
            self._check_head(filed, HEAD)
        elif known_head is None and version > 1 and self._report.events:
            self._faults.append(f"{HEAD} is missing: it is unknown whether the newest events were cut off")
        if known_head is not None:
            self._check_head(known_head, "the given head")

    def find_orphans(self) -> None:
        """Count array files that no event names: a crash leaves such files, and so does an older copy of the database."""
        orphans = [digest for digest in self._arrays.digests() if digest not in self._array_faults]
        if orphans and not self._faults:
            found = "1 array file belongs" if len(orphans) == 1 else f"{len(orphans)} array files belong"
            self._report.remarks.append(
                f"{found} to no event: written before a crash, which is harmless, or by events that are missing here, "
                f"as in an older copy of {DATABASE} together with its {HEAD}"
            )

    def _check_head(self, head: Head, source: str) -> None:
        if head.seq > self._report.head.seq:
            self._faults.append(
                f"the history ends with event {self._report.head.seq}, but {source} names event {head.seq}: "
                f"events {self._report.head.seq + 1} to {head.seq} were cut off"
            )
        elif head.seq > 0 and self._hashes.get(head.seq) != head.hash:
            self._faults.append(f"event {head.seq} is not the one that {source} names: it, or an event before it, was replaced")

    def _check_arrays(self, seq: int, kind: str, text: str) -> None:
        try:
            digests = {str(name): str(digest) for name, digest in dict(from_json(text)).items()}
        except (ValueError, TypeError, RecursionError):
            self._faults.append(f"event {seq}: its list of arrays cannot be read")
            return
        for name, digest in digests.items():
            if digest not in self._array_faults:
                self._array_faults[digest] = self._arrays.check(digest)
                self._report.arrays += 1
            fault = self._array_faults[digest]
            if fault == "missing":
                self._missing.setdefault(digest, []).append((seq, kind, name))
            elif fault:
                self._faults.append(f"event {seq}: '{_printable(name)}': {fault}")

    def _note_explanations(self, seq: int, kind: str, body: str) -> None:
        """Note events that explain a missing head file or missing arrays."""
        if kind == HEAD_RENEWED:
            self._report.remarks.append(f"event {seq}: {HEAD} was written anew; it is unknown whether events before were cut off")
        if kind == ARRAYS_RELEASED:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                self._released |= {str(entry["digest"]): seq for entry in json.loads(body)["released"]}

    def _resolve_missing(self) -> None:
        """Sort missing arrays into those that retention released and those that are lost."""
        released_counts: dict[int, int] = {}
        for digest, references in self._missing.items():
            for seq, kind, name in references:
                release = self._released.get(digest, 0)
                if release > seq and releasable(kind, name):
                    released_counts[release] = released_counts.get(release, 0) + 1
                    continue
                where = f"is missing from {self._arrays.path(digest).parent.parent}"
                self._faults.append(f"event {seq}: '{_printable(name)}': array {digest[:12]} {where}")
        self._report.remarks += list(_release_sentences(released_counts))


def _damage(path: Path) -> list[str]:
    """What SQLite finds damaged in the file. It reads all of it, so it is called in a thread beside the check of the events."""
    try:
        with contextlib.closing(open_reader(path)) as db:
            found = [message for (message,) in db.execute("PRAGMA integrity_check(5)") if message != "ok"]
    except sqlite3.Error as error:
        found = [str(error)]
    return [f"the database is damaged: {message}" for message in found]


def _release_sentences(released_counts: dict[int, int]) -> Iterator[str]:
    for release, count in sorted(released_counts.items()):
        s, were = ("", "was") if count == 1 else ("s", "were")
        yield f"{count} array{s} {were} released on purpose (event {release})"


def _printable(text: object) -> str:
    return str(text).encode("utf-8", "replace").decode()[:200]
