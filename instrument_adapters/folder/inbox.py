"""Reads measured results that an operator or a program saves to the inbox as a table or as JSON.

A table has a column `request_id` and a column `status` (ok, skipped, failed). Rows without a status and without values are not
measured yet, so the outbox's table can be filled in and saved to the inbox, repeatedly if need be. `reason`, `x_um`, `y_um`,
`measured_at` and `loop_file` are optional. Every other column that is not one of the outbox's is a parameter whose name includes
its unit. How spreadsheet programs save a table is known to `spreadsheet`. JSON is one such row as an object, a list of rows, or
`{"results": [...]}`, with the parameters in a `parameters` object or next to the other keys.

Each row that is understood is taken; everything else is reported, once, as a problem.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from instrument_adapters.errors import AdapterError, ScanFileError
from instrument_adapters.folder.outbox import POINT_COLUMNS
from instrument_adapters.folder.spreadsheet import (
    ResultFileError,
    known_name,
    read_number,
    read_table,
    read_text,
    read_time,
)
from instrument_adapters.formats.igor_loops import read_loop
from instrument_adapters.formats.source import read_bytes
from instrument_adapters.geometry import Finite
from instrument_adapters.protocol.codec import explain
from instrument_adapters.protocol.messages import Id, Name

_LOG = logging.getLogger(__name__)
_SETTLE_S, _LOCKED_S = 2.0, 60.0
_BYTES_MAX, _ROWS_MAX, _STEPS_MAX = 16 << 20, 10_000, 1 << 20
_TABLES, _LOOPS = {".csv", ".txt", ".tsv", ".json"}, {".ibw"}
_UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".tmp", "~")  # temporary names of copying programs
_RESULT_KEYS = {"request_id", "status", "reason", "x_um", "y_um", "measured_at", "loop_file", "parameters"}
_KNOWN = {name.lower(): name for name in (*_RESULT_KEYS, *POINT_COLUMNS)}
_LOOP_COLUMNS = {"bias_v": "bias_V", "response": "response"}
_SAID_MAX = 3  # problems of one file that are spelled out
_NAMES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[Name, Finite])
_ID: TypeAdapter[str] = TypeAdapter(Id)


@dataclass(frozen=True, eq=False)
class ReturnedResult:
    """Result of one request as the operator entered it."""

    request_id: str
    status: Literal["ok", "skipped", "failed"]
    reason: str = ""
    x_m: float | None = None
    y_m: float | None = None
    measured_at: datetime | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def content(self) -> tuple[object, ...]:
        """All that the operator entered, to compare two results of one request."""
        loops = tuple((name, array.tobytes()) for name, array in self.arrays.items())
        return self.status, self.reason, self.x_m, self.y_m, self.measured_at, tuple(sorted(self.parameters.items())), loops


@dataclass(frozen=True)
class _Row:
    """A row as it was entered: its place for messages, column -> value, column -> decimal mark, and a value without a column."""

    where: str
    values: Mapping[str, Any]
    marks: Mapping[str, str]
    unnamed: str

    def text(self, name: str) -> str:
        return str(self.values.get(name) or "").strip()


class Inbox:
    """Folder from which results are read; nothing is written to it.

    Parameters
    ----------
    folder
        Path of the folder; it need not exist before the first result.
    wall
        Monotonic clock: seconds from any origin.

    Attributes
    ----------
    report_problem
        Called with a short name and a sentence when a problem needs the operator's attention.
    results
        Results not yet collected, by request id.
    """

    def __init__(self, folder: Path, wall: Callable[[], float]) -> None:
        self.folder, self._wall = folder, wall
        self.report_problem: Callable[[str, str], None] = lambda _, sentence: _LOG.warning("%s", sentence)
        self.results: dict[str, ReturnedResult] = {}
        self._expected: frozenset[str] | None = None
        self._handled: dict[Path, str] = {}  # digest of the content that was accepted, or whose problem was reported
        self._first_seen: dict[Path, tuple[str, float]] = {}  # digest, and time of the first look
        self._unread_since: dict[Path, float] = {}  # time since which another program has the file open
        self._taken: dict[str, tuple[object, ...]] = {}  # request id -> content of its result
        self._said: set[str] = set()

    def expect(self, request_ids: Collection[str]) -> None:
        """Set the points for which results are waited for; a result of any other point is reported."""
        self._expected = frozenset(request_ids)

    def poll(self) -> None:
        """Read the files whose content has not changed for two seconds."""
        try:
            paths = sorted(p for p in self.folder.iterdir() if p.name[0] not in ".~" and not p.is_dir())
        except FileNotFoundError:
            return
        except OSError as error:
            reason = error.strerror or type(error).__name__
            self._say("results_unreadable", f"the inbox {self.folder} cannot be read ({reason}); check its permissions")
            return
        for path in paths:
            if path.suffix.lower() in _TABLES:
                self._look_at(path)
            elif path.suffix.lower() not in _LOOPS and not path.name.endswith(_UNFINISHED):
                self._say(
                    "results_unreadable",
                    f"{path} is not read: results are tables (.csv, .txt, .tsv) or .json; save a workbook as CSV UTF-8",
                )

    def _look_at(self, path: Path) -> None:
        try:
            raw = _read_limited(path)
        except ResultFileError as error:
            self._say("results_unreadable", str(error))
            return
        except AdapterError as error:  # another program has it open; try again at the next look
            if self._wall() - self._unread_since.setdefault(path, self._wall()) >= _LOCKED_S:
                self._say("results_unreadable", str(error))
            return
        self._unread_since.pop(path, None)
        digest = hashlib.sha256(raw).hexdigest()
        if self._handled.get(path) == digest:
            return
        if self._first_seen.get(path, ("", 0.0))[0] != digest:
            self._first_seen[path] = (digest, self._wall())
        elif self._wall() - self._first_seen[path][1] >= _SETTLE_S:
            self._handled[path] = digest
            self._accept(path, raw)

    def _accept(self, path: Path, raw: bytes) -> None:
        try:
            found, problems = parse_results(raw, path)
        except AdapterError as error:
            found, problems = [], [str(error)]
        if problems:
            more = f"; {len(problems) - _SAID_MAX} more rows like these" if len(problems) > _SAID_MAX else ""
            self._say("results_unreadable", f"{'; '.join(problems[:_SAID_MAX])}{more}; correct it and save it again")
        else:
            self._said = {sentence for sentence in self._said if str(path) not in sentence}
        self._take(found, path)

    def _take(self, found: Sequence[ReturnedResult], path: Path) -> None:
        """Keep the results that are new or changed, and report those that will not be sent."""
        changed = [r for r in found if self._taken.get(r.request_id) != r.content]
        late = [r.request_id for r in changed if r.request_id in self._taken and r.request_id not in self.results]
        fresh = [r for r in changed if r.request_id not in late]
        self._taken |= {r.request_id: r.content for r in fresh}
        self.results |= {r.request_id: r for r in fresh}
        unknown = [r.request_id for r in fresh if self._expected is not None and r.request_id not in self._expected]
        if late:
            self._say(
                "results_unused",
                f"{path} changes {len(late)} results that were already sent, such as that of {late[0]}; what was sent stays",
            )
        if unknown:
            self._say(
                "results_unused",
                f"{path} holds {len(unknown)} results of points that are not waited for, such as {unknown[0]}; they are not "
                "sent; check that it is the table of the latest recommendation",
            )
        if len(fresh) > len(unknown):
            _LOG.info("read %d results from %s", len(fresh) - len(unknown), path)

    def report_left_in_outbox(self, table: Path) -> None:
        """Report a table of the outbox that was filled in where it is."""
        try:
            found, _ = parse_results(_read_limited(table), table)
        except AdapterError:
            return
        if found:
            self._say("results_unused", f"{table} is filled in, but results are read from {self.folder} only; save it there")

    def _say(self, event: str, sentence: str) -> None:
        """Report a problem unless the same was reported before."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.report_problem(event, sentence)


