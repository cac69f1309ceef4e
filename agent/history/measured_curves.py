"""What was measured, read back from a run's history with its curves."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from jaxtyping import Float

from agent.history.event_log import Event, History
from agent.history.readers import trusted
from agent.schema import event_kinds as kinds


@dataclass(frozen=True, eq=False)
class Measured:
    """The result of one request.

    Parameters
    ----------
    request_id, scan_id, instrument_id
        What was asked for, after which scan, of whom.
    cluster
        The type that the place stands for.
    status, reason
        "ok", "skipped" or "failed", and why; of "ok", a remark.
    x_m, y_m
        Where, in metres; NaN where the tip never went there.
    measured_at
        By the instrument's clock.
    parameters
        Numbers drawn from the curves, by name with unit.
    curves
        Name with unit -> curve, all of one shape (`bias_V` and `response` of a hysteresis loop).
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
        """Everything but the curves, flat: a row of a table."""
        first = ("request_id", "scan_id", "instrument_id", "cluster", "status", "reason", "x_m", "y_m", "measured_at")
        return {name: getattr(self, name) for name in first} | dict(self.parameters)


def measured_in(history: History, scan_id: str | None = None, instrument_id: str | None = None) -> Iterator[Measured]:
    """The results of a run in the order in which they came, of one scan or of all.

    Raises
    ------
    HistoryError
        If an event or a curve is not as it was written.
    """
    for event in history.events(kind=kinds.RESULT_RECEIVED):
        if scan_id is not None and event.body.get("scan_id") != scan_id:
            continue
        if instrument_id is not None and event.body.get("instrument_id") != instrument_id:
            continue
        yield _measured(history, event)


def _measured(history: History, event: Event) -> Measured:
    with trusted(event):
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
