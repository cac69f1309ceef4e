"""Features of a patch that do not depend on its orientation.

Magnitudes of angular Fourier series on rings around the patch's centre. A rotation shifts the phases of such a series, a mirror
conjugates it; neither changes the magnitudes. This is neither a polar transform nor an average over rings: the content of each
ring is kept up to a rotation of that ring by itself.
"""

import numpy as np
from jaxtyping import Float

ANGLES = 24  # a multiple of four, so that a rotation by 90 degrees maps samples onto samples
FREQUENCIES = 8


def polar_magnitudes(patches: Float[np.ndarray, "n C w w"]) -> Float[np.ndarray, "n features"]:
    """Magnitudes of the first angular Fourier coefficients on rings one pixel apart, for each channel.

    Parameters
    ----------
    patches
        Shape (n, channels, window, window).

    Returns
    -------
    Shape (n, channels · rings · frequencies): unchanged, up to rounding, when a patch is rotated by 90 degrees or mirrored, and
    up to interpolation when it is rotated by any angle.
    """
    n, channels, w, _ = patches.shape
    middle = (w - 1) / 2
    radius = np.arange(middle % 1, middle + 1e-9)
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    row = (middle + radius[:, None] * np.sin(angle)).ravel()
    col = (middle + radius[:, None] * np.cos(angle)).ravel()
    r, c = (np.clip(np.floor(x + 1e-9).astype(np.int64), 0, w - 2) for x in (row, col))
    fr, fc = row - r, col - c
    weights = ((r, c, (1 - fr) * (1 - fc)), (r + 1, c, fr * (1 - fc)), (r, c + 1, (1 - fr) * fc), (r + 1, c + 1, fr * fc))
    values = sum(patches[:, :, rows, cols] * weight for rows, cols, weight in weights)
    rings = np.asarray(values).reshape(n, channels, len(radius), ANGLES)
    return np.asarray(np.abs(np.fft.rfft(rings, axis=3))[..., :FREQUENCIES].reshape(n, -1) / ANGLES)
