"""Blobs found by the detector of SIFT."""

import numpy as np
from jaxtyping import Float32, Int
from skimage.feature import SIFT

from agent.preprocessing.keypoints.tiling import detect_in_tiles

_TILE_PX = 512
_HALO_PX = 64  # a multiple of the coarser octaves' pixel size, so that tiles are sampled at the same positions as the whole image


def sift(
    image: Float32[np.ndarray, "rows cols"],
    *,
    rng: np.random.Generator,  # noqa: ARG001 - the KeypointMethod signature
    least_contrast: float = 0.01,
    largest_edge_ratio: float = 10.0,
    upsampling: int = 2,
) -> Int[np.ndarray, "n 2"]:
    """Extrema of the difference of Gaussians, the smallest scale first (D. Lowe, Int. J. Comput. Vis. 60, 91, 2004).

    Small structures come first because they fit into a patch of a few pixels. A point found with several orientations is returned
    once. Images larger than 512 px are searched in tiles with a margin of 64 px. A structure that is wider than that and lies on
    a seam may be missed, displaced or found twice; it would not fit into a patch anyway.

    Parameters
    ----------
    image
        Shape (rows, cols), in [0, 1].
    rng
        Not used.
    least_contrast
        Smallest contrast of the difference of Gaussians; a lower value finds more points, more of them noise.
    largest_edge_ratio
        Largest ratio of the two principal curvatures; a higher value keeps more points along straight walls.
    upsampling
        Factor by which the image is enlarged first (1, 2 or 4); a larger one finds smaller structures and needs more memory.
    """

    def detect(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        detector = SIFT(upsampling=upsampling, c_dog=least_contrast, c_edge=largest_edge_ratio)
        try:
            detector.detect(np.asarray(part, dtype=np.float64))
        except RuntimeError:  # raised by scikit-image if there is no extremum
            return np.empty((0, 2)), np.empty(0)
        return detector.keypoints, detector.scales

    found, scales = detect_in_tiles(image, detect, _TILE_PX, _HALO_PX)
    order = np.argsort(scales, kind="stable")
    points = np.clip(np.round(found[order]).astype(np.int64), 0, np.array(image.shape) - 1)
    _, first = np.unique(points, axis=0, return_index=True)
    return np.asarray(points[np.sort(first)])
