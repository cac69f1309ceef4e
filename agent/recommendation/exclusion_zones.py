"""Where not to measure: off the instrument's range, at the border, and where an earlier measurement altered the sample."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits


def within(xy: Float[np.ndarray, "n 2"], limits: Limits) -> Bool[np.ndarray, " n"]:
    """True for each position in the instrument's range."""
    low = np.array([limits.x_min_m, limits.y_min_m])
    high = np.array([limits.x_max_m, limits.y_max_m])
    return np.asarray(((xy >= low) & (xy <= high)).all(axis=1))


def border_distance(points_rc: Int[np.ndarray, "n 2"], frame: Frame) -> Float[np.ndarray, " n"]:
    """Distance in metres of each pixel from the nearest border of the frame; negative outside."""
    last = np.array([frame.rows - 1, frame.cols - 1])
    return np.asarray((np.minimum(points_rc, last - points_rc) * np.array(frame.pitch_m)).min(axis=1))


def altered(
    points_rc: Int[np.ndarray, "n 2"], window_px: int, measured_xy: Float[np.ndarray, "k 2"], radius_m: float, frame: Frame
) -> Bool[np.ndarray, " n"]:
    """True for each key point whose patch overlaps the spot of a measurement: it shows what was written, not what was there.

    Parameters
    ----------
    points_rc
        Shape (n, 2): key points, pixels.
    window_px
        Side of the patches.
    measured_xy
        Shape (k, 2): centres of the spots, metres.
    radius_m
        Of a spot; at 0 nothing is altered.
    frame
        Of the scan.
    """
    out = np.zeros(len(points_rc), dtype=bool)
    pitch = np.array(frame.pitch_m)
    centre = points_rc - window_px // 2 + (window_px - 1) / 2
    for spot in frame.to_pixels(measured_xy):
        beyond = np.maximum(np.abs(spot - centre) - window_px / 2, 0.0) * pitch
        out |= np.hypot(*beyond.T) < radius_m
    return out


def crowded(
    xy: Float[np.ndarray, "n 2"], touched_xy: Float[np.ndarray, "m 2"], dose_max: int, radius_m: float
) -> Bool[np.ndarray, " n"]:
    """Where one more point would be one too many, at itself or at a touched place within the distance."""
    full_xy = touched_xy[neighbour_counts(touched_xy, touched_xy, radius_m) >= dose_max]
    return np.asarray((neighbour_counts(xy, touched_xy, radius_m) >= dose_max) | (neighbour_counts(xy, full_xy, radius_m) > 0))


def neighbour_counts(xy: Float[np.ndarray, "n 2"], others: Float[np.ndarray, "m 2"], radius_m: float) -> Int[np.ndarray, " n"]:
    """How many of the others lie within the distance of each."""
    if not len(xy) or not len(others):
        return np.zeros(len(xy), dtype=np.int64)
    return np.asarray(cKDTree(others).query_ball_point(xy, radius_m, return_length=True), dtype=np.int64)
