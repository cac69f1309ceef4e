"""The client's safety envelope: each limit refuses by its value, and no point is ever moved."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_adapters.client.safety_envelope import PointContext, check_point
from instrument_adapters.errors import LimitError
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, RecommendationMessage
from instrument_adapters.spool.client_state import BegunPoint, LatestScan

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRAME = Frame(size_fast_m=10e-6, size_slow_m=10e-6, rows=11, cols=11)
LIMITS = Limits(x_max_m=4e-6)


def at(x_m=0.0, y_m=0.0):
    return MeasurementRequest(request_id="r", x_m=x_m, y_m=y_m, row=0, col=0, cluster=0, rank=0, core_distance=0.0)


def plan(**fields):
    defaults = {"seq": 1, "decision_id": "d", "scan_id": "s2", "requests": (), "reason": ""}
    return RecommendationMessage(id="rec", sent_at=NOW, **{**defaults, **fields})


def context(**changes):
    default = PointContext(
        limits=LIMITS,
        plan=plan(),
        plan_seq=1,
        latest=LatestScan("s2", "film", FRAME, NOW - timedelta(minutes=1)),
        begun={},
        samples={"s1": "film", "s2": "film", "s0": "other film"},
        now=NOW,
        scan_age_s=0.0,
        earliest_now=NOW,
        bias_V=8.0,
    )
    return replace(default, **changes)


def begun(*places, scan="s2"):
    return {f"{scan}-{n}": BegunPoint(scan, x, y) for n, (x, y) in enumerate(places)}


def many(count, scan):
    return {f"{scan}-{n}": BegunPoint(scan, 0.0, 400e-9) for n in range(count)}


def test_a_point_within_all_limits_passes():
    check_point(at(), context())
    check_point(at(), context(bias_V=None))
    check_point(at(4e-6, -5e-6), context())


OLD = LatestScan("s2", "film", FRAME, NOW - timedelta(seconds=7201))
REFUSED = {
    "older scan": (at(), {"plan": plan(scan_id="s1")}, r"a newer scan exists \(s2\); points of scan s1"),
    "no scan": (at(), {"latest": None}, "no scan is known; points of scan s2"),
    "replaced": (at(), {"plan_seq": 4}, "recommendation 1 was superseded by recommendation 4"),
    "expired": (
        at(),
        {"plan": plan(expires_at=NOW)},
        r"expired at 2026-01-02T03:04:05\+00:00; the instrument's clock shows 2026-01-02T03:04:05",
    ),
    "old": (at(), {"latest": OLD}, "scan s2 ended 7201 s ago, at most 7200 s are allowed"),
    "stage": (at(4.1e-6), {}, r"x = 4\.100 um is outside the stage's range -45\.0 to 4\.0 um"),
    "frame": (at(0.0, 5.1e-6), {}, r"\(0\.000, 5\.100\) um is outside the frame of scan s2, 10\.000 by 10\.000 um"),
    "instrument's bias": (at(), {"bias_V": 10.5}, r"applies 10\.5 V, the instrument allows 10 V"),
    "recommended bias": (at(), {"plan": plan(bias_max_V=7.5)}, r"applies 8 V, the recommendation allows 7\.5 V"),
    "too many": (
        at(),
        {"limits": Limits(points_max=1), "begun": begun((3e-6, 0))},
        "1 points have been measured .* at most 1 are allowed",
    ),
    "spacing": (
        at(),
        {"begun": begun((0, 99e-9))},
        r"99\.0 nm from another one measured after the same scan, at least 100\.0 nm",
    ),
    "dose": (
        at(),
        {"begun": many(60, "s1")},
        "60 points of sample film have been measured within 500 nm .* at most 60 are allowed",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_point_that_breaks_a_limit_is_refused_with_value_and_limit(name):
    request, changes, why = REFUSED[name]
    with pytest.raises(LimitError, match=why):
        check_point(request, context(**changes))


def test_points_measured_elsewhere_or_on_another_sample_do_not_count_for_the_dose():
    check_point(at(), context(begun=many(60, "s0")))
    check_point(at(0.0, -101e-9), context(begun=many(60, "s1")))
    check_point(at(), context(begun=many(59, "s1")))
    check_point(at(), context(begun=begun((0.0, 0.0), scan="s1"))), "spacing is kept after one scan only"


def test_a_clock_that_was_set_back_makes_no_scan_old():
    check_point(at(), context(latest=LatestScan("s2", "film", FRAME, NOW + timedelta(hours=5))))
    check_point(at(), context(latest=LatestScan("s2", "film", FRAME)))


places = st.floats(-50e-6, 50e-6)


@given(places, places, st.lists(st.tuples(places, places), max_size=8), st.floats(-8000, 8000), st.floats(0.1, 20))
def test_any_point_that_passes_is_within_every_limit(x_m, y_m, earlier, ago_s, bias_V):
    latest = LatestScan("s2", "film", FRAME, NOW - timedelta(seconds=ago_s))
    facts = context(latest=latest, begun=begun(*earlier), bias_V=bias_V, limits=Limits(points_max=6, dose_max=2, x_max_m=3e-6))
    try:
        check_point(at(x_m, y_m), facts)
    except LimitError:
        return
    assert abs(x_m) <= 5.0001e-6
    assert x_m <= 3e-6
    assert abs(y_m) <= 5.0001e-6
    assert ago_s <= 7200
    assert bias_V <= 10
    assert len(earlier) < 6
    gaps = [((x - x_m) ** 2 + (y - y_m) ** 2) ** 0.5 for x, y in earlier]
    assert all(gap >= 99.9e-9 for gap in gaps)
    assert sum(gap <= 500e-9 for gap in gaps) < 2
