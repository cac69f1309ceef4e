"""Corners found by the detector of ORB."""

import numpy as np
from jaxtyping import Float32, Int
from skimage.feature import ORB

from agent.preprocessing.keypoints.tiling import detect_in_tiles

_TILE_PX = 1024
_HALO_PX = 64


def orb(
    image: Float32[np.ndarray, "rows cols"],
    *,
    rng: np.random.Generator,  # noqa: ARG001 - the KeypointMethod signature
    most_points: int = 20_000,
    fast_threshold: float = 0.05,
    fast_arc_px: int = 9,
    scales: int = 4,
) -> Int[np.ndarray, "n 2"]:
    """Corners of the image at several scales, the strongest first (E. Rublee et al., ICCV 2011, 2564; scikit-image's `ORB`).

    Images larger than 1024 px are searched in tiles. Each tile has an image pyramid of its own, so corners at its coarser levels
    can lie about a pixel from where a search of the whole image would find them.

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    rng
        Not used.
    most_points
        Largest number of corners; those with the highest Harris response are returned.
    fast_threshold
        Difference in brightness (in [0, 1]) between a ring of pixels and its centre; 0.05 is about three times the noise of a
        real PFM amplitude (15 pm of 570 pm).
    fast_arc_px
        Number of consecutive pixels of the ring of 16 that must differ by so much.
    scales
        Number of levels of the image pyramid, each 1.2 times smaller than the one before.
    """

    def detect(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        detector = ORB(n_keypoints=most_points, fast_threshold=fast_threshold, fast_n=fast_arc_px, n_scales=scales)
        try:
            detector.detect(np.asarray(part, dtype=np.float64))
        except RuntimeError:  # raised by scikit-image if there is no corner
            return np.empty((0, 2)), np.empty(0)
        return detector.keypoints, detector.responses

    points, responses = detect_in_tiles(image, detect, _TILE_PX, _HALO_PX)
    strongest = np.argsort(-responses, kind="stable")[:most_points]
    return np.asarray(np.clip(np.round(points[strongest]), 0, np.array(image.shape) - 1), dtype=np.int64)