def parse_results(raw: bytes, path: Path) -> tuple[list[ReturnedResult], list[str]]:
    """Results in the content of a table or a `.json` file, and one sentence for each row that cannot be taken.

    Raises
    ------
    ResultFileError
        If nothing in the file can be understood.
    """
    rows = _json_rows(raw, path) if path.suffix.lower() == ".json" else _table_rows(raw, path)
    if len(rows) > _ROWS_MAX:
        raise ResultFileError(f"{path} holds {len(rows)} results, at most {_ROWS_MAX} are allowed; split the file")
    found: list[ReturnedResult] = []
    problems: list[str] = []
    for row in rows:
        try:
            if _is_result(row):
                found.append(_parse_result(row, path.parent))
        except ResultFileError as error:
            problems.append(str(error))
    different = Counter(name for name, _ in {(r.request_id, r.content) for r in found})
    twice = [name for name, number in different.items() if number > 1]
    problems += [f"{path} holds different results of {name}, so none of them is taken" for name in twice]
    return [r for r in found if r.request_id not in twice], problems


def _is_result(row: _Row) -> bool:
    """Whether a row has a status; one with values but without a status is a mistake, one with neither is still to be measured."""
    if row.unnamed:
        raise ResultFileError(
            f"{row.where} has {row.unnamed[:40]!r} in a column without a name; name it, or put numbers with commas in quotes"
        )
    if row.text("status"):
        return True
    by_outbox = {"request_id", "x_um", "y_um", *POINT_COLUMNS}
    entered = [name for name, value in row.values.items() if value not in (None, "", {}) and name not in by_outbox]
    if entered:
        raise ResultFileError(
            f"{row.where} has a value for {entered[0][:40]!r} but no status; give it one of ok, skipped and failed"
        )
    return False


