"""What patches show, in few numbers, without any model: their principal components."""

import numpy as np
from jaxtyping import Float, Float32, Int

from agent.workflow.families.basis import Basis
from agent.workflow.patches import cut_patches
from agent.workflow.sampling import stratified_subset

COMPONENTS = 8
_MOST_FITTED = 1000
_CHUNK = 1024


def patch_features(
    images: Float32[np.ndarray, "C rows cols"], points_rc: Int[np.ndarray, "n 2"], window_px: int, rng: np.random.Generator
) -> Float[np.ndarray, "n d"]:
    """The first principal components of the patches, in units of the pixels; d is `COMPONENTS`.

    The chosen model's latents are not used: they set orientation apart, and loops do not (docs/decisions/0015).

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2), around which a window holds only pixels of the image.
    window_px
        Side of the patches.
    rng
        Of many points, draws those that the components are fitted to.
    """
    fitted = _pixels(images, points_rc[stratified_subset(points_rc, _MOST_FITTED, rng)], window_px)
    basis = Basis.of(fitted, np.ones(len(fitted)), COMPONENTS)
    parts = [points_rc[start : start + _CHUNK] for start in range(0, len(points_rc), _CHUNK)]
    return np.asarray(np.concatenate([basis.encode(_pixels(images, part, window_px)) for part in parts]) * basis.scale)


def _pixels(images: np.ndarray, points_rc: np.ndarray, window_px: int) -> np.ndarray:
    return np.asarray(cut_patches(images, points_rc, window_px).reshape(len(points_rc), -1), dtype=np.float64)
