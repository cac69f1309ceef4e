"""The approval gate: no point of a decision is ever sent before the history says who let it pass.

What the safety envelope refuses is left out first. Then policy lets the rest pass ("auto"), a person is asked ("review"), or
nothing is sent ("dry-run"). A decision that a newer scan has replaced is not sent, whoever approves it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from agent.config.safety import ApprovalSettings
from agent.errors import ControlError
from agent.ledger.entries import POLICY, ScanEntry
from agent.ledger.recorder import Recorder
from agent.safety.envelope import Refusal, Target
from agent.safety.interlock import Interlock
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol.codec import explain
from instrument_adapters.protocol.messages import MeasurementRequest

DRY_RUN = "dry run"
NO_EDITS: Mapping[str, Any] = {"dropped": [], "moved": []}
_XY = tuple[float, float]


class Approvals:
    """Decides, or has decided, which points of each decision may be sent.

    Parameters
    ----------
    recorder
        Writes down what was decided, before it takes effect.
    safeguard
        Says what must not be measured.
    settings
        Who decides.
    """

    def __init__(self, recorder: Recorder, safeguard: Interlock, settings: ApprovalSettings) -> None:
        self._recorder, self._safeguard, self._settings = recorder, safeguard, settings
        self._ledger = recorder.ledger

    def settle(self, instrument_id: str) -> None:
        """Bring the newest decision of an instrument as far as it goes without a person; doing so again changes nothing."""
        entry = self._ledger.unacknowledged(instrument_id)
        if entry is None or entry.approval is not None or entry.decision is None:
            return
        if entry.void:
            self._reject(entry, POLICY, entry.void)
        elif entry.asked_at is None:
            self._ready(entry)
        elif self._too_late(entry):
            self._reject(entry, POLICY, f"nobody answered within {self._settings.timeout_s:g} s")

    def approve(
        self,
        decision_id: str,
        by: str,
        reason: str,
        drop: Sequence[str],
        move: Mapping[str, _XY],
        instrument_id: str | None = None,
    ) -> str:
        """The instrument whose decision has been let pass, without what is dropped and with what is moved.

        Raises
        ------
        ControlError
            If it does not wait for approval any more, or a point cannot be moved there; nothing was recorded then.
        """
        entry = self._open(decision_id, instrument_id)
        assert entry.decision is not None
        offered = {r.request_id: r for r in entry.decision.requests if r.request_id not in entry.refused}
        _check_names(offered, drop, move)
        moved = {f"{name}-m": name for name in move}
        kept = [r for name, r in offered.items() if name not in move and name not in drop]
        places = self._safeguard.places(entry, kept)
        shifted = [self._shifted(entry, offered[old], new, move[old]) for new, old in moved.items()]
        verdict = self._safeguard.verdict(entry, [*places, *shifted])
        if broken := [r for r in verdict.refused if r.request.request_id in moved]:
            where = "; ".join(f"'{moved[r.request.request_id]}': {r.reason}" for r in broken)
            raise ControlError(f"nothing was approved, since a point cannot be moved there: {where}")
        self.leave_out(entry, verdict.refused, "approving")
        passed = {moved.get(p.request.request_id, p.request.request_id): p.request for p in verdict.passed}
        requests = [passed[name] for name in offered if name in passed]
        edits = {"dropped": list(drop), "moved": [_edit(entry, p.request, moved) for p in shifted]}
        self._give(entry, by, reason, requests, edits)
        return entry.instrument_id

    def objections(self, decision_id: str, drop: Sequence[str], move: Mapping[str, _XY]) -> dict[str, str]:
        """Request id -> why it would be refused if the decision were approved with these edits; nothing is recorded.

        Raises
        ------
        ControlError
            If it does not wait for approval any more, or an id is unknown.
        """
        entry = self._open(decision_id, None)
        assert entry.decision is not None
        offered = {r.request_id: r for r in entry.decision.requests if r.request_id not in entry.refused}
        _check_names(offered, drop, move)
        kept = [r for name, r in offered.items() if name not in move and name not in drop]
        shifted = [self._shifted(entry, offered[name], f"{name}-m", xy) for name, xy in move.items()]
        verdict = self._safeguard.verdict(entry, [*self._safeguard.places(entry, kept), *shifted])
        names = {f"{name}-m": name for name in move}
        return {names.get(r.request.request_id, r.request.request_id): r.reason for r in verdict.refused}

    def reject(self, decision_id: str, by: str, reason: str, instrument_id: str | None = None) -> str:
        """The instrument whose decision is not measured.

        Raises
        ------
        ControlError
            If it does not wait for approval any more.
        """
        entry = self._open(decision_id, instrument_id)
        self._reject(entry, by, reason)
        return entry.instrument_id

    def leave_out(self, entry: ScanEntry, refused: Sequence[Refusal], when: str) -> None:
        """Record what must not be measured, and why; what has been recorded before is not again."""
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
        """What waits for a person, as plain JSON."""
        waiting = [self._ledger.waiting(name) for name in sorted(self._ledger.told)]
        return [_shown(entry) for entry in waiting if entry is not None]

    def _ready(self, entry: ScanEntry) -> None:
        assert entry.decision is not None
        verdict = self._safeguard.verdict(entry, self._safeguard.places(entry, entry.decision.requests))
        self.leave_out(entry, verdict.refused, "deciding")
        requests = [p.request for p in verdict.passed]
        if self._settings.mode == "dry-run" and requests:
            self._reject(entry, POLICY, f"{DRY_RUN}: {len(requests)} points would have been sent")
        elif self._settings.mode == "review" and requests:
            self._record(kinds.APPROVAL_ASKED, entry, {"points": len(requests), "refused": len(verdict.refused)})
        else:
            self._give(entry, POLICY, "inside all limits" if requests else "nothing to measure", requests)

    def _too_late(self, entry: ScanEntry) -> bool:
        timeout_s = self._settings.timeout_s
        if timeout_s is None or entry.asked_at is None:
            return False
        return (self._recorder.now() - entry.asked_at).total_seconds() >= timeout_s

    def _give(
        self,
        entry: ScanEntry,
        by: str,
        reason: str,
        requests: Sequence[MeasurementRequest],
        edits: Mapping[str, Any] = NO_EDITS,
    ) -> None:
        listed = [r.model_dump(mode="json") for r in requests]
        self._record(kinds.APPROVAL_GIVEN, entry, {"by": by, "reason": reason, "requests": listed, **edits})

    def _reject(self, entry: ScanEntry, by: str, reason: str) -> None:
        self._record(kinds.APPROVAL_REJECTED, entry, {"by": by, "reason": reason})

    def _record(self, kind: str, entry: ScanEntry, body: Mapping[str, Any]) -> None:
        assert entry.decision is not None
        where = {"instrument_id": entry.instrument_id, "scan_id": entry.scan_id}
        self._recorder.record(kind, entry.decision.decision_id, where | dict(body))

    def _open(self, decision_id: str, instrument_id: str | None) -> ScanEntry:
        """The decision that waits for a person."""
        made = [
            e
            for e in self._ledger.scans.values()
            if e.decision and e.decision.decision_id == decision_id and instrument_id in (None, e.instrument_id)
        ]
        waiting = [e for e in made if self._ledger.waiting(e.instrument_id) is e]
        if len(waiting) == 1:
            return waiting[0]
        if len(waiting) > 1:
            names = ", ".join(e.instrument_id for e in waiting)
            raise ControlError(f"decision '{decision_id}' waits at several instruments ({names}); name one of them")
        if not made:
            raise ControlError(f"there is no decision '{decision_id}' in this run; `vaestar pending` lists what waits")
        raise ControlError(f"decision '{decision_id}' does not wait for approval: {self._why_closed(made[-1])}")

    def _why_closed(self, entry: ScanEntry) -> str:
        if entry.approval is not None:
            word = "approved" if entry.approval.given else "rejected"
            return f"it was {word} by {entry.approval.by}"
        if self._ledger.latest(entry.instrument_id) is not entry:
            return "a newer scan of the instrument has replaced it"
        return entry.void or "nobody was asked"

    def _shifted(self, entry: ScanEntry, request: MeasurementRequest, name: str, xy_m: _XY) -> Target:
        assert entry.decision is not None
        if not all(math.isfinite(value) for value in xy_m):
            raise ControlError(f"'{request.request_id}' cannot be moved to {xy_m}: give two finite numbers in metres")
        frame, correction = entry.decision.frame, Target.of(request, entry.decision.frame).correction_m
        shown = np.array([[xy_m[0] - correction[0], xy_m[1] - correction[1]]])
        # A label only: the envelope looks at the exact place, also where there is no pixel.
        row, col = (int(v) for v in np.clip(np.rint(frame.to_pixels(shown)[0]), 0, [frame.rows - 1, frame.cols - 1]))
        changes = {"request_id": name, "x_m": float(xy_m[0]), "y_m": float(xy_m[1]), "row": row, "col": col}
        try:
            return Target(MeasurementRequest.model_validate(request.model_dump() | changes), correction)
        except ValidationError as error:
            raise ControlError(f"'{request.request_id}' cannot be moved: {explain(error)}") from error


def _check_names(offered: Mapping[str, MeasurementRequest], drop: Sequence[str], move: Mapping[str, _XY]) -> None:
    unknown = [name for name in (*drop, *move) if name not in offered]
    if unknown:
        raise ControlError(
            f"'{unknown[0]}' is not among the points that wait for approval; these are {', '.join(offered) or 'none'}"
        )
    both = [name for name in drop if name in move]
    if both:
        raise ControlError(f"'{both[0]}' cannot be dropped and moved; say one of them")


def _edit(entry: ScanEntry, request: MeasurementRequest, moved: Mapping[str, str]) -> dict[str, Any]:
    """What of a moved point is recorded: it has a new id, since its place is another one."""
    assert entry.decision is not None
    origin = next(r for r in entry.decision.requests if r.request_id == moved[request.request_id])
    before = {"moved_from": origin.request_id, "from_x_m": origin.x_m, "from_y_m": origin.y_m}
    return {"request_id": request.request_id, "x_m": request.x_m, "y_m": request.y_m, **before}


def _shown(entry: ScanEntry) -> dict[str, Any]:
    assert entry.decision is not None
    assert entry.asked_at is not None
    return {
        "decision_id": entry.decision.decision_id,
        "instrument_id": entry.instrument_id,
        "scan_id": entry.scan_id,
        "sample_id": entry.sample_id,
        "asked_at": entry.asked_at.isoformat(),
        "explanation": entry.decision.explanation,
        "requests": [r.model_dump(mode="json") for r in entry.decision.requests if r.request_id not in entry.refused],
        "refused": dict(entry.refused),
    }
