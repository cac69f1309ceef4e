"""Patches: square windows of an image around its key points."""

import numpy as np
from jaxtyping import Float32, Int
from numpy.lib.stride_tricks import sliding_window_view


def cut_patches(
    channels: Float32[np.ndarray, "C rows cols"], points_rc: Int[np.ndarray, "n 2"], window_px: int
) -> Float32[np.ndarray, "n C window window"]:
    """Patches of side `window_px` around each point.

    An odd window is centred on its point; an even one starts window_px/2 before it.

    Parameters
    ----------
    channels
        Shape (C, rows, cols).
    points_rc
        Shape (n, 2), (row, col) in pixels.
    window_px
        Side of a patch in pixels.

    Raises
    ------
    IndexError
        If a window extends beyond the image; `find_keypoints` returns no such point.
    """
    corners = points_rc - window_px // 2
    last = np.array(channels.shape[1:]) - window_px
    if len(corners) and ((corners < 0).any() or (corners > last).any()):
        raise IndexError(f"a window of {window_px} px around a key point extends beyond the image of {channels.shape[1:]} px")
    windows = sliding_window_view(channels, (window_px, window_px), axis=(1, 2))
    return np.ascontiguousarray(windows[:, corners[:, 0], corners[:, 1]].swapaxes(0, 1))
