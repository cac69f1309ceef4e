"""What may be measured, rule by rule."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.safety import SafetySettings
from agent.recommendation.exclusion_zones import dose_reached
from agent.safety.envelope import RULES, EnvelopeContext, EnvelopeVerdict, Target, check, narrowed, refusals_sentence
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits
from tests.support.samples import request

FRAME = Frame(size_fast_m=2e-6, size_slow_m=2e-6, rows=21, cols=21)  # a pixel of 100 nm, (0, 0) at its middle
NM = 1e-9


def at(x_m: float, y_m: float = 0.0, name: str = "", off_m: tuple[float, float] = (0.0, 0.0)) -> Target:
    asked = request(name or f"p-{round(x_m / NM)}-{round(y_m / NM)}", x_m, y_m)
    return Target(asked.model_copy(update={"row": 10, "col": 10}), off_m)


def context(touched: list[tuple[float, float]] | None = None, **facts: object) -> EnvelopeContext:
    limits = Limits(**(facts.pop("limits", {})))
    safety = SafetySettings(**(facts.pop("safety", {})))
    xy = np.array(touched or [], dtype=np.float64).reshape(-1, 2)
    return EnvelopeContext(FRAME, narrowed(limits, safety), safety, xy, **facts)


def rules(verdict: EnvelopeVerdict) -> list[str]:
    return [r.rule for r in verdict.refused]


CASES = {
    "inside everything": (at(0.0), context(), None),
    "on the border of the frame": (at(1e-6, -1e-6), context(), None),
    "outside the frame": (at(1.01e-6), context(), "frame"),
    "shown outside the frame": (at(0.99e-6, off_m=(-50 * NM, 0.0)), context(), "frame"),
    "beyond the stage": (at(0.5e-6), context(limits={"x_max_m": 0.4e-6}), "limits"),
    "beyond what the settings allow": (at(0.0, -0.5e-6), context(safety={"y_min_m": -0.4e-6}), "limits"),
    "a range that holds nothing": (at(0.0), context(limits={"x_max_m": -1e-6}, safety={"x_min_m": 1e-6}), "limits"),
    "too near to a measured point": (at(0.0), context([(0.0, 99 * NM)]), "spacing"),
    "as near as is allowed": (at(0.0), context([(0.0, 100 * NM)]), None),
    "wider spacing in the settings": (at(0.0), context([(0.0, 100 * NM)], safety={"spacing_min_m": 150 * NM}), "spacing"),
    "where the scan shows it too near": (at(0.0, off_m=(60 * NM, 0.0)), context([(-100 * NM, 0.0)], drift_known=True), "spacing"),
    "only the command is near": (at(0.0, off_m=(60 * NM, 0.0)), context([(90 * NM, 0.0)], drift_known=True), None),
    "a bias that the instrument forbids": (at(0.0), context(bias_V=11.0), "bias"),
    "a bias that the settings forbid": (at(0.0), context(bias_V=9.0, safety={"bias_max_V": 8.0}), "bias"),
    "a bias at the limit": (at(0.0), context(bias_V=8.0, safety={"bias_max_V": 8.0}), None),
    "a scan that is too old": (at(0.0), context(age_s=7200.1), "scan_age"),
    "a scan that the instrument calls old": (at(0.0), context(age_s=101.0, limits={"scan_age_max_s": 100.0}), "scan_age"),
    "an old scan that is not too old": (at(0.0), context(age_s=7200.0), None),
    "too large a correction": (at(0.0, off_m=(300 * NM, 401 * NM)), context(), "drift"),
    "the largest correction": (at(0.0, off_m=(300 * NM, 400 * NM)), context(), None),
    "a request that has been asked before": (at(0.0, name="p"), context(asked_before=frozenset({"p"})), "asked_before"),
    "the last point after a scan": (at(0.0), context(tried_after_scan=199), None),
    "one more point after a scan": (at(0.0), context(tried_after_scan=200), "scan_cap"),
    "more after a scan than is set": (at(0.0), context(tried_after_scan=5, safety={"points_per_scan": 5}), "scan_cap"),
    "one more point on the sample": (at(0.0), context([(9e-7, 0)], safety={"points_per_sample": 1}), "sample_cap"),
    "the last point on the sample": (at(0.0), context([(9e-7, 0)], safety={"points_per_sample": 2}), None),
    "no dose at all": (at(0.0), context(safety={"dose_max": 0}), "dose"),
    "a dose within reach": (at(0.0), context([(4e-7, 0.0), (-4e-7, 0.0)], safety={"dose_max": 2}), "dose"),
    "a dose out of reach": (at(0.0), context([(6e-7, 0.0), (-4e-7, 0.0)], safety={"dose_max": 2}), None),
    "a neighbour that has its dose": (at(0.0), context([(4e-7, 0.0), (8e-7, 0.0)], safety={"dose_max": 2}), "dose"),
    "the dose of the instrument": (at(0.0), context([(2e-7, 0.0)], limits={"dose_max": 1, "dose_radius_m": 3e-7}), "dose"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_point_passes_or_is_left_out_for_one_reason(case: str) -> None:
    place, against, rule = CASES[case]
    verdict = check([place], against)
    assert rules(verdict) == ([] if rule is None else [rule])
    assert [p.request for p in verdict.passed] == ([place.request] if rule is None else [])
    for refusal in verdict.refused:
        assert refusal.request == place.request
        assert len(refusal.reason) > 20


def test_a_pixel_outside_the_scan_is_refusals_sentence() -> None:
    outside = at(0.0).request.model_copy(update={"row": 21})
    (refusal,) = check([Target.of(outside, FRAME)], context(safety={"drift_max_m": 1.0})).refused
    assert (refusal.rule, refusal.reason) == ("frame", "pixel (21, 10) is outside the scan of 21 x 21 px")


def test_of_points_that_cannot_be_together_the_first_ones_pass() -> None:
    verdict = check([at(0.0), at(50 * NM), at(100 * NM), at(150 * NM)], context())
    assert [p.request.x_m for p in verdict.passed] == [0.0, 100 * NM]
    assert rules(verdict) == ["spacing", "spacing"]
    capped = check([at(i * 2e-7) for i in range(5)], context(limits={"points_max": 3}))
    assert rules(capped) == ["scan_cap"] * 2


def test_no_position_and_no_id_is_requested_twice_even_without_a_spacing() -> None:
    free = context(limits={"spacing_min_m": 0.0})
    assert rules(check([at(0.0, name="a"), at(0.0, name="b")], free)) == ["spacing"]
    assert rules(check([at(0.0, name="a"), at(1e-7, name="a")], free)) == ["asked_before"]
    assert check([at(0.0, name="a"), at(1e-12, name="b")], free).refused == ()


def test_the_place_of_a_request_knows_how_far_it_is_from_its_pixel() -> None:
    place = Target.of(request("p", 30 * NM, -40 * NM).model_copy(update={"row": 10, "col": 10}), FRAME)
    assert math.hypot(*place.correction_m) == pytest.approx(50 * NM)
    assert place.shown_xy == pytest.approx((0.0, 0.0), abs=1e-15)
    assert place.commanded_xy == (30 * NM, -40 * NM)


def test_settings_only_narrow_what_the_instrument_allows() -> None:
    limits = Limits(x_min_m=-1e-5, y_max_m=1e-5, bias_max_V=5.0, points_max=50, dose_max=10, scan_age_max_s=100.0)
    assert narrowed(limits, SafetySettings()) == limits
    wide = SafetySettings(x_min_m=-1.0, y_max_m=1.0, bias_max_V=50.0, points_per_scan=500, dose_max=500, scan_age_max_s=1e6)
    assert narrowed(limits, wide) == limits
    narrow = narrowed(limits, SafetySettings(x_min_m=0.0, bias_max_V=1.0, spacing_min_m=1e-6, points_per_scan=5, dose_max=5))
    assert (narrow.x_min_m, narrow.bias_max_V, narrow.spacing_min_m, narrow.points_max, narrow.dose_max) == (0.0, 1.0, 1e-6, 5, 5)
    assert narrowed(limits, SafetySettings(dose_max=5, dose_radius_m=1e-6)).dose_max == 10  # another area


def test_refused_points_are_counted_in_a_sentence() -> None:
    assert refusals_sentence([], 5) == ""
    assert refusals_sentence(["dose", "limits", "dose"], 12) == (
        "3 of 12 points were left out for safety: 1 outside the stage's range, 2 where the dose is reached."
    )
    assert set(RULES) >= {rule for _, _, rule in CASES.values() if rule}


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(-8, 8), st.integers(-8, 8)), max_size=25, unique=True),
    st.lists(st.tuples(st.integers(-8, 8), st.integers(-8, 8)), min_size=1, max_size=8),
)
def test_a_place_that_is_not_crowded_passes_alone_as_far_as_the_dose_goes(
    touched: list[tuple[int, int]], wanted: list[tuple[int, int]]
) -> None:
    xy, places = np.array(touched, dtype=float).reshape(-1, 2) * 1.01e-7, np.array(wanted, dtype=float) * 1.01e-7
    kept_away = dose_reached(places, xy, 4, 3e-7)
    against = context(xy.tolist(), limits={"spacing_min_m": 0.0}, safety={"dose_max": 4, "dose_radius_m": 3e-7})
    for here, full in zip(places, kept_away, strict=True):
        assert (rules(check([at(*here)], against)) == ["dose"]) == full


@pytest.mark.parametrize("settings", [{"x_min_m": 1.0, "x_max_m": 0.0}, {"y_min_m": 0.0, "y_max_m": 0.0}, {"dose_radius_m": 0.0}])
def test_settings_that_make_no_sense_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError):
        SafetySettings(**settings)
