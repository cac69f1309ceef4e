"""The client's safety envelope: the last checks of a point before the tip is sent there. Pure: no clock, no disk.

Each rule refuses a point with one sentence that names the value and the limit; nothing is ever clamped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from instrument_adapters.errors import LimitError
from instrument_adapters.instrument import check_request
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, RecommendationMessage
from instrument_adapters.spool.client_state import BegunPoint, LatestScan

_ROUNDING = 1e-6  # two points planned at exactly the minimum spacing are not "too close"
_NOT_MEASURED = "; the point was not measured"


@dataclass(frozen=True)
class PointContext:
    """State against which a point is checked.

    Parameters
    ----------
    limits
        Limits of the instrument.
    plan
        Recommendation that the point belongs to.
    plan_seq
        Sequence number of the newest recommendation.
    latest
        Newest scan.
    begun
        Request id -> point, for all points that the tip was ever sent to.
    samples
        Scan id -> sample id.
    now
        Time by the instrument's clock.
    scan_age_s
        Seconds since the newest scan was returned, by the monotonic clock; 0 if an earlier process recorded it.
    earliest_now
        Time of receipt of the recommendation by the instrument's clock plus the time since, by the monotonic clock.
    bias_V
        Largest magnitude in volts of the bias that measurements apply; None: unknown.
    """

    limits: Limits
    plan: RecommendationMessage
    plan_seq: int
    latest: LatestScan | None
    begun: Mapping[str, BegunPoint]
    samples: Mapping[str, str]
    now: datetime
    scan_age_s: float
    earliest_now: datetime
    bias_V: float | None


def check_point(request: MeasurementRequest, context: PointContext) -> None:
    """Check that a point may be measured now.

    Raises
    ------
    LimitError
        If it may not; the message names the first limit that it exceeds.
    """
    for rule in (_is_current, _is_fresh, _lies_inside, _bias_is_allowed, _is_spaced, _dose_is_allowed):
        rule(request, context)


def _is_current(_: MeasurementRequest, context: PointContext) -> None:
    plan, latest = context.plan, context.latest
    if latest is None or plan.scan_id != latest.scan_id:
        newest = "no scan is known" if latest is None else f"a newer scan exists ({latest.scan_id})"
        raise LimitError(f"{newest}; points of scan {plan.scan_id} are no longer measured")
    if plan.seq < context.plan_seq:
        raise LimitError(f"recommendation {plan.seq} was superseded by recommendation {context.plan_seq}{_NOT_MEASURED}")


def _is_fresh(_: MeasurementRequest, context: PointContext) -> None:
    # A clock that was set back must not prolong anything.
    expires, now, longest_s = context.plan.expires_at, max(context.now, context.earliest_now), context.limits.scan_age_max_s
    if expires is not None and now >= expires:
        raise LimitError(
            f"the recommendation expired at {expires.isoformat()}; the instrument's clock shows {now.isoformat()}{_NOT_MEASURED}"
        )
    ended_at = context.latest.ended_at if context.latest else None
    age_s = max(context.scan_age_s, 0.0 if ended_at is None else (context.now - ended_at).total_seconds())
    if age_s > longest_s:
        raise LimitError(
            f"scan {context.plan.scan_id} ended {age_s:.0f} s ago, at most {longest_s:.0f} s are allowed; "
            f"a new scan is needed{_NOT_MEASURED}"
        )


def _lies_inside(request: MeasurementRequest, context: PointContext) -> None:
    check_request(request, context.limits)
    frame = context.latest.frame if context.latest else None
    if frame is not None and not frame.contains(np.array([[request.x_m, request.y_m]]))[0]:
        raise LimitError(
            f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um is outside the frame of scan {context.plan.scan_id}, "
            f"{frame.size_fast_m * 1e6:.3f} by {frame.size_slow_m * 1e6:.3f} um around "
            f"({frame.x_offset_m * 1e6:.3f}, {frame.y_offset_m * 1e6:.3f}) um{_NOT_MEASURED}"
        )


def _bias_is_allowed(_: MeasurementRequest, context: PointContext) -> None:
    if context.bias_V is None:
        return
    for allowed_V, whose in ((context.limits.bias_max_V, "instrument"), (context.plan.bias_max_V, "recommendation")):
        if allowed_V is not None and context.bias_V > allowed_V:
            raise LimitError(f"a measurement applies {context.bias_V:g} V, the {whose} allows {allowed_V:g} V{_NOT_MEASURED}")


def _is_spaced(request: MeasurementRequest, context: PointContext) -> None:
    limits, scan_id = context.limits, context.plan.scan_id
    begun = [b for b in context.begun.values() if b.scan_id == scan_id]
    if len(begun) >= limits.points_max:
        raise LimitError(
            f"{len(begun)} points have been measured after scan {scan_id}, at most {limits.points_max} are allowed{_NOT_MEASURED}"
        )
    nearest_m = min((_distance_m(b, request) for b in begun), default=math.inf)
    if nearest_m < limits.spacing_min_m * (1 - _ROUNDING):
        raise LimitError(
            f"the point lies {nearest_m * 1e9:.1f} nm from another one measured after the same scan, "
            f"at least {limits.spacing_min_m * 1e9:.1f} nm are required{_NOT_MEASURED}"
        )


def _dose_is_allowed(request: MeasurementRequest, context: PointContext) -> None:
    limits, sample = context.limits, context.samples.get(context.plan.scan_id)
    dose = sum(
        1
        for b in context.begun.values()
        if context.samples.get(b.scan_id) == sample and _distance_m(b, request) <= limits.dose_radius_m
    )
    if dose >= limits.dose_max:
        raise LimitError(
            f"{dose} points of sample {sample} have been measured within {limits.dose_radius_m * 1e9:.0f} nm of this one, "
            f"at most {limits.dose_max} are allowed over all scans{_NOT_MEASURED}"
        )


def _distance_m(begun: BegunPoint, request: MeasurementRequest) -> float:
    return math.hypot(begun.x_m - request.x_m, begun.y_m - request.y_m)
