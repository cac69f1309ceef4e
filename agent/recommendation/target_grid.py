"""Where the response is to be known: all over the frame, not at key points alone."""

import numpy as np
from jaxtyping import Bool, Int

MOST_NODES = 1500


def frame_lattice(valid: Bool[np.ndarray, "rows cols"], most: int = MOST_NODES) -> Int[np.ndarray, "m 2"]:
    """The middle pixels of equal square cells of the frame, of those cells of which half or more is valid.

    Each stands for the same area: a sum over them is an integral over what has been recorded of the frame.

    Parameters
    ----------
    valid
        Shape (rows, cols): False where the instrument gave nothing.
    most
        Cells at most; more only where the frame is that many times longer than wide.
    """
    step = min(int(np.ceil(np.sqrt(valid.size / most))), *valid.shape)
    rows, cols = (side // step for side in valid.shape)
    first_row, first_col = ((side % step) // 2 for side in valid.shape)
    whole = valid[first_row : first_row + rows * step, first_col : first_col + cols * step]
    share = whole.reshape(rows, step, cols, step).mean(axis=(1, 3))
    first = np.array([first_row, first_col]) + step // 2
    return np.asarray(np.argwhere(share >= 0.5) * step + first, dtype=np.int64)
