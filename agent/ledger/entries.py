"""Entries of the ledger: scans, approvals, requests, results and instruments."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agent.history.event_log import Event
from agent.schema.decision import DecisionRecord, Outcome
from instrument_adapters.protocol.messages import Limits, MeasurementRequest

POLICY = "policy"  # author of approvals and commands that the agent gives by its own rules
_NOTHING: dict[str, Any] = {}  # one for all, never changed


@dataclass(frozen=True, slots=True)
class PastDecision:
    """What is kept in memory of a decision on a scan that is no longer the newest; the history holds the rest.

    Parameters
    ----------
    decision_id, outcome
        As in the record.
    places
        Number of its requests.
    """

    decision_id: str
    outcome: Outcome
    places: int

    @staticmethod
    def of(record: DecisionRecord) -> "PastDecision":
        """What is kept of a decision."""
        return PastDecision(record.decision_id, record.outcome, len(record.requests))


@dataclass(frozen=True, slots=True)
class PastRequest:
    """What is kept in memory of a request whose scan is no longer the newest."""

    request_id: str
    x_m: float
    y_m: float
    cluster: int


@dataclass(frozen=True, slots=True)
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
    """One scan with its instrument and sample, its decision, and the state of that decision.

    `decision` and `deepened` are the records while the scan is the newest of its instrument; `decided` and `deeper` remain.
    """

    scan_id: str
    instrument_id: str
    sample_id: str
    digest: str
    event: Event
    closed: bool = False
    decision: DecisionRecord | None = None
    deepened: DecisionRecord | None = None  # deepened decision; never sent
    decided: PastDecision | None = None
    deeper: PastDecision | None = None
    refused: dict[str, str] = field(default_factory=dict)  # request id -> the envelope rule that it breaks
    approval_asked_at: datetime | None = None  # when an operator was asked to approve
    approval: Approval | None = None
    void_reason: str = ""  # why no points of this scan will be measured; empty if they may be
    recommendation_seq: int = 0  # sequence number of the recommendation; 0 before it has one
    sent: bool = False  # whether its recommendation was sent, or was to be sent next when an earlier process ended
    acknowledged: bool = False
    sent_at: str = ""  # when the instrument sent the scan, by its clock
    measured: int = 0  # number of results, of any status, of the points of `decided`
    finished_at: str = ""  # when the scan ended, by the instrument's clock; empty if unknown
    pixel_m: float = 0.0  # longer side of a pixel, once the scan was decided on
    # By our monotonic clock, set by `agent.safety.elapsed_time`; None if recorded by an earlier process.
    received_s: float | None = field(default=None, compare=False, repr=False)
    approval_asked_s: float | None = field(default=None, compare=False, repr=False)

    @property
    def settled(self) -> bool:
        """Whether the scan was decided on or its search cancelled."""
        return self.closed or self.decided is not None

    def abridge(self) -> None:
        """Drop what is needed only for the newest scan, so that a run of months fits into memory; the history keeps it."""
        self.event = replace(self.event, body=_NOTHING, arrays=_NOTHING, hash="", once=None)
        self.decision = self.deepened = None
        self.refused = {}
        if self.approval is not None:
            self.approval = Approval(self.approval.given, sys.intern(self.approval.by), sys.intern(self.approval.reason))


@dataclass(slots=True)
class RequestEntry:
    """One request, whether it is approved and was sent, and the status of its result once there is one."""

    request: MeasurementRequest | PastRequest
    instrument_id: str
    scan_id: str
    decision_id: str
    approved: bool = False
    sent: bool = False
    status: str | None = None

    def abridge(self) -> None:
        """Drop what is needed only while its scan is the newest."""
        r = self.request
        if not isinstance(r, PastRequest):
            self.request = PastRequest(r.request_id, r.x_m, r.y_m, r.cluster)


@dataclass(frozen=True)
class InstrumentInfo:
    """Model, software, limits and bias that an instrument reported when it last connected."""

    model: str
    software: str
    limits: Limits
    bias_V: float | None
