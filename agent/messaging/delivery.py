"""Recommendations as they go out: when they may, what stands in them after one last check, and what has been acknowledged."""

from agent.ledger.entries import POLICY, ScanEntry
from agent.ledger.recorder import Recorder
from agent.safety.approval import Approvals
from agent.safety.envelope import left_out
from agent.safety.interlock import Interlock
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire

_LONGEST = 2000  # characters that a reason may have on the wire


class Recommendations:
    """The newest decision of each instrument, on its way there.

    Parameters
    ----------
    recorder
        Writes down what goes out.
    safeguard
        Checks it once more.
    approvals
        Writes down what it leaves out.
    """

    def __init__(self, recorder: Recorder, safeguard: Interlock, approvals: Approvals) -> None:
        self._recorder, self._safeguard, self._approvals = recorder, safeguard, approvals
        self._ledger = recorder.ledger

    def due(self, instrument_id: str) -> ScanEntry | None:
        """The scan of which an instrument may be sent the recommendation now: decided, let pass or rejected, not acknowledged.

        None while it is paused or stopped.
        """
        entry = self._ledger.unacknowledged(instrument_id)
        running = self._ledger.standing.state(instrument_id) == "running"
        return entry if entry is not None and entry.approval is not None and running else None

    def message(self, entry: ScanEntry) -> wire.RecommendationMessage:
        """What goes out on a scan that is `due`; at the first time it gets its number."""
        decision, approval = entry.decision, entry.approval
        assert decision is not None
        assert approval is not None
        assert self.due(entry.instrument_id) is entry
        requests = self._requests(entry)
        if not entry.number:
            seq = self._ledger.standing.next_number(entry.instrument_id)
            self._record(kinds.RECOMMENDATION_READY, entry, seq=seq, requests=[r.request_id for r in requests])
        return wire.RecommendationMessage(
            id=f"rec-{decision.decision_id}",
            sent_at=self._recorder.now(),
            seq=entry.number,
            decision_id=decision.decision_id,
            scan_id=entry.scan_id,
            requests=requests,
            reason=_reason(entry),
            expires_at=self._safeguard.expires_at(entry),
            bias_max_V=self._safeguard.limits(entry.instrument_id).bias_max_V,
            approved_by=POLICY if entry.void else approval.by,
        )

    def sent(self, entry: ScanEntry) -> None:
        """Record that a recommendation has gone out."""
        self._record(kinds.RECOMMENDATION_SENT, entry)

    def answered(self, instrument_id: str, of: str | None, refused: str = "") -> None:
        """Record that a recommendation need not be repeated; late or repeated answers change nothing."""
        entry = self._ledger.unacknowledged(instrument_id)
        if entry is None or entry.decision is None or entry.approval is None:
            return
        if of == f"rec-{entry.decision.decision_id}":
            self._record(kinds.RECOMMENDATION_ACKNOWLEDGED, entry, **({"refused": refused} if refused else {}))

    def _requests(self, entry: ScanEntry) -> tuple[wire.MeasurementRequest, ...]:
        assert entry.approval is not None
        if entry.void or not entry.approval.given:
            return ()
        left = [r for r in entry.approval.requests if r.request_id not in entry.refused]
        verdict = self._safeguard.verdict(entry, self._safeguard.places(entry, left))
        self._approvals.leave_out(entry, verdict.refused, "sending")
        return tuple(p.request for p in verdict.passed)

    def _record(self, kind: str, entry: ScanEntry, **facts: object) -> None:
        assert entry.decision is not None
        where = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id}
        self._recorder.record(kind, entry.decision.decision_id, where | facts)


def _reason(entry: ScanEntry) -> str:
    """The explanation, as far as there is room for it beside what happened to the points afterwards."""
    decision, approval = entry.decision, entry.approval
    assert decision is not None
    assert approval is not None
    if entry.void:
        return f"Nothing is measured: {entry.void}."[:_LONGEST]
    if not approval.given:
        return f"Nothing is measured: rejected by {approval.by}, {approval.reason}."[:_LONGEST]
    passed = {approval.moved.get(r.request_id, r.request_id) for r in approval.requests}
    dropped = sum(r.request_id not in passed and r.request_id not in entry.refused for r in decision.requests)
    said = [
        left_out(list(entry.refused.values()), len(decision.requests)),
        f"{approval.by} left out {dropped} points." if dropped else "",
        f"{approval.by} moved {len(approval.moved)} points." if approval.moved else "",
    ]
    after = " ".join(part for part in said if part)
    return f"{decision.explanation[: _LONGEST - len(after) - 1]} {after}" if after else decision.explanation[:_LONGEST]