def _parse_result(row: _Row, folder: Path) -> ReturnedResult:
    status = row.text("status").lower()
    if status not in ("ok", "skipped", "failed"):
        raise ResultFileError(f"{row.where} has the status {status[:40]!r}; allowed are ok, skipped and failed")
    try:
        request_id = _ID.validate_python(row.values.get("request_id"))
        parameters = _NAMES.validate_python(_parameters(row))
    except ValidationError as error:
        raise ResultFileError(f"{row.where} is invalid: {explain(error)}") from error
    x_um, y_um = (_number(row, name, row.values.get(name)) for name in ("x_um", "y_um"))
    loop = row.text("loop_file")
    return ReturnedResult(
        request_id=request_id,
        status=status,  # type: ignore[arg-type]
        reason=str(row.values.get("reason") or "")[:2000],
        x_m=None if x_um is None else x_um * 1e-6,
        y_m=None if y_um is None else y_um * 1e-6,
        measured_at=_time(row),
        parameters=parameters,
        arrays=_loop(folder, loop, row.where) if loop and status == "ok" else {},
    )


def _parameters(row: _Row) -> dict[str, float]:
    inner = row.values.get("parameters") or {}
    if not isinstance(inner, Mapping):
        raise ResultFileError(f"{row.where}: 'parameters' is {type(inner).__name__}; it must be an object of names and numbers")
    names = {**{name: value for name, value in row.values.items() if _is_parameter(name)}, **inner}
    if len(names) > 64:
        raise ResultFileError(f"{row.where} has {len(names)} parameters, at most 64 are allowed")
    found = {name: _number(row, name, value) for name, value in names.items()}
    return {name: value for name, value in found.items() if value is not None}


def _is_parameter(name: str) -> bool:
    return name not in _RESULT_KEYS and name not in POINT_COLUMNS


