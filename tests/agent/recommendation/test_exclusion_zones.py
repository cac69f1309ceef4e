import numpy as np
import pytest

from agent.recommendation.exclusion_zones import altered_patches, border_distance, within_limits
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits

FRAME = Frame(size_fast_m=19e-6, size_slow_m=9e-6, x_offset_m=3e-6, angle_rad=0.4, rows=10, cols=20)  # 1 um per pixel


def test_a_patch_is_altered_by_a_spot_that_touches_it_in_any_direction() -> None:
    points = np.array([[5, 5]])  # a window of 3 px reaches 1.5 px from the centre
    for spot, distance_um in (((5, 8), 1.5), ((8, 5), 1.5), ((8, 8), np.hypot(1.5, 1.5)), ((5, 5), 0.0)):
        measured = FRAME.to_metres(np.array([spot], dtype=float))
        for radius_um in (distance_um - 0.01, distance_um + 0.01):
            touched = altered_patches(points, 3, measured, max(radius_um, 0.0) * 1e-6, FRAME)
            assert touched.tolist() == [radius_um > distance_um]


def test_an_even_window_starts_half_its_side_before_its_point() -> None:
    left, right = (FRAME.to_metres(np.array([[5.0, col]])) for col in (2.0, 7.9))
    points = np.array([[5, 5]])  # pixels 3 to 6, from 2.5 to 6.5
    assert altered_patches(points, 4, left, 0.6e-6, FRAME).all()
    assert not altered_patches(points, 4, right, 0.6e-6, FRAME).any()


def test_the_distance_from_the_border_is_that_from_the_nearest_side() -> None:
    points = np.array([[0, 7], [4, 1], [5, 10], [9, 19]])
    assert border_distance(points, FRAME) == pytest.approx([0, 1e-6, 4e-6, 0])


def test_limits_are_inclusive() -> None:
    limits = Limits(x_min_m=0, x_max_m=1e-6, y_min_m=0, y_max_m=1e-6)
    assert within_limits(np.array([[0.0, 1e-6], [1.1e-6, 0.0], [0.5e-6, -1e-9]]), limits).tolist() == [True, False, False]
