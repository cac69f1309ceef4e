"""What the ledger holds of each scan, request, result and instrument."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from agent.history.event_log import Event
from agent.schema.decision import DecisionRecord, DriftRecord, QualityRecord
from agent.schema.measurements import Result
from instrument_adapters.protocol.messages import Limits, MeasurementRequest

POLICY = "policy"  # who decides where no person does
#: What of a decision is asked for while its scan is the newest of its instrument, and not afterwards.
_LET_GO: Mapping[str, Any] = {
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
    """What is kept at hand of a decision on an older scan: how it ended, why, and its places."""
    return record.model_copy(update=_LET_GO)


@dataclass(frozen=True)
class Approval:
    """What became of a decision's points: which of them may be sent, by whom and why; none where it was rejected.

    `moved` holds, for the id of each request that a person moved, the id of the one that the agent made.
    """

    given: bool
    by: str
    reason: str
    requests: tuple[MeasurementRequest, ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
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
    refused: dict[str, str] = field(default_factory=dict)  # request id -> the rule that keeps it out
    asked_at: datetime | None = None  # when a person was asked
    approval: Approval | None = None
    void: str = ""  # why nothing of the scan is measured any more
    number: int = 0  # of the recommendation, among all that the instrument is told to do
    acknowledged: bool = False

    @property
    def settled(self) -> bool:
        """Whether there is nothing to decide any more."""
        return self.closed or self.decision is not None

    def share(self, older: "ScanEntry") -> None:
        """Hold what the scan before says alike, channels and frame above all, only once."""
        theirs = older.event.body["header"]
        header = {n: theirs[n] if n in theirs and theirs[n] == v else v for n, v in self.event.body["header"].items()}
        self.event = replace(self.event, body=self.event.body | {"header": header})

    def abridge(self) -> None:
        """Let go of what only the newest scan is asked for, so that a run of months fits into memory; the history keeps it."""
        header = {name: value for name, value in self.event.body["header"].items() if name != "metadata"}
        self.event = replace(self.event, body=self.event.body | {"header": header})
        self.decision = self.decision and abridged(self.decision)
        self.deepened = self.deepened and abridged(self.deepened)


@dataclass(slots=True)
class RequestEntry:
    """One place of a decision, whether it may be measured and, once it came, the status of its result."""

    request: MeasurementRequest
    instrument_id: str
    scan_id: str
    decision_id: str
    approved: bool = False
    status: str | None = None


@dataclass(frozen=True)
class InstrumentInfo:
    """What an instrument last said of itself."""

    model: str
    software: str
    limits: Limits
    bias_V: float | None


@dataclass(frozen=True, slots=True)
class MeasuredPoint:
    """A result on a sample, and whose it is."""

    asked: RequestEntry
    result: Result
