"""A decision as files for people: a table of places, the record, and the figures. Nothing is ever left half-written."""

import csv
import os
from collections.abc import Iterator
from io import BytesIO, StringIO
from pathlib import Path

from agent.errors import ReportError
from agent.reporting.figures import FIGURES, draw_all
from agent.schema.decision import Decision, DecisionRecord
from instrument_adapters.scan import Scan

COLUMNS = ("id", "cluster", "rank", "x_m", "y_m", "row", "col", "core_distance")
TABLE = "recommendations.csv"
RECORD = "decision.json"

Row = tuple[str, int, int, float, float, int, int, float]


def rows(record: DecisionRecord) -> Iterator[Row]:
    """The recommended places in the order of measuring, each as `COLUMNS` says."""
    for r in record.requests:
        yield r.request_id, r.cluster, r.rank, r.x_m, r.y_m, r.row, r.col, r.core_distance


def table_csv(record: DecisionRecord) -> str:
    """The places as CSV, header first; numbers read back exactly as they were."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(rows(record))
    return text.getvalue()


def write_report(scan: Scan, decision: Decision, directory: Path) -> list[Path]:
    """The files written: the table, the record, and the figures that the decision can show.

    Of what an earlier report left in the directory, its own files are replaced, or removed where this decision has no such
    figure; other files are not touched.

    Parameters
    ----------
    scan
        The scan that was decided on.
    decision
        What was decided.
    directory
        Made when it is missing.

    Raises
    ------
    ReportError
        If the directory cannot be made or written to.
    """
    contents = {TABLE: table_csv(decision.record).encode(), RECORD: decision.record.model_dump_json(indent=2).encode()}
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
        raise ReportError(f"the report cannot be written into {directory}: a file stands in the way; name a folder") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise ReportError(
            f"the report cannot be written into {directory}: {why}; name a folder that can be written to"
        ) from error


def replaced(path: Path, content: bytes) -> Path:
    """The path, whose file now holds `content`; a reader meets the old file or the new one, never a part of it.

    Raises
    ------
    ReportError
        If it cannot be written there.
    """
    try:
        return _replace(path, content)
    except OSError as error:
        why = error.strerror or str(error)
        raise ReportError(f"{path} cannot be written: {why}; name a file in a folder that can be written to") from error


def _replace(path: Path, content: bytes) -> Path:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
