"""Delivery of recommendations: when one may be sent, its content after a last safety check, and its acknowledgement."""

from agent.errors import HistoryError
from agent.ledger.entries import POLICY, ScanEntry
from agent.ledger.recorder import Recorder
from agent.safety.approval import Approvals
from agent.safety.envelope import refusals_sentence
from agent.safety.interlock import Interlock
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire

_REASON_MAX = 2000  # characters of a reason on the wire


class Delivery:
    """Delivers the newest decision of each instrument as a recommendation.

    Parameters
    ----------
    recorder
        Records what is sent.
    interlock
        Checks the points once more before each sending.
    approvals
        Records the points that the last check refuses.
    """

    def __init__(self, recorder: Recorder, interlock: Interlock, approvals: Approvals) -> None:
        self._recorder, self._interlock, self._approvals = recorder, interlock, approvals
        self._ledger = recorder.ledger

    def due(self, instrument_id: str) -> ScanEntry | None:
        """The scan whose recommendation may be sent now: decided, approved or rejected, and not acknowledged.

        None while the instrument is paused or stopped.
        """
        entry = self._ledger.unacknowledged(instrument_id)
        running = self._ledger.command_state.state(instrument_id) == "running"
        return entry if entry is not None and entry.approval is not None and running else None

    def message(self, entry: ScanEntry) -> wire.RecommendationMessage:
        """The recommendation on a scan that is `due`; its sequence number is assigned the first time."""
        assert self.due(entry.instrument_id) is entry
        try:
            requests = self._requests(entry)
        except HistoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault with one decision must not end the run
            self._approvals.reject_after_fault(entry, error)
            requests = ()
        decision, approval = entry.decision, entry.approval
        assert decision is not None
        assert approval is not None
        if not entry.recommendation_seq:
            seq = self._ledger.command_state.next_seq(entry.instrument_id)
            self._record(kinds.RECOMMENDATION_READY, entry, seq=seq, requests=[r.request_id for r in requests])
        return wire.RecommendationMessage(
            id=f"rec-{decision.decision_id}",
            sent_at=self._recorder.now(),
            seq=entry.recommendation_seq,
            decision_id=decision.decision_id,
            scan_id=entry.scan_id,
            requests=requests,
            reason=_reason(entry),
            expires_at=self._interlock.expires_at(entry),
            bias_max_V=self._interlock.limits(entry.instrument_id).bias_max_V,
            approved_by=POLICY if entry.void_reason else approval.by,
        )

    def sent(self, entry: ScanEntry) -> None:
        """Record that a recommendation was sent."""
        self._record(kinds.RECOMMENDATION_SENT, entry)

    def on_ack(self, instrument_id: str, of: str | None, refused: str = "") -> None:
        """Record that a recommendation was acknowledged, or refused by the instrument. Idempotent."""
        entry = self._ledger.unacknowledged(instrument_id)
        if entry is None or entry.decision is None or entry.approval is None:
            return
        # What was never sent cannot have arrived: a result for it is recorded as not asked for, and it is sent all the same.
        if of == f"rec-{entry.decision.decision_id}" and entry.sent:
            self._record(kinds.RECOMMENDATION_ACKNOWLEDGED, entry, **({"refused": refused} if refused else {}))

    def _requests(self, entry: ScanEntry) -> tuple[wire.MeasurementRequest, ...]:
        assert entry.approval is not None
        if entry.void_reason or not entry.approval.given:
            return ()
        requests = [
            r for r in entry.approval.requests if r.request_id not in entry.refused and not self._has_result(entry, r.request_id)
        ]
        verdict = self._interlock.verdict(entry, self._interlock.targets(entry, requests))
        self._approvals.record_refused(entry, verdict.refused, "sending")
        return tuple(p.request for p in verdict.passed)

    def _has_result(self, entry: ScanEntry, request_id: str) -> bool:
        return self._ledger.requests[entry.instrument_id, request_id].status is not None

    def _record(self, kind: str, entry: ScanEntry, **facts: object) -> None:
        assert entry.decision is not None
        where = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id}
        self._recorder.record(kind, entry.decision.decision_id, where | facts)


def _reason(entry: ScanEntry) -> str:
    """The explanation of the decision and what happened to its points afterwards, cut to the length that the wire allows."""
    decision, approval = entry.decision, entry.approval
    assert decision is not None
    assert approval is not None
    if entry.void_reason:
        return f"Nothing is measured: {entry.void_reason}."[:_REASON_MAX]
    if not approval.given:
        why = f" ({approval.reason})" if approval.reason else ""
        return f"Nothing is measured: rejected by {approval.by}{why}."[:_REASON_MAX]
    approved = {approval.moved.get(r.request_id, r.request_id) for r in approval.requests}
    dropped = sum(r.request_id not in approved and r.request_id not in entry.refused for r in decision.requests)
    changes = [
        refusals_sentence(list(entry.refused.values()), len(decision.requests)),
        f"{_points(dropped)} dropped by {approval.by}." if dropped else "",
        f"{_points(len(approval.moved))} moved by {approval.by}." if approval.moved else "",
    ]
    after = " ".join(part for part in changes if part)
    return f"{decision.explanation[: _REASON_MAX - len(after) - 1]} {after}" if after else decision.explanation[:_REASON_MAX]


def _points(number: int) -> str:
    return "1 point" if number == 1 else f"{number} points"
