"""Writes recommended points for the operator: as a CSV table to fill in and return through the inbox, and as JSON.

Coordinates for an operator at an MFP-3D, not tested on a real one. `x_um`, `y_um`: position of the closed loop, as in
XOffset and YOffset. `image_x_um`, `image_y_um`: distance from the lower left corner of the image, along its axes. `x_V`, `y_V`:
set-points of the stage's feedback loops, V = x / |LVDTSens| + LVDTOffset, if the note has these numbers.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from instrument_adapters.errors import AdapterError
from instrument_adapters.new_file import open_new
from instrument_adapters.plain_text import as_cell, as_json
from instrument_adapters.protocol.messages import MeasurementRequest, RecommendationMessage
from instrument_adapters.scan import Scan

RECOMMENDATIONS_FOLDER = "recommendations"
POSITION_COLUMNS = ("x_um", "y_um", "image_x_um", "image_y_um", "x_V", "y_V")
POINT_COLUMNS = ("request_id", "order", "cluster", "rank", *POSITION_COLUMNS, "row", "col", "expires_at", "approved_by")
ANSWER_COLUMNS = ("status", "reason")


class OutboxError(AdapterError, OSError):
    """The points cannot be written to the outbox."""


class Outbox:
    """Folder to which points are written.

    Parameters
    ----------
    folder
        Path of the outbox; its subfolder `recommendations` is created when the first points are written.
    clock
        Wall-clock time with its zone.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self.folder, self._clock = folder / RECOMMENDATIONS_FOLDER, clock

    def write(self, recommendation: RecommendationMessage, scan: Scan | None) -> Path:
        """Write the points and return the path of the table; a `.json` of the same name goes with it. Both writes are atomic.

        Files already written for the same recommendation are left unchanged, since the operator may be filling them in.

        Raises
        ------
        OutboxError
            If the files cannot be written.
        """
        table = self.folder / f"{recommendation.scan_id}.csv"
        page = table.with_suffix(".json")
        points = [_point(r, n, scan) for n, r in enumerate(recommendation.requests, 1)]
        head = _head(recommendation, scan, self._clock())
        try:
            if _is_written_for(page, recommendation) and table.exists():
                return table
            self.folder.mkdir(parents=True, exist_ok=True)
            _replace(page, as_json(head | {"points": points}, indent=2))
            _replace(table, _table(points, head))
        except OSError as error:
            raise OutboxError(
                f"the points cannot be written to {self.folder} ({error.strerror or type(error).__name__}); "
                "close programs that have its files open, or give another --outbox"
            ) from error
        return table


def _head(recommendation: RecommendationMessage, scan: Scan | None, now: datetime) -> dict[str, Any]:
    expires = recommendation.expires_at
    return {
        "recommendation": recommendation.id,
        "scan_id": recommendation.scan_id,
        "sample_id": None if scan is None else scan.sample_id,
        "reason": recommendation.reason,
        "approved_by": recommendation.approved_by,
        "bias_max_V": recommendation.bias_max_V,
        "expires_at": None if expires is None else expires.isoformat(timespec="seconds"),
        "written_at": now.isoformat(timespec="seconds"),
    }


def _point(request: MeasurementRequest, order: int, scan: Scan | None) -> dict[str, Any]:
    x_um, y_um = request.x_m * 1e6, request.y_m * 1e6
    image: tuple[float | None, float | None] = (None, None)
    volts = image
    if scan is not None:
        frame = scan.frame
        row, col = frame.to_pixels(np.array([[request.x_m, request.y_m]]))[0]
        image = (float(col) * frame.pitch_m[1] * 1e6, float(row) * frame.pitch_m[0] * 1e6)
        volts = _volts(request.x_m, "X", scan.metadata), _volts(request.y_m, "Y", scan.metadata)
    places = dict(zip(POSITION_COLUMNS, (x_um, y_um, *image, *volts), strict=True))
    rounded = {key: None if value is None else round(value, 6) for key, value in places.items()}
    about = {"request_id": request.request_id, "order": order, "cluster": request.cluster, "rank": request.rank}
    return about | rounded | {"row": request.row, "col": request.col}


def _volts(position_m: float, axis: str, note: Mapping[str, str | float]) -> float | None:
    try:
        sensitivity, offset_V = (float(note[f"{axis}LVDT{what}"]) for what in ("Sens", "Offset"))
        volts = position_m / abs(sensitivity) + offset_V
    except (KeyError, ValueError, ZeroDivisionError):
        return None
    return volts if math.isfinite(volts) else None


def _table(points: list[dict[str, Any]], head: Mapping[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*POINT_COLUMNS, *ANSWER_COLUMNS], lineterminator="\r\n")
    writer.writeheader()
    for point in points:
        row = point | {"expires_at": head["expires_at"], "approved_by": head["approved_by"]}
        writer.writerow({name: as_cell(value) for name, value in row.items()})
    return text.getvalue()


def _is_written_for(page: Path, recommendation: RecommendationMessage) -> bool:
    """Whether the JSON file was written for this recommendation."""
    try:
        return page.is_file() and bool(json.loads(page.read_text(encoding="utf-8"))["recommendation"] == recommendation.id)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.part")
    with open_new(partial) as file:
        file.write(text.encode("utf-8-sig" if path.suffix == ".csv" else "utf-8"))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
