"""Mean and spread of a patch's main channel: the plainest partition that a microscopist would try, bright, dim and mixed places.

It knows nothing of how the pixels of a patch lie. What it finds may be no microstructure at all: a slow change of the amplitude
over the scan, as of a drifting resonance, looks the same.
"""

import numpy as np
from jaxtyping import Float

MOST_LATENTS = 2


def amplitude_moments(patches: Float[np.ndarray, "n C w w"]) -> Float[np.ndarray, "n 2"]:
    """Mean and standard deviation of the first channel's pixels.

    Parameters
    ----------
    patches
        Shape (n, channels, window, window); the first channel is the main one.

    Returns
    -------
    Shape (n, 2): bit for bit the same when a patch is turned by 90 degrees or mirrored.
    """
    # In order of size: a sum rounds by the order of its terms, and a turned patch holds them in another.
    pixels = np.sort(patches[:, 0].reshape(len(patches), -1), axis=1)
    return np.stack([pixels.mean(axis=1), pixels.std(axis=1)], axis=1)
