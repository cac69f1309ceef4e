"""Where not to measure: outside the instrument's range, at the border, and where earlier measurements altered the sample."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits


def within_limits(xy: Float[np.ndarray, "n 2"], limits: Limits) -> Bool[np.ndarray, " n"]:
    """True for positions (metres) within the instrument's range, limits included."""
    low = np.array([limits.x_min_m, limits.y_min_m])
    high = np.array([limits.x_max_m, limits.y_max_m])
    return np.asarray(((xy >= low) & (xy <= high)).all(axis=1))


def border_distance(points_rc: Int[np.ndarray, "n 2"], frame: Frame) -> Float[np.ndarray, " n"]:
    """Distance in metres of each pixel from the nearest border of the frame; negative outside the frame."""
    last = np.array([frame.rows - 1, frame.cols - 1])
    return np.asarray((np.minimum(points_rc, last - points_rc) * np.array(frame.pitch_m)).min(axis=1))


def altered_patches(
    points_rc: Int[np.ndarray, "n 2"], window_px: int, measured_xy: Float[np.ndarray, "k 2"], radius_m: float, frame: Frame
) -> Bool[np.ndarray, " n"]:
    """True for key points whose patch overlaps the spot of a measurement, so that it shows the altered sample.

    Parameters
    ----------
    points_rc
        Shape (n, 2): key points, pixels.
    window_px
        Side of the patches in pixels.
    measured_xy
        Shape (k, 2): centres of the spots, metres.
    radius_m
        Radius of a spot in metres; with 0, no patch is altered.
    frame
        Frame of the scan.
    """
    altered = np.zeros(len(points_rc), dtype=bool)
    pitch = np.array(frame.pitch_m)
    centre = points_rc - window_px // 2 + (window_px - 1) / 2
    for spot in frame.to_pixels(measured_xy):
        beyond = np.maximum(np.abs(spot - centre) - window_px / 2, 0.0) * pitch
        altered |= np.hypot(*beyond.T) < radius_m
    return altered


def dose_reached(
    xy: Float[np.ndarray, "n 2"], measured_xy: Float[np.ndarray, "m 2"], dose_max: int, radius_m: float
) -> Bool[np.ndarray, " n"]:
    """True where one more point would exceed the dose, at the position itself or at a measured one within the radius.

    Parameters
    ----------
    xy
        Shape (n, 2): positions to check, metres.
    measured_xy
        Shape (m, 2): positions measured or tried so far, metres.
    dose_max
        Largest number of points within the radius.
    radius_m
        Radius in metres within which points count.
    """
    full_xy = measured_xy[neighbour_counts(measured_xy, measured_xy, radius_m) >= dose_max]
    return np.asarray((neighbour_counts(xy, measured_xy, radius_m) >= dose_max) | (neighbour_counts(xy, full_xy, radius_m) > 0))


def neighbour_counts(xy: Float[np.ndarray, "n 2"], others: Float[np.ndarray, "m 2"], radius_m: float) -> Int[np.ndarray, " n"]:
    """For each position, the number of the others within the radius."""
    if not len(xy) or not len(others):
        return np.zeros(len(xy), dtype=np.int64)
    return np.asarray(cKDTree(others).query_ball_point(xy, radius_m, return_length=True), dtype=np.int64)
