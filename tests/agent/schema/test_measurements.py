import math

import numpy as np
import pytest

from agent.schema.measurements import NO_RESULTS, MeasuredOnSample, Result
from instrument_adapters.geometry import Frame

TURNED = Frame(size_fast_m=3e-6, size_slow_m=2e-6, x_offset_m=1e-6, y_offset_m=2e-6, angle_rad=0.6, rows=41, cols=61)


def ok(x_m: float = 0.0, **parameters: float) -> Result:
    return Result("ok", (x_m, 2e-6), parameters)


def test_results_are_used_together_where_they_hold_what_most_of_them_hold_and_every_other_one_is_counted() -> None:
    given = [
        ok(1e-6, width_V=3.0, area_pmV=9.0),
        ok(2e-6, area_pmV=8.0, width_V=2.0, seen_once=1.0),
        ok(3e-6, width_V=5.0, area_pmV=7.0),
        ok(4e-6, width_V=5.0),
        ok(5e-6),
        ok(6e-6, width_V=math.inf, area_pmV=1.0),
        Result("failed", (7e-6, 0.0)),
        Result("failed", (8e-6, 0.0), {"width_V": 1.0, "area_pmV": 1.0}),
        Result("skipped", (9e-6, 0.0)),
    ]
    found = MeasuredOnSample.of(given)
    assert found.names == ("area_pmV", "width_V")
    assert found.values.tolist() == [[9.0, 3.0], [8.0, 2.0], [7.0, 5.0]]
    assert found.xy_m.tolist() == [[1e-6, 2e-6], [2e-6, 2e-6], [3e-6, 2e-6]]
    assert found.left_out == {"lacking_a_parameter": 1, "without_parameters": 1, "not_finite": 1, "failed": 2, "skipped": 1}
    assert len(found.values) + sum(found.left_out.values()) == len(given)


def test_results_that_have_nothing_in_common_are_all_left_out() -> None:
    found = MeasuredOnSample.of([ok(width_V=1.0), ok(current_A=2.0)])
    assert found.names == ()
    assert found.values.shape == (0, 0)
    assert found.left_out == {"lacking_a_parameter": 2}


def test_without_results_there_is_nothing_to_leave_out() -> None:
    assert NO_RESULTS.values.shape == (0, 0)
    assert NO_RESULTS.near_keypoints(TURNED, [np.array([[3, 4]])], 5.0) == (None, {})


def test_results_lie_at_their_pixels_of_a_turned_scan_and_those_elsewhere_are_counted() -> None:
    points_rc = np.array([[10, 20], [30, 50], [5, 5]])
    where_rc = np.array([[10.5, 20.0], [30.0, 53.0], [20.0, 20.0], [50.0, 20.0]])
    measured = MeasuredOnSample.of(
        [Result("ok", (float(x), float(y)), {"width_V": float(i)}) for i, (x, y) in enumerate(TURNED.to_metres(where_rc))]
    )
    near, left_out = measured.near_keypoints(TURNED, [points_rc], near_px=4.0)
    assert near is not None
    assert near.points_rc == pytest.approx(where_rc[:2])
    assert near.values.tolist() == [[0.0], [1.0]]
    assert left_out == {"outside_frame": 1, "far_from_key_points": 1}


def test_a_result_must_lie_near_to_key_points_of_every_method() -> None:
    measured = MeasuredOnSample.of([Result("ok", (1e-6, 2e-6), {"width_V": 1.0})])
    (at,) = TURNED.to_pixels(measured.xy_m).round().astype(int)
    near, far = at[None], at[None] + 9
    assert measured.near_keypoints(TURNED, [near], 2.0)[0] is not None
    assert measured.near_keypoints(TURNED, [near, far], 2.0) == (None, {"far_from_key_points": 1})
