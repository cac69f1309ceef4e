"""What a point must keep to before the tip is sent there: the instrument's own last word. Pure; no clock, no disk.

Each rule refuses with one sentence that names the value and the limit; nothing is ever clamped.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from instrument_adapters.errors import LimitError
from instrument_adapters.instrument import check_request
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, RecommendationMessage
from instrument_adapters.spool.client_state import Begun, LatestScan

_ROUNDING = 1e-6  # two points planned at exactly the smallest spacing are not "too close"
_NOT_MEASURED = "; the point was not measured"


@dataclass(frozen=True)
class Terms:
    """What a point is judged by.

    Parameters
    ----------
    limits
        Of the instrument.
    plan
        The recommendation that it belongs to.
    plan_seq
        Number of the newest recommendation.
    latest
        The newest scan.
    begun, samples
        All points that the tip was ever sent to; the sample of each scan.
    now
        By the instrument's clock.
    bias_V
        Largest magnitude of the bias that its measurements apply; None: not known.
    """

    limits: Limits
    plan: RecommendationMessage
    plan_seq: int
    latest: LatestScan | None
    begun: Mapping[str, Begun]
    samples: Mapping[str, str]
    now: datetime
    bias_V: float | None


def check_point(request: MeasurementRequest, terms: Terms) -> None:
    """Do nothing, if the point may be measured now.

    Raises
    ------
    LimitError
        Naming the first limit that it does not keep.
    """
    for rule in (_is_wanted, _is_fresh, _lies_inside, _bias_is_allowed, _is_spaced, _dose_is_allowed):
        rule(request, terms)


def _is_wanted(_: MeasurementRequest, terms: Terms) -> None:
    plan, latest = terms.plan, terms.latest
    if latest is None or plan.scan_id != latest.scan_id:
        newest = "none is known" if latest is None else f"a newer scan exists ({latest.scan_id})"
        raise LimitError(f"{newest}; points of {plan.scan_id} are not measured any more")
    if plan.seq < terms.plan_seq:
        raise LimitError(f"recommendation {terms.plan_seq} has replaced recommendation {plan.seq}{_NOT_MEASURED}")


def _is_fresh(_: MeasurementRequest, terms: Terms) -> None:
    expires, now, longest_s = terms.plan.expires_at, terms.now, terms.limits.scan_age_max_s
    if expires is not None and now >= expires:
        raise LimitError(
            f"the recommendation expired at {expires.isoformat()} and it is {now.isoformat()} by the instrument's clock"
            f"{_NOT_MEASURED}"
        )
    ended_at = terms.latest.ended_at if terms.latest else None
    age_s = 0.0 if ended_at is None else (now - ended_at).total_seconds()
    if age_s > longest_s:
        raise LimitError(
            f"scan {terms.plan.scan_id} ended {age_s:.0f} s ago, at most {longest_s:.0f} s are allowed; scan again{_NOT_MEASURED}"
        )


def _lies_inside(request: MeasurementRequest, terms: Terms) -> None:
    check_request(request, terms.limits)
    frame = terms.latest.frame if terms.latest else None
    if frame is not None and not frame.contains(np.array([[request.x_m, request.y_m]]))[0]:
        raise LimitError(
            f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um is outside the frame of scan {terms.plan.scan_id}, "
            f"{frame.size_fast_m * 1e6:.3f} by {frame.size_slow_m * 1e6:.3f} um around "
            f"({frame.x_offset_m * 1e6:.3f}, {frame.y_offset_m * 1e6:.3f}) um{_NOT_MEASURED}"
        )


def _bias_is_allowed(_: MeasurementRequest, terms: Terms) -> None:
    if terms.bias_V is None:
        return
    for allowed_V, whose in ((terms.limits.bias_max_V, "instrument"), (terms.plan.bias_max_V, "recommendation")):
        if allowed_V is not None and terms.bias_V > allowed_V:
            raise LimitError(f"a measurement applies {terms.bias_V:g} V, the {whose} allows {allowed_V:g} V{_NOT_MEASURED}")


def _is_spaced(request: MeasurementRequest, terms: Terms) -> None:
    limits, scan_id = terms.limits, terms.plan.scan_id
    begun = [b for b in terms.begun.values() if b.scan_id == scan_id]
    if len(begun) >= limits.points_max:
        raise LimitError(f"{len(begun)} points have been measured after scan {scan_id}, {limits.points_max} are allowed")
    nearest_m = min((_distance_m(b, request) for b in begun), default=math.inf)
    if nearest_m < limits.spacing_min_m * (1 - _ROUNDING):
        raise LimitError(
            f"the point lies {nearest_m * 1e9:.1f} nm from one measured after the same scan, "
            f"at least {limits.spacing_min_m * 1e9:.1f} nm are required; it was not measured"
        )


def _dose_is_allowed(request: MeasurementRequest, terms: Terms) -> None:
    limits, sample = terms.limits, terms.samples.get(terms.plan.scan_id)
    dose = sum(
        1
        for b in terms.begun.values()
        if terms.samples.get(b.scan_id) == sample and _distance_m(b, request) <= limits.dose_radius_m
    )
    if dose >= limits.dose_max:
        raise LimitError(
            f"{dose} points of sample {sample} have been measured within {limits.dose_radius_m * 1e9:.0f} nm of this one, "
            f"{limits.dose_max} are allowed over all scans{_NOT_MEASURED}"
        )


def _distance_m(begun: Begun, request: MeasurementRequest) -> float:
    return math.hypot(begun.x_m - request.x_m, begun.y_m - request.y_m)
