"""What has become of a decision's places, and the loops that were measured there."""

from collections.abc import Mapping

import numpy as np

from agent.dashboard.models import LoopsView, LoopView, PlacesView, PlaceView
from agent.dashboard.run_follower import DecisionStory
from agent.history.event_log import Event, History
from agent.ledger.entries import POLICY
from agent.ledger.ledger import Ledger
from instrument_adapters.protocol.messages import MeasurementRequest

_LOOP = ("bias_V", "response")
_SIGNIFICANT = 6


def places_view(told: DecisionStory, ledger: Ledger, measuring: str | None = None) -> PlacesView:
    """Each place with its state.

    Parameters
    ----------
    told
        The decision, as far as the history tells.
    ledger
        Of the run.
    measuring
        The request under way at the instrument, if that is known.
    """
    newest = told.current and ledger.latest(told.instrument_id) is told.entry
    waiting = newest and ledger.waiting(told.instrument_id) is told.entry
    state = _state(told, waiting, newest)
    return PlacesView(
        decision_id=told.event.subject,
        open=waiting,
        newest=newest,
        state=state,
        approval=_approval(told),
        places=[_place(i, r, told, state, measuring) for i, r in enumerate(told.record.requests, start=1)],
    )


def loops_view(told: DecisionStory, results: Mapping[str, Event], history: History) -> LoopsView:
    """The loops, read from the array store, in the order in which they came."""
    numbers = {r.request_id: (i, r.cluster) for i, r in enumerate(told.record.requests, start=1)}
    loops = []
    for request_id, event in results.items():
        if event.body["status"] == "ok" and all(name in event.arrays for name in _LOOP):
            bias, response = (history.arrays.get(event.arrays[name]) for name in _LOOP)
            number, cluster = numbers[request_id]
            loops.append(
                LoopView(request_id=request_id, number=number, cluster=cluster, bias_V=_plain(bias), response=_plain(response))
            )
    return LoopsView(decision_id=told.event.subject, response_label=_response_label(results), loops=loops)


def _state(told: DecisionStory, waiting: bool, newest: bool) -> str:
    """In a word or two, what the places are about."""
    approval = told.approval
    asked = [] if approval is None else approval.requests
    if not told.record.requests:
        return "nothing to measure"
    if waiting:
        return "waiting for approval"
    if approval is not None and not approval.given:
        return "rejected"
    if told.void:
        return "given up"
    if told.refused_by_instrument:
        return "refused by the instrument"
    if approval is not None and len(told.results) >= len(asked):
        return "measured"
    if not newest:
        return "replaced by a newer scan"
    if told.entry.acknowledged:
        return "measuring"
    return "sent" if told.sent else "to be sent"


def _place(number: int, request: MeasurementRequest, told: DecisionStory, state: str, measuring: str | None) -> PlaceView:
    now = _now(request, told)
    result = told.results.get(request.request_id)
    place_state, reason = _state_of(request.request_id, now, told, state, measuring)
    shown = now or request
    return PlaceView(
        request_id=request.request_id,
        number=number,
        cluster=request.cluster,
        rank=request.rank,
        row=request.row,
        col=request.col,
        x_m=shown.x_m,
        y_m=shown.y_m,
        x_asked_m=request.x_m,
        y_asked_m=request.y_m,
        state=place_state,
        reason=reason,
        parameters=dict(result.body.get("parameters", {})) if result is not None else {},
        core_distance=request.core_distance,
    )


def _now(request: MeasurementRequest, told: DecisionStory) -> MeasurementRequest | None:
    """The request as it was let pass, moved perhaps; None where it was not."""
    approval = told.approval
    if approval is None:
        return None
    return next((r for r in approval.requests if approval.moved.get(r.request_id, r.request_id) == request.request_id), None)


def _state_of(
    name: str, now: MeasurementRequest | None, told: DecisionStory, state: str, measuring: str | None
) -> tuple[str, str]:
    result = told.results.get(name)
    if result is not None:
        return str(result.body["status"]), str(result.body.get("reason", ""))
    if name in told.rules:
        return "not allowed", told.rules[name]
    if told.approval is not None and told.approval.given and now is None:
        return "dropped", ""
    if state == "measuring":
        under_way = measuring is not None and now is not None and now.request_id == measuring
        return ("measuring" if under_way else "sent"), ""
    return {"waiting for approval": "waiting", "sent": "sent", "to be sent": "sent"}.get(state, "not measured"), ""


def _approval(told: DecisionStory) -> str:
    """Who said yes or no, and why."""
    approval = told.approval
    if approval is None or (approval.by == POLICY and approval.given):
        return told.void
    word = "approved" if approval.given else "rejected"
    return f"{word} by {approval.by}" + (f": {approval.reason}" if approval.reason else "")


def _response_label(results: Mapping[str, Event]) -> str:
    """The unit that the numbers drawn from the loops are in."""
    names = {name for e in results.values() for name in e.body.get("parameters", {})}
    return "response (pm)" if any(name.endswith("_pm") for name in names) else "response"


def _plain(values: np.ndarray) -> list[float]:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return [float(f"{v:.{_SIGNIFICANT}g}") if np.isfinite(v) else 0.0 for v in flat]
