"""Results that a person or a program puts into an inbox, as CSV or JSON.

A table has a column `request_id` and a column `status` (ok, skipped, failed); rows without a status are passed over, so that the
outbox's table can be filled in and saved here, once or again and again. `reason`, `x_um`, `y_um`, `measured_at` and `loop_file`
are optional; every other column that is no column of the outbox is a parameter, its name with its unit. A spreadsheet that writes
2,5 separates columns by semicolons; that is understood. JSON is one such row as an object, a list of them, or
`{"results": [...]}`, with parameters in a `parameters` object or beside the rest.
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
from instrument_adapters.folder.outbox import ABOUT
from instrument_adapters.formats.igor_loops import read_loop
from instrument_adapters.formats.source import read_bytes
from instrument_adapters.geometry import Finite
from instrument_adapters.protocol.codec import explain
from instrument_adapters.protocol.messages import Id, Name

_LOG = logging.getLogger(__name__)
_SETTLE_S = 2.0
_BYTES_MAX, _ROWS_MAX, _STEPS_MAX = 16 << 20, 10_000, 1 << 20
_OWN = {"request_id", "status", "reason", "x_um", "y_um", "measured_at", "loop_file", "parameters"}
_NAMES: TypeAdapter[dict[str, float]] = TypeAdapter(dict[Name, Finite])
_ID: TypeAdapter[str] = TypeAdapter(Id)


class ResultFileError(AdapterError, ValueError):
    """A file in the inbox cannot be understood."""


@dataclass(frozen=True, eq=False)
class Result:
    """What came of one request, as a person said it."""

    request_id: str
    status: Literal["ok", "skipped", "failed"]
    reason: str = ""
    x_m: float | None = None
    y_m: float | None = None
    measured_at: datetime | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class Inbox:
    """A folder where results are put; it is read only.

    Parameters
    ----------
    folder
        It may be missing until there is a result.
    wall
        Seconds from any origin; never jumps backwards.

    Attributes
    ----------
    trouble
        Told what a person should see to: a short name and a sentence.
    results
        Request id -> result, until somebody takes it.
    """

    def __init__(self, folder: Path, wall: Callable[[], float]) -> None:
        self.folder, self._wall = folder, wall
        self.trouble: Callable[[str, str], None] = lambda _, sentence: _LOG.warning("%s", sentence)
        self.results: dict[str, Result] = {}
        self._read: dict[Path, str] = {}  # digest of what was taken in, or told of
        self._seen: dict[Path, tuple[str, float]] = {}  # digest, and since when
        self._taken: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Take in files whose content has stayed the same for two seconds."""
        try:
            paths = sorted(p for p in self.folder.iterdir() if p.suffix.lower() in {".csv", ".json"} and p.name[0] not in ".~")
        except OSError:
            return
        for path in paths:
            try:
                raw = _bytes(path)
            except AdapterError:
                continue  # somebody has it open; the next look may do
            digest = hashlib.sha256(raw).hexdigest()
            if self._read.get(path) == digest:
                continue
            if self._seen.get(path, ("", 0.0))[0] != digest:
                self._seen[path] = (digest, self._wall())
            elif self._wall() - self._seen[path][1] >= _SETTLE_S:
                self._read[path] = digest
                self._take_in(path, raw)

    def _take_in(self, path: Path, raw: bytes) -> None:
        try:
            found = parse_results(raw, path)
        except AdapterError as error:
            self.trouble("results_unreadable", f"{error}; correct it and save it again")
            return
        fresh = [r for r in found if (r.request_id, r.status) not in self._taken]
        self._taken |= {(r.request_id, r.status) for r in fresh}
        self.results |= {r.request_id: r for r in fresh}
        if fresh:
            _LOG.info("%d results are in %s", len(fresh), path)


def parse_results(raw: bytes, path: Path) -> list[Result]:
    """The results in a `.csv` or `.json` file.

    Raises
    ------
    ResultFileError
        Naming the row, the column and what is allowed.
    """
    rows = _json_rows(raw, path) if path.suffix.lower() == ".json" else _csv_rows(raw, path)
    if len(rows) > _ROWS_MAX:
        raise ResultFileError(f"{path} holds {len(rows)} results, at most {_ROWS_MAX} are read; split it")
    return [_result(row, f"result {number} of {path}", path.parent) for number, row in enumerate(rows, 1) if _said(row)]


