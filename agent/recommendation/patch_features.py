"""What patches show, in few numbers, without any model: their principal components."""

import numpy as np
from jaxtyping import Float, Float32, Int

from agent.preprocessing.patches import cut_patches
from agent.representation.classical.pca import Basis

COMPONENTS = 8
_CHUNK = 1024


def patch_features(
    images: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    window_px: int,
    fitted_rc: Int[np.ndarray, "f 2"],
) -> Float[np.ndarray, "n d"]:
    """The first principal components of the patches, in units of the pixels; d is `COMPONENTS`.

    The chosen model's latents are not used: they set orientation apart, and loops do not (docs/decisions/0015). Beyond its border
    the image is mirrored, so that every pixel has a patch.

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2): pixels.
    window_px
        Side of the patches.
    fitted_rc
        Shape (f, 2): pixels whose patches the components are fitted to.
    """
    beyond = window_px // 2
    wider = np.pad(images, ((0, 0), (beyond, beyond), (beyond, beyond)), mode="symmetric")
    fitted = _pixels(wider, fitted_rc + beyond, window_px)
    basis = Basis.of(fitted, np.ones(len(fitted)), COMPONENTS)
    parts = [points_rc[start : start + _CHUNK] + beyond for start in range(0, len(points_rc), _CHUNK)]
    return np.asarray(np.concatenate([basis.encode(_pixels(wider, part, window_px)) for part in parts]) * basis.scale)


def _pixels(images: np.ndarray, points_rc: np.ndarray, window_px: int) -> np.ndarray:
    return np.asarray(cut_patches(images, points_rc, window_px).reshape(len(points_rc), -1), dtype=np.float64)
