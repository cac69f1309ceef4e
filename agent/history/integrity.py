"""Whether a history is as it was written: its tables, every event and its place in the chain, every array, and its end.

What is found: an event that was edited, removed, inserted or moved; an array that was altered or is missing; events cut off at
the end, by the head file or by a head that somebody noted down; tables, indices or triggers that are not those of the schema.
Whoever can write the files can of course compute the chain anew from a change on, and the head file; then only a head noted down
elsewhere tells.
"""

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import HistoryError
from agent.history.array_store import ArrayStore
from agent.history.database import GENESIS, SCHEMA_VERSION, chain, expected, objects, reader, version_of
from agent.history.head import HEAD, Head, read_head
from agent.schema.event_kinds import ARRAYS_RELEASED, DECISION_DEEPENED, DECISION_MADE, HEAD_RENEWED

_COLUMNS = "seq, recorded_at, kind, subject, once, body, arrays, hash"
_EVERY = 500
_Referred = tuple[int, str, str]  # event, its kind, name of the array


@dataclass
class IntegrityReport:
    """What was found.

    Parameters
    ----------
    faults
        What is not as it was written, a sentence each.
    remarks
        What is worth knowing and no fault.
    events, arrays
        How many were looked at.
    head
        The newest event.
    """

    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    events: int = 0
    arrays: int = 0
    head: Head = field(default_factory=lambda: Head(0, GENESIS))


def releasable(kind: str, name: str) -> bool:
    """Whether retention may ever remove such an array."""
    return kind in (DECISION_MADE, DECISION_DEEPENED) and (name == "latents" or name.startswith("weights:"))


