"""Blobs, by the detector of SIFT."""

import numpy as np
from jaxtyping import Float32, Int
from skimage.feature import SIFT

from agent.preprocessing.keypoints.tiling import detect_in_tiles

_TILE_PX = 512
_HALO_PX = 64  # a multiple of the coarser octaves' pixels, so that tiles sample them at the same places as the whole image


def sift(
    image: Float32[np.ndarray, "rows cols"],
    *,
    rng: np.random.Generator,  # noqa: ARG001 - the KeypointMethod signature
    least_contrast: float = 0.01,
    largest_edge_ratio: float = 10.0,
    upsampling: int = 2,
) -> Int[np.ndarray, "n 2"]:
    """Extrema of the difference of Gaussians, the smallest scale first (D. Lowe, Int. J. Comput. Vis. 60, 91, 2004).

    Small structures come first because they are what a patch of a few pixels can hold. A place found with several
    orientations is returned once. Images larger than 512 px are searched in tiles with a margin of 64 px: what is wider than that
    and lies on a seam may be found twice, elsewhere or not at all; no patch could hold it.

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    rng
        Not used.
    least_contrast
        Of the difference of Gaussians; lower finds more points, more of them noise.
    largest_edge_ratio
        Of the two principal curvatures; higher keeps more points along straight walls.
    upsampling
        1, 2 or 4: how much the image is enlarged before, which finds smaller structures and costs memory.
    """

    def detect(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        detector = SIFT(upsampling=upsampling, c_dog=least_contrast, c_edge=largest_edge_ratio)
        try:
            detector.detect(np.asarray(part, dtype=np.float64))
        except RuntimeError:  # scikit-image's way to say that there is no extremum
            return np.empty((0, 2)), np.empty(0)
        return detector.keypoints, detector.scales

    found, scales = detect_in_tiles(image, detect, _TILE_PX, _HALO_PX)
    order = np.argsort(scales, kind="stable")
    points = np.clip(np.round(found[order]).astype(np.int64), 0, np.array(image.shape) - 1)
    _, first = np.unique(points, axis=0, return_index=True)
    return np.asarray(points[np.sort(first)])
