"""What a run stands at, told from its history alone: scans, decisions, requests and results.

The same code reads a history at start-up and follows it while the service runs, so a restarted agent knows what the killed one
knew.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from agent.decision import DecisionRecord
from agent.history import Event, HistoryError
from agent.results import MeasuredOnSample, Result
from instrument_adapters.codec import explain
from instrument_adapters.messages import MeasurementRequest

# Kinds of events, in the order in which a scan makes them.
RUN_STARTED = "run_started"
INSTRUMENT_CONNECTED = "instrument_connected"
SCAN_RECEIVED = "scan_received"
SEARCH_CANCELLED = "search_cancelled"
CANDIDATES_SCORED = "candidates_scored"
DECISION_MADE = "decision_made"
DECISION_DEEPENED = "decision_deepened"
RECOMMENDATION_SENT = "recommendation_sent"
RECOMMENDATION_ACKNOWLEDGED = "recommendation_acknowledged"
RESULT_RECEIVED = "result_received"
MESSAGE_REFUSED = "message_refused"
CLIENT_DENIED = "client_denied"
INSTRUMENT_LEFT = "instrument_left"
RUN_STOPPED = "run_stopped"
CLOCK_STEPPED = "clock_stepped"
JOB_TROUBLED = "job_troubled"


@contextmanager
def trusted(event: Event) -> Iterator[None]:
    """Say in one sentence that an event does not hold what its kind promises."""
    try:
        yield
    except (ValueError, LookupError, TypeError) as error:
        reason = explain(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise HistoryError(
            f"event {event.seq} ({event.kind}) cannot be read back, it was altered or written by another version: {reason}"
        ) from error


@dataclass
class ScanEntry:
    """One scan: whose it is, what it shows, and what has become of it."""

    scan_id: str
    instrument_id: str
    sample_id: str
    digest: str
    event: Event
    closed: bool = False
    decision: DecisionRecord | None = None
    deepened: DecisionRecord | None = None  # what a deeper search found afterwards; nothing of it is sent
    number: int = 0  # of the recommendation, among all that the instrument is told to do
    acknowledged: bool = False

    @property
    def settled(self) -> bool:
        """Whether no decision on it is to be made any more."""
        return self.closed or self.decision is not None


@dataclass
class RequestEntry:
    """One recommended place and, once it came, the status of its result."""

    request: MeasurementRequest
    instrument_id: str
    scan_id: str
    status: str | None = None


@dataclass
class Ledger:
    """The state of a run; `apply` is the only way to change it."""

    scans: dict[tuple[str, str], ScanEntry] = field(default_factory=dict)
    requests: dict[tuple[str, str], RequestEntry] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)  # of the last that each instrument has been told
    _latest: dict[str, ScanEntry] = field(default_factory=dict)
    _results: dict[str, list[Result]] = field(default_factory=dict)

    @staticmethod
    def of(events: Iterable[Event]) -> "Ledger":
        """The state after `events`.

        Raises
        ------
        HistoryError
            If an event is not what its kind promises.
        """
        ledger = Ledger()
        for event in events:
            with trusted(event):
                ledger.apply(event)
        return ledger

    def apply(self, event: Event) -> None:
        """Take one event into account; kinds that change nothing are passed over."""
        body = event.body
        if event.kind == SCAN_RECEIVED:
            entry = ScanEntry(event.subject, body["instrument_id"], body["sample_id"], body["digest"], event)
            self.scans[entry.instrument_id, entry.scan_id] = entry
            self._latest[entry.instrument_id] = entry
        elif event.kind == SEARCH_CANCELLED:
            self.scans[body["instrument_id"], event.subject].closed = True
        elif event.kind == DECISION_MADE:
            self._decided(event)
        elif event.kind == DECISION_DEEPENED:
            record = DecisionRecord.model_validate(body["decision"])
            self.scans[body["instrument_id"], record.scan_id].deepened = record
        elif event.kind == RECOMMENDATION_ACKNOWLEDGED:
            self.scans[body["instrument_id"], body["scan_id"]].acknowledged = True
        elif event.kind == RESULT_RECEIVED:
            self._measured_at(event)

    def latest(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument."""
        return self._latest.get(instrument_id)

    def undecided(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument, if it still waits for a decision; older ones are never gone back to."""
        entry = self._latest.get(instrument_id)
        return entry if entry and entry.decision is None and not entry.closed else None

    def unacknowledged(self, instrument_id: str) -> ScanEntry | None:
        """The newest scan of an instrument, if it has a decision that the instrument has not acknowledged."""
        entry = self._latest.get(instrument_id)
        return entry if entry and entry.decision is not None and not entry.acknowledged else None

    def measured_xy(self, sample_id: str) -> np.ndarray:
        """Where a sample has been measured, or tried to be; shape (k, 2), x and y in metres."""
        touched = [r.xy_m for r in self._results.get(sample_id, []) if r.status != "skipped"]  # the tip never went there
        return np.array(touched, dtype=np.float64).reshape(-1, 2)

    def measured_s(self, sample_id: str) -> np.ndarray:
        """When, for each of `measured_xy`: POSIX seconds by the instrument's clock, NaN where that is not known; shape (k,)."""
        return np.array([r.at_s for r in self._results.get(sample_id, []) if r.status != "skipped"], dtype=np.float64)

    def results(self, sample_id: str) -> MeasuredOnSample:
        """All results on a sample that can be used together, whichever scan and instrument asked for them."""
        return MeasuredOnSample.of(self._results.get(sample_id, []))

    def _decided(self, event: Event) -> None:
        record = DecisionRecord.model_validate(event.body["decision"])
        instrument_id = event.body["instrument_id"]
        entry = self.scans[instrument_id, record.scan_id]
        entry.decision = record
        if event.body.get("superseded_by"):  # never sent
            return
        self.numbers[instrument_id] = entry.number = self.numbers.get(instrument_id, 0) + 1
        for request in record.requests:
            # Two instruments that sent one scan get requests of the same names.
            self.requests[instrument_id, request.request_id] = RequestEntry(request, instrument_id, record.scan_id)

    def _measured_at(self, event: Event) -> None:
        entry = self.requests[event.body["instrument_id"], event.subject]
        entry.status = event.body["status"]
        sample_id = self.scans[entry.instrument_id, entry.scan_id].sample_id
        asked = (entry.request.x_m, entry.request.y_m)
        x, y = event.body.get("x_m"), event.body.get("y_m")
        place = asked if x is None or y is None else (x, y)
        at = event.body.get("measured_at")
        at_s = math.nan if at is None else datetime.fromisoformat(at).timestamp()
        self._results.setdefault(sample_id, []).append(Result(entry.status, place, event.body.get("parameters", {}), at_s))
