"""Approval of decisions: no point is sent before the history records who approved it.

Points that the safety envelope refuses are left out first. Then the rest is approved automatically ("auto"), waits for an
operator ("review"), or is rejected ("dry-run"). A decision that is superseded by a newer scan can no longer be approved.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import structlog
from pydantic import ValidationError

from agent.config.safety import ApprovalSettings
from agent.errors import ControlError, HistoryError, fault_sentence
from agent.ledger.entries import POLICY, ScanEntry
from agent.ledger.recorder import Recorder
from agent.safety.elapsed_time import ElapsedTime
from agent.safety.envelope import Refusal, Target
from agent.safety.interlock import Interlock
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol.codec import explain
from instrument_adapters.protocol.messages import MeasurementRequest

_LOG = structlog.get_logger("vaestar.agent")
DRY_RUN = "dry run"
NO_EDITS: Mapping[str, Any] = {"dropped": [], "moved": []}
_XY = tuple[float, float]


class Approvals:
    """Approves the points of decisions, automatically or by an operator, as the settings say.

    Parameters
    ----------
    recorder
        Records each approval before it takes effect.
    interlock
        Checks points against the safety envelope.
    settings
        Approval mode and timeout.
    elapsed
        Time since an approval was asked for.
    """

    def __init__(self, recorder: Recorder, interlock: Interlock, settings: ApprovalSettings, elapsed: ElapsedTime) -> None:
        self._recorder, self._interlock, self._settings, self._elapsed = recorder, interlock, settings, elapsed
        self._ledger = recorder.ledger

    def advance(self, instrument_id: str) -> None:
        """Approve, reject or submit for approval the newest decision of an instrument, as the mode says. Idempotent."""
        entry = self._ledger.unacknowledged(instrument_id)
        if entry is None or entry.approval is not None or entry.decision is None:
            return
        try:
            if entry.void_reason:
                self._record_rejection(entry, POLICY, entry.void_reason)
            elif entry.approval_asked_at is None:
                self._apply_mode(entry)
            elif self._timed_out(entry):
                self._record_rejection(entry, POLICY, f"no operator approved it within {self._settings.timeout_s:g} s")
        except HistoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault with one decision must not end the run
            self.reject_after_fault(entry, error)

    def reject_after_fault(self, entry: ScanEntry, fault: Exception) -> None:
        """Reject a decision whose points could not be checked or sent because of a fault in the agent. Idempotent."""
        assert entry.decision is not None
        _LOG.error("a decision could not be approved or sent", decision=entry.decision.decision_id, exc_info=fault)
        if entry.approval is None or entry.approval.given:
            self._record_rejection(entry, POLICY, fault_sentence(fault)[:2000])

    def approve(
        self,
        decision_id: str,
        by: str,
        reason: str,
        drop: Sequence[str],
        move: Mapping[str, _XY],
        instrument_id: str | None = None,
    ) -> str:
        """Approve a decision, without the dropped points and with the moved ones; returns the decision's instrument.

        Raises
        ------
        ControlError
            If the decision does not wait for approval, or an edit is not allowed; nothing is recorded then.
        """
        entry = self._waiting_entry(decision_id, instrument_id)
        assert entry.decision is not None
        offered = {r.request_id: r for r in entry.decision.requests if r.request_id not in entry.refused}
        _check_names(offered, drop, move)
        moved = {f"{name}-m": name for name in move}
        kept = [r for name, r in offered.items() if name not in move and name not in drop]
        targets = self._interlock.targets(entry, kept)
        moved_targets = [self._moved_target(entry, offered[old], new, move[old]) for new, old in moved.items()]
        verdict = self._interlock.verdict(entry, [*targets, *moved_targets])
        if broken := [r for r in verdict.refused if r.request.request_id in moved]:
            where = "; ".join(f"'{moved[r.request.request_id]}': {r.reason}" for r in broken)
            raise ControlError(f"nothing was approved, because these points cannot be moved as requested: {where}")
        self.record_refused(entry, verdict.refused, "approving")
        passed = {moved.get(p.request.request_id, p.request.request_id): p.request for p in verdict.passed}
        requests = [passed[name] for name in offered if name in passed]
        edits = {"dropped": list(drop), "moved": [_moved_as_json(entry, p.request, moved) for p in moved_targets]}
        self._record_approval(entry, by, reason, requests, edits)
        return entry.instrument_id

    def objections(self, decision_id: str, drop: Sequence[str], move: Mapping[str, _XY]) -> dict[str, str]:
        """Points that would be refused if the decision were approved with these edits: request id -> reason. Records nothing.

        Raises
        ------
        ControlError
            If the decision does not wait for approval, or a request id is unknown.
        """
        entry = self._waiting_entry(decision_id, None)
        assert entry.decision is not None
        offered = {r.request_id: r for r in entry.decision.requests if r.request_id not in entry.refused}
        _check_names(offered, drop, move)
        kept = [r for name, r in offered.items() if name not in move and name not in drop]
        moved_targets = [self._moved_target(entry, offered[name], f"{name}-m", xy) for name, xy in move.items()]
        verdict = self._interlock.verdict(entry, [*self._interlock.targets(entry, kept), *moved_targets])
        names = {f"{name}-m": name for name in move}
        return {names.get(r.request.request_id, r.request.request_id): r.reason for r in verdict.refused}

    def reject(self, decision_id: str, by: str, reason: str, instrument_id: str | None = None) -> str:
        """Reject a decision; returns the decision's instrument.

        Raises
        ------
        ControlError
            If the decision does not wait for approval.
        """
        entry = self._waiting_entry(decision_id, instrument_id)
        self._record_rejection(entry, by, reason)
        return entry.instrument_id

    def record_refused(self, entry: ScanEntry, refused: Sequence[Refusal], when: str) -> None:
        """Record the points that must not be measured, with the reasons; each point is recorded once."""
        fresh = [r for r in refused if r.request.request_id not in entry.refused]
        if fresh:
            listed = [
                {
                    "request_id": r.request.request_id,
                    "x_m": r.request.x_m,
                    "y_m": r.request.y_m,
                    "rule": r.rule,
                    "reason": r.reason,
                }
                for r in fresh
            ]
            self._record(kinds.REQUESTS_REFUSED, entry, {"when": when, "refused": listed})

    def pending(self) -> list[dict[str, Any]]:
        """Decisions that wait for an operator, as plain JSON."""
        waiting = [self._ledger.waiting(name) for name in sorted(self._ledger.instruments)]
        return [_as_json(entry) for entry in waiting if entry is not None]

    def _apply_mode(self, entry: ScanEntry) -> None:
        assert entry.decision is not None
        verdict = self._interlock.verdict(entry, self._interlock.targets(entry, entry.decision.requests))
        self.record_refused(entry, verdict.refused, "deciding")
        requests = [p.request for p in verdict.passed]
        if self._settings.mode == "dry-run" and requests:
            self._record_rejection(entry, POLICY, f"{DRY_RUN}, {len(requests)} points would have been sent")
        elif self._settings.mode == "review" and requests:
            self._record(kinds.APPROVAL_ASKED, entry, {"points": len(requests), "refused": len(verdict.refused)})
        else:
            self._record_approval(entry, POLICY, "within all limits" if requests else "nothing to measure", requests)

    def waiting_s(self, entry: ScanEntry) -> float | None:
        """Seconds for which a decision has waited for an operator; None if none was asked."""
        return None if entry.approval_asked_at is None else round(self._elapsed.since_asked(entry), 1)

    def _timed_out(self, entry: ScanEntry) -> bool:
        timeout_s = self._settings.timeout_s
        return timeout_s is not None and self._elapsed.since_asked(entry) >= timeout_s

    def _record_approval(
        self,
        entry: ScanEntry,
        by: str,
        reason: str,
        requests: Sequence[MeasurementRequest],
        edits: Mapping[str, Any] = NO_EDITS,
    ) -> None:
        listed = [r.model_dump(mode="json") for r in requests]
        self._record(kinds.APPROVAL_GIVEN, entry, {"by": by, "reason": reason, "requests": listed, **edits})

    def _record_rejection(self, entry: ScanEntry, by: str, reason: str) -> None:
        self._record(kinds.APPROVAL_REJECTED, entry, {"by": by, "reason": reason})

    def _record(self, kind: str, entry: ScanEntry, body: Mapping[str, Any]) -> None:
        assert entry.decision is not None
        where = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id}
        self._recorder.record(kind, entry.decision.decision_id, where | dict(body))

    def _waiting_entry(self, decision_id: str, instrument_id: str | None) -> ScanEntry:
        """The entry whose decision waits for an operator."""
        named = [instrument_id] if instrument_id is not None else list(self._ledger.owners())
        entries = [e for name in named if (e := self._ledger.waiting(name)) is not None]
        waiting = [e for e in entries if e.decision is not None and e.decision.decision_id == decision_id]
        if len(waiting) == 1:
            return waiting[0]
        if len(waiting) > 1:
            names = ", ".join(e.instrument_id for e in waiting)
            raise ControlError(f"decision '{decision_id}' waits for approval at several instruments ({names}); name one of them")
        made = [
            e
            for e in self._ledger.scans.values()
            if e.decided and e.decided.decision_id == decision_id and instrument_id in (None, e.instrument_id)
        ]
        if not made:
            raise ControlError(
                f"there is no decision '{decision_id}' in this run; `vaestar pending` lists the decisions that wait for approval"
            )
        raise ControlError(f"decision '{decision_id}' does not wait for approval: {self._why_closed(made[-1])}")

    def _why_closed(self, entry: ScanEntry) -> str:
        if entry.approval is not None:
            verb = "approved" if entry.approval.given else "rejected"
            return f"it was {verb} by {entry.approval.by}"
        if self._ledger.latest(entry.instrument_id) is not entry:
            return "it was superseded by a newer scan of the instrument"
        return entry.void_reason or "it has not been submitted for approval"

    def _moved_target(self, entry: ScanEntry, request: MeasurementRequest, name: str, xy_m: _XY) -> Target:
        assert entry.decision is not None
        if not all(math.isfinite(value) for value in xy_m):
            raise ControlError(f"'{request.request_id}' cannot be moved to {xy_m}: give two finite numbers in metres")
        frame = entry.decision.frame
        correction = Target.of(request, frame, entry.decision.shown_rc(request)).correction_m
        shown = np.array([[xy_m[0] - correction[0], xy_m[1] - correction[1]]])
        # The pixel is a label only: the envelope checks the exact position, even outside the scan.
        row, col = (int(v) for v in np.clip(np.rint(frame.to_pixels(shown)[0]), 0, [frame.rows - 1, frame.cols - 1]))
        changes = {"request_id": name, "x_m": float(xy_m[0]), "y_m": float(xy_m[1]), "row": row, "col": col}
        try:
            return Target(MeasurementRequest.model_validate(request.model_dump() | changes), correction)
        except ValidationError as error:
            raise ControlError(f"'{request.request_id}' cannot be moved: {explain(error)}") from error


def _check_names(offered: Mapping[str, MeasurementRequest], drop: Sequence[str], move: Mapping[str, _XY]) -> None:
    unknown = [name for name in (*drop, *move) if name not in offered]
    if unknown:
        raise ControlError(f"'{unknown[0]}' is not among the points that wait for approval: {', '.join(offered) or 'none'}")
    both = [name for name in drop if name in move]
    if both:
        raise ControlError(f"'{both[0]}' cannot be both dropped and moved; choose one")


def _moved_as_json(entry: ScanEntry, request: MeasurementRequest, moved: Mapping[str, str]) -> dict[str, Any]:
    """Record of a moved point, which has a new request id because its position is new."""
    assert entry.decision is not None
    origin = next(r for r in entry.decision.requests if r.request_id == moved[request.request_id])
    before = {"moved_from": origin.request_id, "from_x_m": origin.x_m, "from_y_m": origin.y_m}
    return {"request_id": request.request_id, "x_m": request.x_m, "y_m": request.y_m, **before}


def _as_json(entry: ScanEntry) -> dict[str, Any]:
    assert entry.decision is not None
    assert entry.approval_asked_at is not None
    return {
        "decision_id": entry.decision.decision_id,
        "instrument_id": entry.instrument_id,
        "scan_id": entry.scan_id,
        "sample_id": entry.sample_id,
        "asked_at": entry.approval_asked_at.isoformat(),
        "explanation": entry.decision.explanation,
        "requests": [r.model_dump(mode="json") for r in entry.decision.requests if r.request_id not in entry.refused],
        "refused": dict(entry.refused),
    }