def _number(row: _Row, name: str, value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        return read_number(value, row.marks.get(name, "."))
    except ValueError as error:
        raise ResultFileError(f"{row.where}: '{name[:40]}' is {str(value)[:40]!r}; {error}") from error


def _time(row: _Row) -> datetime | None:
    try:
        return read_time(row.text("measured_at"))
    except ValueError as error:
        raise ResultFileError(f"{row.where}: 'measured_at' is {row.text('measured_at')[:40]!r}; {error}") from error


def _loop(folder: Path, name: str, where: str) -> dict[str, np.ndarray]:
    """Bias and response from a file next to the result: a table of two columns, or an `.ibw` of the spectroscopy panel."""
    path = folder / name
    if path.name != name or name[0] in ".~" or not name.isprintable():
        raise ResultFileError(f"{where}: 'loop_file' is {name[:80]!r}; give the name of a file in the inbox, without a folder")
    try:
        _refuse_link(path)
        if path.suffix.lower() == ".ibw":
            bias_V, response = read_loop(path)
        else:
            bias_V, response = _two_columns(_read_limited(path), path)
    except ScanFileError as error:
        raise ResultFileError(f"{where}: {error}") from error
    if len(bias_V) > _STEPS_MAX:
        raise ResultFileError(f"{where}: the loop in {name} has {len(bias_V)} steps, at most {_STEPS_MAX} are allowed")
    return {"bias_V": np.ascontiguousarray(bias_V), "response": np.ascontiguousarray(response)}


def _two_columns(raw: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    table, names = read_table(raw, path, _LOOP_COLUMNS), tuple(_LOOP_COLUMNS.values())
    if not set(names) <= set(table.names):
        raise ResultFileError(f"{path} is not a loop; give numbers in the columns bias_V and response")
    marks, at = table.decimal_marks(names), [table.names.index(name) for name in names]
    rows = [row for row in table.rows if any(row)]
    try:
        pairs = np.array([[read_number(row[n], marks[table.names[n]]) for n in at] for row in rows], dtype=np.float64)
    except (ValueError, IndexError) as error:
        raise ResultFileError(f"{path} is not a loop ({error}); give numbers in the columns bias_V and response") from error
    if pairs.ndim != 2 or not np.isfinite(pairs).all():
        raise ResultFileError(f"{path} holds values that are not finite; give finite numbers in the columns bias_V and response")
    return pairs[:, 0], pairs[:, 1]


def _table_rows(raw: bytes, path: Path) -> Sequence[_Row]:
    """The rows that are not empty; none if the table is a loop."""
    table = read_table(raw, path, _KNOWN)
    missing = [name for name in ("request_id", "status") if name not in table.names]
    if missing and {known_name(name, _LOOP_COLUMNS) for name in table.names} >= set(_LOOP_COLUMNS.values()):
        return []
    if missing:
        held = ", ".join(name[:40] for name in table.names[:20] if name)
        raise ResultFileError(f"{path} has no column {' and no column '.join(missing)}; its columns are {held[:400]}")
    marks = table.decimal_marks([name for name in table.names if name and (name in ("x_um", "y_um") or _is_parameter(name))])
    rows = []
    for number, cells in enumerate(table.rows, 1):
        named = {
            name: cell for name, cell in zip(table.names, cells, strict=False) if name
        }  # empty cells at the end may be absent
        unnamed = next((cell for n, cell in enumerate(cells) if cell and not (n < len(table.names) and table.names[n])), "")
        if any(cells):
            rows.append(_Row(f"result {number} of {path}", named, marks, unnamed))
    return rows


def _json_rows(raw: bytes, path: Path) -> Sequence[_Row]:
    text = read_text(raw, path)
    try:
        found = json.loads(text, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path} is not JSON: {str(error)[:200]}") from error
    if isinstance(found, dict):
        found = found.get("results", [found])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ResultFileError(f"{path} holds no results; give an object with request_id and status, or a list of them")
    return [_Row(f"result {number} of {path}", row, {}, "") for number, row in enumerate(found, 1)]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON file, with the names of results in any case."""
    found = {known_name(key, _KNOWN) if key.lower() in _RESULT_KEYS else key: value for key, value in pairs}
    if len(found) < len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def _refuse_link(path: Path) -> None:
    """Refuse a symbolic link: the sentence about what it shows would be sent to the agent."""
    if path.is_symlink():
        raise ResultFileError(f"{path} is a symbolic link; put the file itself into the inbox")


def _read_limited(path: Path) -> bytes:
    _refuse_link(path)
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ResultFileError(f"{path} cannot be read ({error.strerror}); put it into the inbox again") from error
    if size > _BYTES_MAX:
        raise ResultFileError(f"{path} has {size} bytes, at most {_BYTES_MAX} are allowed; give a table of results")
    return read_bytes(path)
