"""Grid of points over the whole frame at which the response is to be predicted."""

import numpy as np
from jaxtyping import Bool, Int

MAX_NODES = 1500


def target_grid(valid: Bool[np.ndarray, "rows cols"], max_nodes: int = MAX_NODES) -> Int[np.ndarray, "m 2"]:
    """Centre pixels (m, 2) of the equal square cells of the frame of which at least half is valid.

    Each represents the same area, so a sum over them is an integral over the recorded part of the frame.

    Parameters
    ----------
    valid
        Shape (rows, cols): False for invalid pixels.
    max_nodes
        Largest number of cells; exceeded only if the frame is narrower than a cell.
    """
    step = min(int(np.ceil(np.sqrt(valid.size / max_nodes))), *valid.shape)
    rows, cols = (side // step for side in valid.shape)
    first_row, first_col = ((side % step) // 2 for side in valid.shape)
    cells = valid[first_row : first_row + rows * step, first_col : first_col + cols * step]
    share = cells.reshape(rows, step, cols, step).mean(axis=(1, 3))
    first = np.array([first_row, first_col]) + step // 2
    return np.asarray(np.argwhere(share >= 0.5) * step + first, dtype=np.int64)
