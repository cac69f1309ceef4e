"""Reads measured results that an operator or a program saves to the inbox as CSV or JSON.

A table has a column `request_id` and a column `status` (ok, skipped, failed). Rows without a status are ignored, so the outbox's
table can be filled in and saved to the inbox, repeatedly if need be. `reason`, `x_um`, `y_um`, `measured_at` and `loop_file` are
optional. Every other column that is not one of the outbox's is a parameter whose name includes its unit. Tables with decimal
commas and semicolons between columns are accepted. JSON is one such row as an object, a list of rows, or `{"results": [...]}`,
with the parameters in a `parameters` object or next to the other keys.
"""

import csv
import hashlib
import io
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import TypeAdapter, ValidationError

from instrument_adapters.errors import AdapterError, ScanFileError
from instrument_adapters.folder.outbox import POINT_COLUMNS
from instrument_adapters.formats.igor_loops import read_loop
from instrument_adapters.formats.source import read_bytes
from instrument_adapters.geometry import Finite
from instrument_adapters.protocol.codec import explain
from instrument_adapters.protocol.messages import Id, Name

_LOG = logging.getLogger(__name__)
_SETTLE_S = 2.0
_BYTES_MAX, _ROWS_MAX, _STEPS_MAX = 16 << 20, 10_000, 1 << 20
_RESULT_KEYS = {"request_id", "status", "reason", "x_um", "y_um", "measured_at", "loop_file", "parameters"}
_NAMES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[Name, Finite])
_ID: TypeAdapter[str] = TypeAdapter(Id)


class ResultFileError(AdapterError, ValueError):
    """A file in the inbox is not a valid table of results."""


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
        self._handled: dict[Path, str] = {}  # digest of the content that was accepted, or whose problem was reported
        self._first_seen: dict[Path, tuple[str, float]] = {}  # digest, and time of the first look
        self._accepted: set[tuple[str, str]] = set()  # (request id, status)

    def poll(self) -> None:
        """Read the files whose content has not changed for two seconds."""
        try:
            paths = sorted(p for p in self.folder.iterdir() if p.suffix.lower() in {".csv", ".json"} and p.name[0] not in ".~")
        except OSError:
            return
        for path in paths:
            try:
                raw = _read_limited(path)
            except AdapterError:
                continue  # another program has it open; try again at the next look
            digest = hashlib.sha256(raw).hexdigest()
            if self._handled.get(path) == digest:
                continue
            if self._first_seen.get(path, ("", 0.0))[0] != digest:
                self._first_seen[path] = (digest, self._wall())
            elif self._wall() - self._first_seen[path][1] >= _SETTLE_S:
                self._handled[path] = digest
                self._accept(path, raw)

    def _accept(self, path: Path, raw: bytes) -> None:
        try:
            found = parse_results(raw, path)
        except AdapterError as error:
            self.report_problem("results_unreadable", f"{error}; correct it and save it again")
            return
        fresh = [r for r in found if (r.request_id, r.status) not in self._accepted]
        self._accepted |= {(r.request_id, r.status) for r in fresh}
        self.results |= {r.request_id: r for r in fresh}
        if fresh:
            _LOG.info("read %d results from %s", len(fresh), path)


def parse_results(raw: bytes, path: Path) -> list[ReturnedResult]:
    """Results in the content of a `.csv` or `.json` file.

    Raises
    ------
    ResultFileError
        Naming the row, the column and what is allowed.
    """
    rows = _json_rows(raw, path) if path.suffix.lower() == ".json" else _csv_rows(raw, path)
    if len(rows) > _ROWS_MAX:
        raise ResultFileError(f"{path} holds {len(rows)} results, at most {_ROWS_MAX} are allowed; split the file")
    return [
        _parse_result(row, f"result {number} of {path}", path.parent) for number, row in enumerate(rows, 1) if _has_status(row)
    ]


def _has_status(row: Mapping[str, Any]) -> bool:
    return str(row.get("status") or "").strip() != ""


