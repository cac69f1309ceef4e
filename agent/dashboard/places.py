"""What has become of a decision's places, and the loops that were measured there."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from agent.dashboard.models import LoopsView, LoopView, PlacesView, PlaceView
from agent.dashboard.story import DecisionStory, InstrumentStory
from agent.history import Event, History
from instrument_adapters.messages import MeasurementRequest

_LOOP = ("bias_V", "response")
_SIGNIFICANT = 6


def places_view(told: DecisionStory, instrument: InstrumentStory, measuring: str | None = None, waiting: bool = False) -> PlacesView:
    """Each place with its state.

    Parameters
    ----------
    told, instrument
        The decision and its instrument, as far as the history tells.
    waiting
        Whether it waits for a person.
    measuring
        The request under way at the instrument, if that is known.
    """
    newest = bool(instrument.decisions) and instrument.decisions[-1] == told.event.subject
    state = _state(told, waiting, newest)
    return PlacesView(
        decision_id=told.event.subject,
        open=waiting and newest,
        newest=newest,
        state=state,
        approval=_approval(told.approval),
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
    if not told.record.requests:
        return "nothing to measure"
    if told.approval is not None and told.approval.kind.endswith("rejected"):
        return "rejected"
    if waiting and newest:
        return "waiting for approval"
    if told.refused:
        return "refused by the instrument"
    if len(told.results) >= len(told.record.requests) - len(told.dropped):
        return "measured"
    if not newest:
        return "replaced by a newer scan"
    if told.acknowledged:
        return "measuring"
    return "sent" if told.sent else "to be sent"


def _place(
    number: int, request: MeasurementRequest, told: DecisionStory, state: str, measuring: str | None
) -> PlaceView:
    result = told.results.get(request.request_id)
    x, y = told.moved.get(request.request_id, (request.x_m, request.y_m))
    place_state, reason = _state_of(request.request_id, result, told, state, measuring)
    return PlaceView(
        request_id=request.request_id,
        number=number,
        cluster=request.cluster,
        rank=request.rank,
        row=request.row,
        col=request.col,
        x_m=x,
        y_m=y,
        x_asked_m=request.x_m,
        y_asked_m=request.y_m,
        state=place_state,
        reason=reason,
        parameters=dict(result.body.get("parameters", {})) if result is not None else {},
        core_distance=request.core_distance,
    )


def _state_of(
    request_id: str, result: Event | None, told: DecisionStory, state: str, measuring: str | None
) -> tuple[str, str]:
    if result is not None:
        return str(result.body["status"]), str(result.body.get("reason", ""))
    if request_id in told.dropped:
        return "dropped", "dropped by a person"
    if state == "measuring":
        return ("measuring" if request_id == measuring else "sent"), ""
    return {"waiting for approval": "waiting", "sent": "sent", "to be sent": "sent"}.get(state, "not measured"), ""


def _approval(event: Event | None) -> str:
    if event is None:
        return ""
    body: Mapping[str, Any] = event.body
    word = event.kind.removeprefix("approval_").replace("_", " ")
    by, reason = body.get("by", ""), body.get("reason", "")
    return f"{word} by {by}" + (f": {reason}" if reason else "")


def _response_label(results: Mapping[str, Event]) -> str:
    """The unit that the numbers drawn from the loops are in."""
    names = {name for e in results.values() for name in e.body.get("parameters", {})}
    return "response (pm)" if any(name.endswith("_pm") for name in names) else "response"


def _plain(values: np.ndarray) -> list[float]:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return [float(f"{v:.{_SIGNIFICANT}g}") if np.isfinite(v) else 0.0 for v in flat]
