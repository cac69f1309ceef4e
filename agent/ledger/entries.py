"""Entries of the ledger: scans, approvals, requests, results and instruments."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agent.history.event_log import Event
from agent.schema.decision import DecisionRecord, DriftRecord, QualityRecord
from agent.schema.measurements import Result
from instrument_adapters.protocol.messages import Limits, MeasurementRequest

POLICY = "policy"  # author of approvals and commands that the agent gives by its own rules
#: Fields of a decision that are needed only while its scan is the newest of its instrument.
_ONLY_FOR_NEWEST: Mapping[str, Any] = {
    "config": {},
    "versions": {},
    "drift": DriftRecord(),
    "quality": QualityRecord(),
    "keypoints_dropped": {},
    "results_left_out": {},
    "masked": {},
    "rungs": [],
    "faults": [],
    "verified": [],
    "configurations": [],
    "candidates": [],
    "clusters": [],
}


def abridged(record: DecisionRecord) -> DecisionRecord:
    """A decision on an older scan as it is kept in memory: outcome, explanation and requests."""
    return record.model_copy(update=_ONLY_FOR_NEWEST)


@dataclass(frozen=True)
class Approval:
    """Approval or rejection of a decision's points.

    Parameters
    ----------
    given
        Whether the points were approved; False if they were rejected.
    by, reason
        Name of the operator (or "policy"), and the reason given.
    requests
        Approved requests; none if the decision was rejected.
    moved
        Id of each request that an operator moved -> id of the agent's original request.
    """

    given: bool
    by: str
    reason: str
    requests: tuple[MeasurementRequest, ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class ScanEntry:
    """One scan with its instrument and sample, its decision, and the state of that decision."""

    scan_id: str
    instrument_id: str
    sample_id: str
    digest: str
    event: Event
    closed: bool = False
    decision: DecisionRecord | None = None
    deepened: DecisionRecord | None = None  # deepened decision; never sent
    refused: dict[str, str] = field(default_factory=dict)  # request id -> the envelope rule that it breaks
    approval_asked_at: datetime | None = None  # when an operator was asked to approve
    approval: Approval | None = None
    void_reason: str = ""  # why no points of this scan will be measured; empty if they may be
    recommendation_seq: int = 0  # sequence number of the recommendation; 0 before it has one
    sent: bool = False  # whether its recommendation was sent, or was to be sent next when an earlier process ended
    acknowledged: bool = False
    # By our monotonic clock, set by `agent.safety.elapsed_time`; None if recorded by an earlier process.
    received_s: float | None = field(default=None, compare=False, repr=False)
    approval_asked_s: float | None = field(default=None, compare=False, repr=False)

    @property
    def settled(self) -> bool:
        """Whether the scan was decided on or its search cancelled."""
        return self.closed or self.decision is not None

    def share_header(self, older: "ScanEntry") -> None:
        """Share equal parts of the header (channels, frame) with the previous scan, to save memory."""
        older_header = older.event.body["header"]
        header = {
            n: older_header[n] if n in older_header and older_header[n] == v else v for n, v in self.event.body["header"].items()
        }
        self.event = replace(self.event, body=self.event.body | {"header": header})

    def abridge(self) -> None:
        """Drop what is needed only for the newest scan, so that a run of months fits into memory; the history keeps it."""
        header = {name: value for name, value in self.event.body["header"].items() if name != "metadata"}
        self.event = replace(self.event, body=self.event.body | {"header": header})
        self.decision = self.decision and abridged(self.decision)
        self.deepened = self.deepened and abridged(self.deepened)


@dataclass(slots=True)
class RequestEntry:
    """One request, whether it is approved and was sent, and the status of its result once there is one."""

    request: MeasurementRequest
    instrument_id: str
    scan_id: str
    decision_id: str
    approved: bool = False
    sent: bool = False
    status: str | None = None


@dataclass(frozen=True)
class InstrumentInfo:
    """Model, software, limits and bias that an instrument reported when it last connected."""

    model: str
    software: str
    limits: Limits
    bias_V: float | None


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """A result and the request that it belongs to."""

    request: RequestEntry
    result: Result