def _parse_result(row: Mapping[str, Any], where: str, folder: Path) -> ReturnedResult:
    status = str(row["status"]).strip().lower()
    if status not in ("ok", "skipped", "failed"):
        raise ResultFileError(f"{where} has the status {status[:40]!r}; allowed are ok, skipped and failed")
    try:
        request_id = _ID.validate_python(row.get("request_id"))
        parameters = _NAMES.validate_python(_parameters(row, where))
    except ValidationError as error:
        raise ResultFileError(f"{where} is invalid: {explain(error)}") from error
    x_um, y_um = _number(row, "x_um", where), _number(row, "y_um", where)
    loop = str(row.get("loop_file") or "").strip()
    return ReturnedResult(
        request_id=request_id,
        status=status,  # type: ignore[arg-type]
        reason=str(row.get("reason") or "")[:2000],
        x_m=None if x_um is None else x_um * 1e-6,
        y_m=None if y_um is None else y_um * 1e-6,
        measured_at=_time(row, where),
        parameters=parameters,
        arrays=_loop(folder, loop, where) if loop and status == "ok" else {},
    )


def _parameters(row: Mapping[str, Any], where: str) -> dict[str, float]:
    inner = row.get("parameters") or {}
    if not isinstance(inner, Mapping):
        raise ResultFileError(f"{where}: 'parameters' is {type(inner).__name__}; it must be an object of names and numbers")
    columns = {key: value for key, value in row.items() if key not in _RESULT_KEYS and key not in POINT_COLUMNS}
    names = {**columns, **inner}
    if len(names) > 64:
        raise ResultFileError(f"{where} has {len(names)} parameters, at most 64 are allowed")
    found = {name: _number(names, name, where) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _number(row: Mapping[str, Any], key: str, where: str) -> float | None:
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ResultFileError(f"{where}: '{key[:40]}' is {str(value)[:40]!r}; give a finite number or leave it empty")
    return number


def _time(row: Mapping[str, Any], where: str) -> datetime | None:
    text = str(row.get("measured_at") or "").strip()
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ResultFileError(
            f"{where}: 'measured_at' is {text[:40]!r}; give a time such as 2026-03-01T14:05:00+01:00"
        ) from error


def _loop(folder: Path, name: str, where: str) -> dict[str, np.ndarray]:
    """Bias and response from a file next to the result: a table of two columns, or an `.ibw` of the spectroscopy panel."""
    path = folder / name
    if path.name != name or name[0] in ".~" or not name.isprintable():
        raise ResultFileError(f"{where}: 'loop_file' is {name[:80]!r}; give the name of a file in the inbox, without a folder")
    try:
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
    rows = _csv_rows(raw, path)
    try:
        pairs = np.array([[float(row["bias_V"]), float(row["response"])] for row in rows], dtype=np.float64)
    except (KeyError, ValueError, TypeError) as error:
        raise ResultFileError(f"{path} is not a loop ({error}); give numbers in the columns bias_V and response") from error
    if pairs.ndim != 2 or not np.isfinite(pairs).all():
        raise ResultFileError(f"{path} holds values that are not finite; give finite numbers in the columns bias_V and response")
    return pairs[:, 0], pairs[:, 1]


def _csv_rows(raw: bytes, path: Path) -> Sequence[dict[str, Any]]:
    text = _text(raw)
    first = text.partition("\n")[0]
    separator = max(";,\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise ResultFileError(f"{path} is not a table ({error}); save it as CSV") from error
    if not rows:
        return []
    names = [name.strip() for name in rows[0]]
    comma = separator == ";"
    # A row may be shorter than the header, since spreadsheets omit empty cells; cells beyond the header have no name.
    return [
        {name: _point_for_comma(cell) if comma else cell.strip() for name, cell in zip(names, row, strict=False) if name}
        for row in rows[1:]
    ]


def _point_for_comma(cell: str) -> str:
    """Cell with a decimal comma (2,5) rewritten as 2.5; any other cell unchanged."""
    cell = cell.strip()
    try:
        return str(float(cell.replace(",", "."))) if cell.count(",") == 1 and "." not in cell else cell
    except ValueError:
        return cell


def _json_rows(raw: bytes, path: Path) -> Sequence[dict[str, Any]]:
    try:
        found = json.loads(_text(raw))
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path} is not JSON: {str(error)[:200]}") from error
    if isinstance(found, dict):
        found = found.get("results", [found])
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ResultFileError(f"{path} holds no results; give an object with request_id and status, or a list of them")
    return found


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")  # the encoding of spreadsheets on Windows


def _read_limited(path: Path) -> bytes:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ResultFileError(f"{path} cannot be read ({error.strerror}); put it into the inbox again") from error
    if size > _BYTES_MAX:
        raise ResultFileError(f"{path} has {size} bytes, at most {_BYTES_MAX} are allowed; give a table of results")
    return read_bytes(path)