def inspected(
    run_directory: Path,
    database: str,
    arrays: ArrayStore,
    noted: Head | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IntegrityReport:
    """The verdict on the history in a run directory; it may be written to meanwhile."""
    verdict = IntegrityReport()
    path = run_directory / database
    inspection = _Inspection(verdict, run_directory, arrays, progress or (lambda _done, _total: None))
    # The head first: an event that is written from now on makes the database newer than it, which is no fault.
    filed = inspection.filed_head()
    try:
        with contextlib.closing(reader(path)) as db:
            # An altered text may be no UTF-8; it shall be found in its place and not end the reading.
            db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            version = version_of(db)
            inspection.schema(db, version)
            inspection.events(db, {head.seq for head in (filed, noted) if head is not None})
            inspection.ends(filed, noted, version)
    except sqlite3.Error as error:
        after = f" after event {verdict.head.seq}" if verdict.head.seq else ""
        verdict.faults.append(f"{path} cannot be read{after}: {error}")
    inspection.orphans()
    return verdict


class _Inspection:
    """One reading of a history from beginning to end."""

    def __init__(
        self, verdict: IntegrityReport, run_directory: Path, arrays: ArrayStore, progress: Callable[[int, int], None]
    ) -> None:
        self._verdict, self._directory, self._arrays, self._progress = verdict, run_directory, arrays, progress
        self._faults = verdict.faults
        self._looked_at: dict[str, str] = {}  # digest -> what is wrong with it
        self._missing: dict[str, list[_Referred]] = {}
        self._released: dict[str, int] = {}  # digest -> the last event that says so
        self._hashes: dict[int, str] = {}  # of the events that heads name

    def filed_head(self) -> Head | None:
        """What the head file says."""
        try:
            return read_head(self._directory)
        except HistoryError as error:
            self._faults.append(f"{HEAD} is damaged: {error}")
            return None

    def schema(self, db: sqlite3.Connection, version: int) -> None:
        """Tables, indices and triggers as they are meant to be, and sound."""
        if not 1 <= version <= SCHEMA_VERSION:
            self._faults.append(f"the database says that it has schema {version}; 1 to {SCHEMA_VERSION} are known")
            return
        found, meant = objects(db), expected(version)
        names = {(kind, name) for kind, name, *_ in meant}
        self._faults += [f"the {kind} '{name}' of the database was altered or is missing" for kind, name, *_ in meant - found]
        strange = sorted((kind, name) for kind, name, *_ in found - meant if (kind, name) not in names)
        self._faults += [f"the {kind} '{name}' was added to the database" for kind, name in strange]
        try:
            self._faults += [
                f"the database is damaged: {said}" for (said,) in db.execute("PRAGMA integrity_check(5)") if said != "ok"
            ]
        except sqlite3.Error as error:
            self._faults.append(f"the database is damaged: {error}")

    def events(self, db: sqlite3.Connection, named: set[int]) -> None:
        """Every event in its place, with its arrays; `named`: those that a head names."""
        total = db.execute("SELECT count(*) FROM event").fetchone()[0]
        following, previous = 1, GENESIS
        for seq, *fields, stored in db.execute(f"SELECT {_COLUMNS} FROM event ORDER BY seq"):  # noqa: S608 - constants only
            if seq < following:
                self._faults.append(f"event {seq} was inserted: numbers begin with 1")
            elif seq > following:
                self._faults.append(f"events {following} to {seq - 1} are missing")
            if chain(previous, seq, *fields) != stored:
                self._faults.append(
                    f"event {seq} ({_shown(fields[1])} {_shown(fields[2])}) is not as it was written, "
                    "or does not follow its predecessor"
                )
            self._arrays_of(seq, fields[1], fields[5])
            self._special(seq, fields[1], fields[4])
            following, previous = max(seq + 1, 1), stored
            if seq in named:
                self._hashes[seq] = stored
            self._verdict.events += 1
            self._verdict.head = Head(seq, stored)
            if self._verdict.events % _EVERY == 0:
                self._progress(self._verdict.events, total)
        self._progress(total, total)
        self._resolve_missing()

    def ends(self, filed: Head | None, noted: Head | None, version: int) -> None:
        """Nothing cut off at the end."""
        if filed is not None:
            self._holds(filed, HEAD)
        elif noted is None and version > 1 and self._verdict.events:
            self._faults.append(f"{HEAD} is missing: whether the newest events were cut off cannot be told")
        if noted is not None:
            self._holds(noted, "the head that was noted down")

    def orphans(self) -> None:
        """Arrays that no event names: written before a crash, harmless."""
        held = [digest for digest, _ in self._arrays.held()]
        strange = [digest for digest in held if digest not in self._looked_at]
        if strange and not self._faults:
            s = "" if len(strange) == 1 else "s"
            self._verdict.remarks.append(
                f"{len(strange)} array file{s} belong{'' if s else 's'} to no event (written before a crash, harmless)"
            )

    def _holds(self, head: Head, source: str) -> None:
        if head.seq > self._verdict.head.seq:
            self._faults.append(
                f"the history ends with event {self._verdict.head.seq}, but by {source} event {head.seq} was written: "
                f"events {self._verdict.head.seq + 1} to {head.seq} were cut off"
            )
        elif head.seq > 0 and self._hashes.get(head.seq) != head.hash:
            self._faults.append(f"event {head.seq} is not the one of {source}: it, or what was before it, was replaced")

    def _arrays_of(self, seq: int, kind: str, text: str) -> None:
        try:
            digests = {str(name): str(digest) for name, digest in dict(json.loads(text)).items()}
        except (ValueError, TypeError, RecursionError):
            self._faults.append(f"event {seq}: what it says of its arrays cannot be read")
            return
        for name, digest in digests.items():
            if digest not in self._looked_at:
                self._looked_at[digest] = self._arrays.fault(digest)
                self._verdict.arrays += 1
            fault = self._looked_at[digest]
            if fault == "missing":
                self._missing.setdefault(digest, []).append((seq, kind, name))
            elif fault:
                self._faults.append(f"event {seq}: '{_shown(name)}': {fault}")

    def _special(self, seq: int, kind: str, body: str) -> None:
        """Events that bear on what may be missing."""
        if kind == HEAD_RENEWED:
            self._verdict.remarks.append(f"event {seq}: {HEAD} was begun anew; whether events before were cut off cannot be told")
        if kind == ARRAYS_RELEASED:
            with contextlib.suppress(ValueError, LookupError, TypeError):
                self._released |= {str(entry["digest"]): seq for entry in json.loads(body)["released"]}

    def _resolve_missing(self) -> None:
        """What is missing on purpose is told apart from what is lost."""
        freed: dict[int, int] = {}
        for digest, referred in self._missing.items():
            for seq, kind, name in referred:
                release = self._released.get(digest, 0)
                if release > seq and releasable(kind, name):
                    freed[release] = freed.get(release, 0) + 1
                    continue
                where = f"is missing from {self._arrays.path(digest).parent.parent}"
                self._faults.append(f"event {seq}: '{_shown(name)}': array {digest[:12]} {where}")
        self._verdict.remarks += list(_sentences(freed))


def _sentences(freed: dict[int, int]) -> Iterator[str]:
    for release, count in sorted(freed.items()):
        s, were = ("", "was") if count == 1 else ("s", "were")
        yield f"{count} array{s} {were} released on purpose (event {release})"


def _shown(text: object) -> str:
    return str(text).encode("utf-8", "replace").decode()[:200]
