"""Writing a decision to files: a table of recommended points, the record, and the figures. Each file is replaced atomically."""

import csv
import os
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path

from agent.errors import ReportError
from agent.reporting.figures import FIGURES, draw_all
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


def write_report(scan: Scan, decision: Decision, directory: Path) -> list[Path]:
    """Write the table, the record, and the figures that the decision can show; returns the paths of the files.

    Files of an earlier report in the directory are replaced, or removed if this decision has no such figure. Other files are not
    touched.

    Parameters
    ----------
    scan
        Scan that was decided on.
    decision
        Decision with its arrays.
    directory
        Directory to write to; created if missing.

    Raises
    ------
    ReportError
        If the directory cannot be created or written to.
    """
    contents = {TABLE: places_csv(decision.record).encode(), RECORD: decision.record.model_dump_json(indent=2).encode()}
    for name, figure in draw_all(scan, decision).items():
        png = BytesIO()
        figure.savefig(png, format="png", dpi="figure", metadata={"Software": None})
        contents[f"{name}.png"] = png.getvalue()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name in FIGURES:
            if f"{name}.png" not in contents:
                (directory / f"{name}.png").unlink(missing_ok=True)
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
        part.unlink(missing_ok=True)
    return path