def _said(row: Mapping[str, Any]) -> bool:
    return str(row.get("status") or "").strip() != ""


def _result(row: Mapping[str, Any], where: str, folder: Path) -> Result:
    status = str(row["status"]).strip().lower()
    if status not in ("ok", "skipped", "failed"):
        raise ResultFileError(f"{where} has the status {status[:40]!r}; ok, skipped and failed are allowed")
    try:
        request_id = _ID.validate_python(row.get("request_id"))
        parameters = _NAMES.validate_python(_parameters(row, where))
    except ValidationError as error:
        raise ResultFileError(f"{where} cannot be taken: {explain(error)}") from error
    x_um, y_um = _number(row, "x_um", where), _number(row, "y_um", where)
    loop = str(row.get("loop_file") or "").strip()
    return Result(
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
        raise ResultFileError(f"{where}: 'parameters' is {type(inner).__name__}; an object of names and numbers is needed")
    beside = {key: value for key, value in row.items() if key not in _OWN and key not in ABOUT}
    names = {**beside, **inner}
    if len(names) > 64:
        raise ResultFileError(f"{where} has {len(names)} parameters, at most 64 are taken")
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
        raise ResultFileError(f"{where}: '{key[:40]}' is {str(value)[:40]!r}, a finite number is needed (or nothing)")
    return number


def _time(row: Mapping[str, Any], where: str) -> datetime | None:
    text = str(row.get("measured_at") or "").strip()
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.astimezone()).astimezone(UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ResultFileError(f"{where}: 'measured_at' is {text[:40]!r}; give one such as 2026-03-01T14:05:00+01:00") from error


def _loop(folder: Path, name: str, where: str) -> dict[str, np.ndarray]:
    """Bias and response out of a file beside the result: a table of two columns, or an `.ibw` of the spectroscopy panel."""
    path = folder / name
    if path.name != name or name[0] in ".~" or not name.isprintable():
        raise ResultFileError(f"{where}: 'loop_file' is {name[:80]!r}; give the name of a file in the inbox, without a folder")
    try:
        if path.suffix.lower() == ".ibw":
            bias_V, response = read_loop(path)
        else:
            bias_V, response = _two_columns(_bytes(path), path)
    except ScanFileError as error:
        raise ResultFileError(f"{where}: {error}") from error
    if len(bias_V) > _STEPS_MAX:
        raise ResultFileError(f"{where}: the loop in {name} has {len(bias_V)} steps, at most {_STEPS_MAX} are taken")
    return {"bias_V": np.ascontiguousarray(bias_V), "response": np.ascontiguousarray(response)}


def _two_columns(raw: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = _csv_rows(raw, path)
    try:
        pairs = np.array([[float(row["bias_V"]), float(row["response"])] for row in rows], dtype=np.float64)
    except (KeyError, ValueError, TypeError) as error:
        raise ResultFileError(f"{path} is no loop ({error}); give columns bias_V and response of numbers") from error
    if pairs.ndim != 2 or not np.isfinite(pairs).all():
        raise ResultFileError(f"{path} holds no loop of finite numbers; give columns bias_V and response")
    return pairs[:, 0], pairs[:, 1]


def _csv_rows(raw: bytes, path: Path) -> Sequence[dict[str, Any]]:
    text = _text(raw)
    first = text.partition("\n")[0]
    separator = max(";,\t", key=first.count)
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise ResultFileError(f"{path} is no table ({error}); save it as CSV") from error
    if not rows:
        return []
    names = [name.strip() for name in rows[0]]
    comma = separator == ";"
    # A row may be shorter than the head, where a spreadsheet left empty cells away; what is beyond it has no name.
    return [
        {name: _point_for_comma(cell) if comma else cell.strip() for name, cell in zip(names, row, strict=False) if name}
        for row in rows[1:]
    ]


def _point_for_comma(cell: str) -> str:
    """2,5 as 2.5, and nothing else changed."""
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
        return raw.decode("cp1252", "replace")  # what a spreadsheet on Windows writes


def _bytes(path: Path) -> bytes:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ResultFileError(f"{path} cannot be read ({error.strerror}); put it into the inbox again") from error
    if size > _BYTES_MAX:
        raise ResultFileError(f"{path} has {size} bytes, at most {_BYTES_MAX} are read; give a table of results")
    return read_bytes(path)
