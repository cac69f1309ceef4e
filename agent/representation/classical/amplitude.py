"""Mean and spread of a patch's main channel: the simplest partition a microscopist would try, into bright, dim and mixed areas.

The arrangement of the pixels in a patch is ignored. The clusters may be no microstructure at all: a slow change of the amplitude
over the scan, for instance because the resonance drifts, looks the same.
"""

import numpy as np
from jaxtyping import Float

MAX_LATENTS = 2


def amplitude_moments(patches: Float[np.ndarray, "n C w w"]) -> Float[np.ndarray, "n 2"]:
    """Mean and standard deviation of the first channel's pixels.

    Parameters
    ----------
    patches
        Shape (n, channels, window, window); the first channel is the main one.

    Returns
    -------
    Shape (n, 2): bit for bit the same when a patch is rotated by 90 degrees or mirrored.
    """
    # Sorted, because rounding depends on the order of the terms, which differs in a rotated patch.
    pixels = np.sort(patches[:, 0].reshape(len(patches), -1), axis=1)
    return np.stack([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)
