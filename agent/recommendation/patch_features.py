"""Features of patches that need no model: the principal components of their pixels."""

import numpy as np
from jaxtyping import Float, Float32, Int

from agent.preprocessing.patches import cut_patches
from agent.representation.classical.pca import Basis

COMPONENTS = 8
_CHUNK = 1024  # patches encoded at a time


def patch_features(
    images: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    window_px: int,
    fitted_rc: Int[np.ndarray, "f 2"],
) -> Float[np.ndarray, "n d"]:
    """The first `COMPONENTS` principal components of the patches, in units of the pixel values.

    The chosen model's latents are not used: they separate orientation, and hysteresis loops do not (docs/decisions/0015). The
    image is mirrored at its border, so that every pixel has a patch.

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2): centres of the patches, pixels.
    window_px
        Side of the patches in pixels.
    fitted_rc
        Shape (f, 2): centres of the patches that the components are fitted to, pixels.
    """
    margin = window_px // 2
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)), mode="symmetric")
    fitted = _pixels(padded, fitted_rc + margin, window_px)
    basis = Basis.of(fitted, np.ones(len(fitted)), COMPONENTS)
    parts = [points_rc[start : start + _CHUNK] + margin for start in range(0, len(points_rc), _CHUNK)]
    return np.asarray(np.concatenate([basis.encode(_pixels(padded, part, window_px)) for part in parts]) * basis.scale)


def _pixels(images: np.ndarray, points_rc: np.ndarray, window_px: int) -> np.ndarray:
    return np.asarray(cut_patches(images, points_rc, window_px).reshape(len(points_rc), -1), dtype=np.float64)
