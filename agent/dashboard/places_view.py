"""The points of a decision with their states, and the loops measured there."""

from collections.abc import Mapping

import numpy as np

from agent.dashboard.models import LoopsView, LoopView, PlacesView, PlaceView
from agent.dashboard.run_follower import FollowedDecision
from agent.history.event_log import Event, History
from agent.ledger.entries import POLICY
from agent.ledger.ledger import Ledger
from agent.schema.wording import result_remark
from instrument_adapters.protocol.messages import MeasurementRequest

_LOOP_ARRAYS = ("bias_V", "response")
_SIGNIFICANT_DIGITS = 6


def places_view(decision: FollowedDecision, ledger: Ledger, measuring: str | None = None) -> PlacesView:
    """Return the points of a decision with their states.

    Parameters
    ----------
    decision
        Decision in its present state.
    ledger
        Ledger of the run.
    measuring
        Id of the request that the instrument is measuring, if known.
    """
    newest = decision.current and ledger.latest(decision.instrument_id) is decision.entry
    waiting = newest and ledger.waiting(decision.instrument_id) is decision.entry
    state = _state(decision, waiting, newest)
    return PlacesView(
        decision_id=decision.event.subject,
        open=waiting,
        newest=newest,
        state=state,
        approval=_approval(decision),
        places=[_place(i, r, decision, state, measuring) for i, r in enumerate(decision.record.requests, start=1)],
    )


def loops_view(decision: FollowedDecision, results: Mapping[str, Event], history: History) -> LoopsView:
    """Return the measured loops, read from the array store, in the order of arrival."""
    numbers = {r.request_id: (i, r.cluster) for i, r in enumerate(decision.record.requests, start=1)}
    loops = []
    for request_id, event in results.items():
        if event.body["status"] == "ok" and all(name in event.arrays for name in _LOOP_ARRAYS):
            bias, response = (history.arrays.get(event.arrays[name]) for name in _LOOP_ARRAYS)
            number, cluster = numbers[request_id]
            curves = {"bias_V": _as_list(bias), "response": _as_list(response)}
            loops.append(LoopView(request_id=request_id, number=number, cluster=cluster, **curves))
    return LoopsView(decision_id=decision.event.subject, response_label=_response_label(results), loops=loops)


def _state(decision: FollowedDecision, waiting: bool, newest: bool) -> str:
    """Return the state of the decision's points as a whole."""
    approval = decision.approval
    approved = [] if approval is None else approval.requests
    if not decision.record.requests:
        return "nothing to measure"
    if waiting:
        return "waiting for approval"
    if approval is not None and not approval.given:
        return "rejected"
    if decision.void_reason:
        return "cancelled"
    if decision.refused_by_instrument:
        return "refused by the instrument"
    if approval is not None and len(decision.results) >= len(approved):
        return "measured"
    if not newest:
        return "superseded"
    if decision.entry.acknowledged:
        return "measuring"
    return "sent" if decision.sent else "to be sent"


def _place(number: int, request: MeasurementRequest, decision: FollowedDecision, state: str, measuring: str | None) -> PlaceView:
    approved = _approved_request(request, decision)
    result = decision.results.get(request.request_id)
    place_state, reason = _place_state(request.request_id, approved, decision, state, measuring)
    shown = approved or request
    row, col = decision.record.analysed_rc(request)
    return PlaceView(
        request_id=request.request_id,
        number=number,
        cluster=request.cluster,
        row=row,
        col=col,
        x_m=shown.x_m,
        y_m=shown.y_m,
        state=place_state,
        reason=reason,
        parameters=dict(result.body.get("parameters", {})) if result is not None else {},
    )


def _approved_request(request: MeasurementRequest, decision: FollowedDecision) -> MeasurementRequest | None:
    """Return the request as approved, possibly moved; None if it was not approved."""
    approval = decision.approval
    if approval is None:
        return None
    return next((r for r in approval.requests if approval.moved.get(r.request_id, r.request_id) == request.request_id), None)


def _place_state(
    request_id: str, approved: MeasurementRequest | None, decision: FollowedDecision, state: str, measuring: str | None
) -> tuple[str, str]:
    result = decision.results.get(request_id)
    if result is not None:
        return str(result.body["status"]), result_remark(result.body)
    if request_id in decision.refusals:
        return "not allowed", decision.refusals[request_id]
    if decision.approval is not None and decision.approval.given and approved is None:
        return "dropped", ""
    if state == "measuring":
        under_way = measuring is not None and approved is not None and approved.request_id == measuring
        return ("measuring" if under_way else "sent"), ""
    return {"waiting for approval": "waiting", "sent": "sent", "to be sent": "sent"}.get(state, "not measured"), ""


def _approval(decision: FollowedDecision) -> str:
    """Return who approved or rejected the decision, and why."""
    approval = decision.approval
    if approval is None or (approval.by == POLICY and approval.given):
        return decision.void_reason
    verb = "approved" if approval.given else "rejected"
    return f"{verb} by {approval.by}" + (f": {approval.reason}" if approval.reason else "")


def _response_label(results: Mapping[str, Event]) -> str:
    """Return the label of the response axis; in pm if the results have parameters in pm."""
    names = {name for e in results.values() for name in e.body.get("parameters", {})}
    return "response (pm)" if any(name.endswith("_pm") for name in names) else "response"


def _as_list(values: np.ndarray) -> list[float]:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return [float(f"{v:.{_SIGNIFICANT_DIGITS}g}") if np.isfinite(v) else 0.0 for v in flat]
