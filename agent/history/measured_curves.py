"""Results read back from the history of a run, with their curves."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from jaxtyping import Float

from agent.history.event_log import Event, History
from agent.history.readers import reading_event
from agent.schema import event_kinds as kinds


@dataclass(frozen=True, eq=False)
class Measured:
    """The result of one request.

    Parameters
    ----------
    request_id, scan_id, instrument_id
        Ids of the request, of the scan that it was made for, and of the instrument.
    cluster
        Number of the cluster (type) that the point represents.
    status, reason
        "ok", "skipped" or "failed", and the reason; for "ok", a remark.
    x_m, y_m
        Position in metres; NaN if the tip never went there.
    measured_at
        Time of the measurement by the instrument's clock.
    parameters
        Parameters derived from the curves, by name with unit.
    curves
        Name with unit -> curve, all of the same shape (`bias_V` and `response` of a hysteresis loop).
    """

    request_id: str
    scan_id: str
    instrument_id: str
    cluster: int
    status: str
    reason: str
    x_m: float
    y_m: float
    measured_at: datetime | None
    parameters: Mapping[str, float]
    curves: Mapping[str, Float[np.ndarray, "..."]]

    def record(self) -> dict[str, Any]:
        """Everything except the curves as a flat record, for use as a table row."""
        first = ("request_id", "scan_id", "instrument_id", "cluster", "status", "reason", "x_m", "y_m", "measured_at")
        return {name: getattr(self, name) for name in first} | dict(self.parameters)


def measured_in(history: History, scan_id: str | None = None, instrument_id: str | None = None) -> Iterator[Measured]:
    """Results of a run in the order of arrival: all, or those of one scan or instrument.

    Raises
    ------
    HistoryError
        If an event or a curve was altered.
    """
    for event in history.events(kind=kinds.RESULT_RECEIVED):
        if scan_id is not None and event.body.get("scan_id") != scan_id:
            continue
        if instrument_id is not None and event.body.get("instrument_id") != instrument_id:
            continue
        yield _measured(history, event)


def _measured(history: History, event: Event) -> Measured:
    with reading_event(event):
        body = event.body
        at = body.get("measured_at")
        return Measured(
            request_id=event.subject,
            scan_id=body["scan_id"],
            instrument_id=body["instrument_id"],
            cluster=body["cluster"],
            status=body["status"],
            reason=body.get("reason", ""),
            x_m=_number(body.get("x_m")),
            y_m=_number(body.get("y_m")),
            measured_at=None if at is None else datetime.fromisoformat(at),
            parameters=dict(body.get("parameters", {})),
            curves={name: history.arrays.get(digest) for name, digest in event.arrays.items()},
        )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
