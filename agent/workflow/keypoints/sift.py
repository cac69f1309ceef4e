"""Blobs, by the detector of SIFT."""

import numpy as np
from jaxtyping import Float32, Int
from skimage.feature import SIFT


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
    orientations is returned once.

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
    detector = SIFT(upsampling=upsampling, c_dog=least_contrast, c_edge=largest_edge_ratio)
    try:
        detector.detect(np.asarray(image, dtype=np.float64))
    except RuntimeError:  # scikit-image's way to say that there is no extremum
        return np.empty((0, 2), dtype=np.int64)
    order = np.argsort(detector.scales, kind="stable")
    points = np.clip(np.round(detector.keypoints[order]).astype(np.int64), 0, np.array(image.shape) - 1)
    _, first = np.unique(points, axis=0, return_index=True)
    return np.asarray(points[np.sort(first)])
