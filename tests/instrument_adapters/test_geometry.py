import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from instrument_adapters.geometry import Frame

sides = st.floats(1e-9, 1e-4)
offsets = st.floats(-1e-4, 1e-4)
frames = st.builds(
    Frame,
    size_fast_m=sides,
    size_slow_m=sides,
    x_offset_m=offsets,
    y_offset_m=offsets,
    angle_rad=st.floats(-7, 7),
    rows=st.integers(2, 5000),
    cols=st.integers(2, 5000),
)
fractions = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9)

FRAME = Frame(size_fast_m=4e-6, size_slow_m=2e-6, x_offset_m=10e-6, y_offset_m=-5e-6, rows=3, cols=5)

# (angle in degrees, pixel, x and y in µm): x = f cosθ + s sinθ + 10, y = -f sinθ + s cosθ - 5, computed by hand
CORNERS = [
    (0, (0, 0), (8.0, -6.0)),
    (0, (0, 4), (12.0, -6.0)),
    (0, (2, 0), (8.0, -4.0)),
    (0, (1, 2), (10.0, -5.0)),
    (0, (1, 3), (11.0, -5.0)),
    (90, (0, 4), (9.0, -7.0)),
    (90, (2, 0), (11.0, -3.0)),
    (180, (0, 0), (12.0, -4.0)),
    (30, (1, 4), (10.0 + math.sqrt(3), -6.0)),
    (30, (2, 2), (10.5, -5.0 + math.sqrt(3) / 2)),
    (-90, (2, 4), (9.0, -3.0)),
]


@pytest.mark.parametrize(("degrees", "pixel", "place_um"), CORNERS)
def test_pixels_lie_where_the_instruments_formula_puts_them(
    degrees: float, pixel: tuple[int, int], place_um: tuple[float, float]
) -> None:
    frame = FRAME.model_copy(update={"angle_rad": math.radians(degrees)})
    xy = frame.to_metres(np.array([pixel], float))
    np.testing.assert_allclose(xy[0] * 1e6, place_um, atol=1e-9)
    np.testing.assert_allclose(frame.to_pixels(xy)[0], pixel, atol=1e-9)


@given(frame=frames, parts=fractions)
def test_to_pixels_undoes_to_metres(frame: Frame, parts: list[tuple[float, float]]) -> None:
    rc = np.array(parts) * [frame.rows - 1, frame.cols - 1]
    xy = frame.to_metres(rc)
    # Metres carry the rounding of the offset (1e-4 m * 2^-52), which is this many pixels of the finest pitch.
    slack = 1e-18 / min(frame.pitch_m) + 1e-9
    np.testing.assert_allclose(frame.to_pixels(xy), rc, atol=slack)


@given(frame=frames)
def test_the_corners_are_inside_and_a_pixel_further_is_not(frame: Frame) -> None:
    top, right = frame.rows - 1.0, frame.cols - 1.0
    inside = np.array([[0.5, 0.5], [top - 0.5, 0.5], [0.5, right - 0.5], [top / 2, right / 2]])
    outside = np.array([[-1.0, 0.0], [0.0, -1.0], [top + 1, 0.0], [0.0, right + 1], [top + 1, right + 1]])
    assert frame.contains(frame.to_metres(inside)).all()
    assert not frame.contains(frame.to_metres(outside)).any()


def test_the_border_belongs_to_the_frame_in_spite_of_rounding() -> None:
    frame = Frame(size_fast_m=5e-6, size_slow_m=5e-6, x_offset_m=-2.5933e-6, y_offset_m=-6.07e-6, rows=256, cols=256)
    corners = np.array([[0.0, 0.0], [0.0, 255.0], [255.0, 0.0], [255.0, 255.0]])
    assert frame.contains(frame.to_metres(corners)).all()


def test_the_pitch_is_slow_first_and_size_over_n_minus_one() -> None:
    frame = Frame(size_fast_m=5e-6, size_slow_m=1e-6, rows=3, cols=256)
    assert frame.pitch_m == pytest.approx((0.5e-6, 5e-6 / 255))


def test_no_position_gives_no_pixel() -> None:
    nothing = np.empty((0, 2))
    assert FRAME.to_metres(nothing).shape == (0, 2)
    assert FRAME.contains(nothing).shape == (0,)


def test_a_position_that_is_no_number_is_not_inside() -> None:
    assert not FRAME.contains(np.array([[math.nan, 0.0], [0.0, math.nan]])).any()


IMPOSSIBLE = [
    {"size_fast_m": 0.0},
    {"size_slow_m": -1e-6},
    {"size_fast_m": math.inf},
    {"x_offset_m": math.nan},
    {"angle_rad": math.inf},
    {"rows": 1},
    {"cols": 65537},
    {"unknown": 1},
]


@pytest.mark.slow
@pytest.mark.parametrize("change", IMPOSSIBLE)
def test_an_impossible_frame_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Frame.model_validate({**FRAME.model_dump(), **change})


def test_a_frame_survives_json() -> None:
    turned = FRAME.model_copy(update={"angle_rad": 0.1})
    assert Frame.model_validate_json(turned.model_dump_json()) == turned
