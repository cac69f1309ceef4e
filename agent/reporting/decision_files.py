"""Writing a decision to files: the record, a table of recommended points, and the figures. Each file is replaced atomically."""

import contextlib
import csv
import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from agent.errors import ReportError
from agent.reporting.drawing import drawings
from agent.reporting.figure_kinds import KINDS
from agent.schema.decision import Decision, DecisionRecord
from instrument_adapters.new_file import open_new
from instrument_adapters.scan import Scan

COLUMNS = ("id", "cluster", "rank", "x_m", "y_m", "row", "col", "core_distance")
TABLE = "recommendations.csv"
RECORD = "decision.json"

Row = tuple[str, int, int, float, float, int, int, float]


def place_rows(record: DecisionRecord) -> Iterator[Row]:
    """The recommended points in measuring order, with the columns `COLUMNS`."""
    for r in record.requests:
        yield r.request_id, r.cluster, r.rank, r.x_m, r.y_m, r.row, r.col, r.core_distance


def places_csv(record: DecisionRecord) -> str:
    """The recommended points as CSV with a header; numbers are written so that they read back exactly."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(place_rows(record))
    return text.getvalue()


class Written(NamedTuple):
    """The files that were written, and a sentence for each figure that was not."""

    files: list[Path]
    problems: list[str]


def write_report(scan: Scan, decision: Decision, directory: Path) -> Written:
    """Write the record and the table, then the figures: both functions below.

    Raises
    ------
    ReportError
        If the record or the table cannot be written. A figure that cannot be drawn or written raises nothing.
    """
    files = write_decision(decision.record, directory)
    figures = write_figures(scan, decision, directory)
    return Written([*files, *figures.files], figures.problems)


def write_decision(record: DecisionRecord, directory: Path) -> list[Path]:
    """Write the record, with its explanation, and the table of the recommended points; returns the paths of the files.

    Parameters
    ----------
    record
        Record of the decision.
    directory
        Directory to write to; created if missing. Earlier files of these names are replaced.

    Raises
    ------
    ReportError
        If the directory cannot be created or written to.
    """
    contents = {RECORD: record.model_dump_json(indent=2).encode(), TABLE: places_csv(record).encode()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return [_replace(directory / name, content) for name, content in contents.items()]
    except (FileExistsError, NotADirectoryError) as error:
        raise ReportError(
            f"the report cannot be written into {directory}: a file with that name exists; name a folder"
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportError(
            f"the report cannot be written into {directory}: {reason}; name a folder that can be written to"
        ) from error


def write_figures(scan: Scan, decision: Decision, directory: Path) -> Written:
    """Write the figures that the decision can show; for one that cannot be drawn or written a sentence is returned.

    Figures of an earlier report in the directory are removed first, so that none of them is taken for one of this decision.
    Other files are not touched.

    Parameters
    ----------
    scan
        Scan that was decided on.
    decision
        Decision with its arrays.
    directory
        Directory to write to, which exists.
    """
    written = Written([], [])
    for kind in KINDS:
        try:
            (directory / f"{kind}.png").unlink(missing_ok=True)
        except OSError as error:
            written.problems.append(f"the earlier {directory / kind}.png cannot be removed: {error.strerror or error}; remove it")
    for drawing in drawings(scan, decision):
        if drawing.content is None:
            written.problems.append(drawing.problem)
            continue
        try:
            written.files.append(write_file(directory / f"{drawing.kind}.png", drawing.content))
        except ReportError as error:
            written.problems.append(str(error))
    return written


def write_file(path: Path, content: bytes) -> Path:
    """Write a file atomically, so that a reader sees either the old content or the new; returns the path.

    Raises
    ------
    ReportError
        If the file cannot be written.
    """
    try:
        return _replace(path, content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReportError(f"{path} cannot be written: {reason}; name a file in a folder that can be written to") from error


def _replace(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open_new(part) as file:
            file.write(content)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # a disk that fails must not hide why the file was not written
            part.unlink(missing_ok=True)
    return path
