"""Plain representations that need no training: the baseline that a VAE must beat, and on simulated surfaces often does not.

- "pca": principal components of the patches (K. Pearson, Phil. Mag. 2, 559, 1901).
- "polar": principal components of magnitudes of angular Fourier series on rings around the patch's centre. A rotation shifts the
  phases of such a series, a mirror conjugates it; the magnitudes know of neither. It must not be confused with a polar
  transform or with averaging over rings: what a ring holds is kept up to a rotation of each ring by itself.
- "multi": the polar features of several windows together.

Latents are scaled to unit variance, as a VAE's prior asks of its own, so that guards and filters mean the same for both. Raw
k-means is left out: it has labels and no density that a mixture's criteria could judge, and a full mixture on principal
components holds its partition as a special case.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from threadpoolctl import threadpool_limits

from agent.workflow.patches import cut_patches
from rewards.base import Representation

ANGLES = 24  # a multiple of four, so that a quarter turn maps samples onto samples
FREQUENCIES = 8
_LEAST_SHARE = 1e-6  # of the first component's variance; what is below is rounding and is not stretched
_LEAST_P = 1e-3  # reconstructions are probabilities in eq. 1: kept this far from 0 and 1


@dataclass(frozen=True)
class PlainSpec:
    """A plain family at one window.

    Parameters
    ----------
    window_px
        Side of the patches; of "multi", of the largest.
    invariance
        The family's short name; records call the kind of every representation so.
    latent_dim
        Principal components kept.
    channels
        Channels of a patch.
    windows_px
        Of "multi", all windows.
    """

    window_px: int
    invariance: str
    latent_dim: int = 6
    channels: int = 1
    windows_px: tuple[int, ...] = ()

    @property
    def kl_weight(self) -> float:
        """β: 0, nothing is traded against the reconstruction."""
        return 0.0


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal axes (features, d), centre (features,) and standard deviations (d,); 1 where there is no variance."""

    axes: Float[np.ndarray, "features d"]
    centre: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " d"]

    @classmethod
    def of(cls, features: Float[np.ndarray, "n features"], d: int) -> "Basis":
        """The first d components of the features; those beyond their number are zero."""
        centre = features.mean(axis=0)
        variances, axes = np.linalg.eigh(np.cov(features, rowvar=False))
        variances, axes = variances[::-1][:d], axes[:, ::-1][:, :d]
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])  # eigh leaves the sign open
        seen = variances > _LEAST_SHARE * max(variances[0], 0.0)
        missing = d - len(variances)
        axes = np.pad(np.where(seen, axes, 0.0), ((0, 0), (0, missing)))
        return cls(axes, centre, np.pad(np.sqrt(np.where(seen, variances, 1.0)), (0, missing), constant_values=1.0))

    def encode(self, features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n d"]:
        """Latents, of unit variance on what the basis was fitted to."""
        return np.asarray((features - self.centre) @ self.axes / self.scale)

    def decode(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n features"]:
        """Features nearest to the latents."""
        return np.asarray((z * self.scale) @ self.axes.T + self.centre)


def polar_magnitudes(patches: Float[np.ndarray, "n C w w"]) -> Float[np.ndarray, "n features"]:
    """Magnitudes of the first angular Fourier coefficients on rings one pixel apart, for each channel.

    Parameters
    ----------
    patches
        Shape (n, channels, window, window).

    Returns
    -------
    Shape (n, channels · rings · frequencies): unchanged, up to rounding, when a patch is turned by 90 degrees or mirrored, and
    up to interpolation when it is turned by any angle.
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


def represent_plain(
    images: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    held_out: Bool[np.ndarray, " n"],
    spec: PlainSpec,
    seeds: Sequence[int],
) -> list[Representation]:
    """A representation for each seed, its basis fitted to a bootstrap resample of the patches that are not held out.

    The resamples say how far the family's score depends on which patches there happened to be; a VAE's seeds say how far it
    depends on training. Linear algebra runs on one thread: the number of threads changes the last bits.

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2).
    held_out
        Shape (n,): judge the reconstruction and do not take part in the fit.
    spec
        The family.
    seeds
        One resample each.
    """
    with threadpool_limits(1):
        views = [_features(images, points_rc, spec, view) for view in ("as it is", "rotated", "mirrored")]
        fitted = np.flatnonzero(~held_out)
        return [_represent_one(views, fitted, held_out, points_rc, spec, seed) for seed in seeds]


def _represent_one(
    views: list[np.ndarray], fitted: np.ndarray, held_out: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, seed: int
) -> Representation:
    rng = np.random.default_rng([seed, spec.window_px, *map(ord, spec.invariance)])
    basis = Basis.of(views[0][rng.choice(fitted, size=len(fitted))], spec.latent_dim)
    z, z_rotated, z_mirrored = (basis.encode(view) for view in views)
    defined = spec.invariance == "pca"
    return Representation(
        z=z,
        z_std=np.zeros_like(z),
        z_rotated=z_rotated,
        z_mirrored=z_mirrored,
        points_rc=points_rc,
        window_px=spec.window_px,
        invariance=spec.invariance,
        seed=seed,
        elbo_per_px=float("nan"),
        reconstruction_per_px=_reconstruction(views[0][held_out], basis.decode(z[held_out])) if defined else float("nan"),
        trained=False,
    )


def _features(images: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, view: str) -> np.ndarray:
    parts = []
    for window in spec.windows_px or (spec.window_px,):
        patches = cut_patches(images, points_rc, window).astype(np.float64)
        if view == "rotated":
            patches = np.rot90(patches, axes=(2, 3))
        elif view == "mirrored":
            patches = np.flip(patches, axis=3)
        part = patches.reshape(len(patches), -1) if spec.invariance == "pca" else polar_magnitudes(patches)
        # Of several windows, each has an equal say, however many rings it has.
        parts.append(part / np.sqrt(part.shape[1]) if spec.windows_px else part)
    return np.concatenate(parts, axis=1)


def _reconstruction(x: np.ndarray, reconstructed: np.ndarray) -> float:
    """Eq. 1 of the paper: Bernoulli log-likelihood per pixel, in nats."""
    p = np.clip(reconstructed, _LEAST_P, 1 - _LEAST_P)
    return float((x * np.log(p) + (1 - x) * np.log(1 - p)).mean())
