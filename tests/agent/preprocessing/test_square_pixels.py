"""Scans with unequal pixels are resampled to square ones, and nothing that was recorded is altered by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UnusableScanError
from agent.preprocessing.square_pixels import MOST_UNEQUAL, TOLERATED, resampled, resampled_mask, square_frame
from instrument_adapters.geometry import Frame


def frame_of(rows: int, cols: int, slow_m: float = 5e-6, fast_m: float = 5e-6) -> Frame:
    return Frame(size_fast_m=fast_m, size_slow_m=slow_m, x_offset_m=1e-6, y_offset_m=2e-6, angle_rad=0.4, rows=rows, cols=cols)


@pytest.mark.parametrize(
    "frame",
    [frame_of(256, 256), frame_of(128, 256, slow_m=2.5e-6), frame_of(240, 256), frame_of(256, 64, fast_m=1.25e-6)],
    ids=["square", "half the lines of half the frame", "nearly square", "a narrow frame"],
)
def test_a_scan_with_square_pixels_is_left_as_it_is(frame: Frame) -> None:
    assert square_frame(frame) is frame
    images = np.random.default_rng(0).random((2, frame.rows, frame.cols)).astype(np.float32)
    assert resampled(images, frame, frame) is images


@pytest.mark.parametrize(("rows", "cols"), [(64, 256), (256, 64), (100, 256), (96, 512)])
def test_the_coarse_axis_gets_the_pitch_of_the_fine_one_over_the_same_rectangle(rows: int, cols: int) -> None:
    frame = frame_of(rows, cols)
    square = square_frame(frame)
    slow_m, fast_m = square.pitch_m
    assert slow_m == pytest.approx(fast_m, rel=0.01)
    assert min(slow_m, fast_m) == pytest.approx(min(frame.pitch_m))
    corners = [np.array([[0.0, 0.0], [f.rows - 1.0, f.cols - 1.0]]) for f in (frame, square)]
    np.testing.assert_allclose(frame.to_metres(corners[0]), square.to_metres(corners[1]), atol=1e-15)


@given(rows=st.integers(16, 128), cols=st.integers(130, 256))
def test_a_plane_stays_the_same_plane_in_metres(rows: int, cols: int) -> None:
    frame = frame_of(rows, cols)
    if not TOLERATED < frame.pitch_m[0] / frame.pitch_m[1] <= MOST_UNEQUAL:
        return
    square = square_frame(frame)

    def plane(f: Frame) -> np.ndarray:
        rc = np.stack(np.meshgrid(np.arange(f.rows), np.arange(f.cols), indexing="ij"), axis=-1).reshape(-1, 2)
        x, y = f.to_metres(rc.astype(np.float64)).T
        return ((2 * x - y) / 5e-6).reshape(1, f.rows, f.cols).astype(np.float32)

    np.testing.assert_allclose(resampled(plane(frame), frame, square), plane(square), atol=1e-5)


def test_recorded_lines_are_kept_and_lines_between_depend_on_both_neighbours_only() -> None:
    frame, square = frame_of(64, 253), frame_of(253, 253)  # every fourth line was recorded
    image = np.random.default_rng(1).random((1, 64, 253)).astype(np.float32)
    out = resampled(image, frame, square)
    np.testing.assert_array_equal(out[0, ::4], image[0])
    np.testing.assert_allclose(out[0, 2::4], (image[0, 1:] + image[0, :-1]) / 2, atol=1e-6)


def test_lines_that_were_never_recorded_stay_invalid_with_all_that_is_interpolated_from_them() -> None:
    frame, square = frame_of(64, 253), frame_of(253, 253)
    valid = np.ones((64, 253), np.bool_)
    valid[40:] = False
    np.testing.assert_array_equal(resampled_mask(valid, frame, square).all(axis=1), np.arange(253) <= 39 * 4)


@pytest.mark.attack(
    "a scan of 8 lines with 512 points each", promise="one sentence says what was given, what is allowed and what to record"
)
@pytest.mark.parametrize(("rows", "cols", "least"), [(8, 512, "62 lines"), (512, 8, "62 points in a line")])
def test_pixels_that_are_too_unequal_are_refused_in_one_sentence(rows: int, cols: int, least: str) -> None:
    with pytest.raises(
        UnusableScanError, match=f"times longer than wide, at most 8.5 times can be analysed; .* at least {least}$"
    ):
        square_frame(frame_of(rows, cols))
    assert square_frame(frame_of(62, 512)).rows == 512
