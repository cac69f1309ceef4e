"""Representations by plain families: a basis is fitted to some patches, and any number of patches are encoded with it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int
from threadpoolctl import threadpool_limits

from agent.errors import SearchCancelledError
from agent.preprocessing.patches import cut_patches
from agent.representation.classical.amplitude import amplitude_moments
from agent.representation.classical.coherent import FAR_PX, NEAR_PX, coherent_basis
from agent.representation.classical.kmeans import centroid_basis
from agent.representation.classical.pca import Basis
from agent.representation.classical.polar import polar_magnitudes
from agent.representation.classical.spec import PlainSpec
from agent.schema.model_kinds import WALL_COHERENT
from rewards.base import Representation, WallGraph

CHUNK = 1024  # patches encoded at a time
_VIEWS = ("unchanged", "rotated", "mirrored")
_PIXEL_FAMILIES = ("pca", "kmeans")  # their features are the pixels themselves
_LEFT_OUT = 0.1  # share of the points without which a resample of a wall-coherent family is fitted
_MIN_P = 1e-3  # eq. 1 takes reconstructions as probabilities; this is their smallest distance from 0 and 1


def represent_plain(
    images: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    spec: PlainSpec,
    seeds: Sequence[int],
    *,
    fit_rc: Int[np.ndarray, "f 2"],
    held_out_rc: Int[np.ndarray, "h 2"],
    fit_walls: WallGraph | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> list[tuple[Representation, Basis]]:
    """For each seed, a representation and its basis, fitted to a resample of the patches at `fit_rc`.

    A resample is a bootstrap one; for a wall-coherent family it is all patches but a random tenth.

    The resamples show how far the family's score depends on the choice of patches, as a VAE's seeds show how far it depends on
    training. Linear algebra runs on one thread: the number of threads changes the last bits. Memory grows with the number of
    points to fit to; the others are encoded in chunks.

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2): key points of the patches to encode, pixels.
    spec
        Family, window and number of latents.
    seeds
        Seeds of the resamples, one for each representation.
    fit_rc
        Shape (f, 2): key points of the patches to fit to, pixels.
    held_out_rc
        Shape (h, 2): key points of the patches on which the reconstruction is judged, pixels.
    fit_walls
        Which of the points at `fit_rc` lie on the same wall, for "coherent".
    stopped
        Polled between chunks and before each fit.

    Raises
    ------
    SearchCancelledError
        If `stopped` returned true.
    """
    with threadpool_limits(1):
        features = np.concatenate([f for (f,) in _chunks(images, fit_rc, spec, _VIEWS[:1], stopped)])
        bases = []
        for seed in seeds:
            _raise_if_stopped(stopped)
            bases.append(_fit(features, spec, seed, fit_walls or WallGraph.empty()))
        encoded = _encode(images, points_rc, spec, bases, _VIEWS, stopped)
        reconstructions = _reconstruction_per_px(images, held_out_rc, spec, bases, stopped)
    return [
        (
            Representation(
                z=z,
                z_std=np.zeros_like(z),
                z_rotated=z_rotated,
                z_mirrored=z_mirrored,
                points_rc=points_rc,
                window_px=spec.window_px,
                invariance=spec.invariance,
                seed=seed,
                elbo_per_px=float("nan"),
                reconstruction_per_px=reconstruction,
                trained=False,
            ),
            basis,
        )
        for seed, basis, (z, z_rotated, z_mirrored), reconstruction in zip(seeds, bases, encoded, reconstructions, strict=True)
    ]


def encode_plain(
    images: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    spec: PlainSpec,
    basis: Basis,
    stopped: Callable[[], bool] = lambda: False,
) -> Float[np.ndarray, "n d"]:
    """Latents of the patches at `points_rc`; those of a patch do not depend, bit for bit, on the other points.

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2): key points, pixels.
    spec, basis
        Specification given to `represent_plain`, and the basis that it returned.
    stopped
        Polled between chunks.

    Raises
    ------
    SearchCancelledError
        If `stopped` returned true.
    """
    with threadpool_limits(1):
        return _encode(images, points_rc, spec, [basis], _VIEWS[:1], stopped)[0][0]


def _fit(features: np.ndarray, spec: PlainSpec, seed: int, walls: WallGraph) -> Basis:
    rng = np.random.default_rng([seed, spec.window_px, *map(ord, spec.invariance)])
    n = len(features)
    if spec.invariance in WALL_COHERENT:
        # A bootstrap resample keeps 40 % of the pairs along walls, too few in noisy scans.
        kept = (rng.random(n) >= _LEFT_OUT).astype(np.float64)
        return coherent_basis(features, kept, walls.between(NEAR_PX, FAR_PX), spec.latent_dim)
    counts = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
    if spec.invariance == "kmeans":
        return centroid_basis(features, counts, spec.latent_dim, rng)
    return Basis.of(features, counts, spec.latent_dim)


def _encode(
    images: np.ndarray,
    points_rc: np.ndarray,
    spec: PlainSpec,
    bases: Sequence[Basis],
    views: Sequence[str],
    stopped: Callable[[], bool],
) -> list[list[np.ndarray]]:
    """For each basis and each view, latents of shape (n, d)."""
    z = [[np.empty((len(points_rc), spec.latent_dim)) for _ in views] for _ in bases]
    for i, chunk in enumerate(_chunks(images, points_rc, spec, views, stopped)):
        rows = slice(i * CHUNK, i * CHUNK + len(chunk[0]))
        for v, features in enumerate(chunk):
            # Rounding in a matrix product depends on its shape; with padding all chunks have the same.
            padded = np.pad(features, ((0, CHUNK - len(features)), (0, 0)))
            for latents, basis in zip(z, bases, strict=True):
                latents[v][rows] = basis.encode(padded)[: len(features)]
    return z


def _reconstruction_per_px(
    images: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, bases: Sequence[Basis], stopped: Callable[[], bool]
) -> list[float]:
    """For each basis, eq. 1 of the paper: Bernoulli log-likelihood per pixel in nats; NaN if pixels are not reconstructed."""
    if spec.invariance not in _PIXEL_FAMILIES or not len(points_rc):
        return [float("nan")] * len(bases)
    total, pixels = np.zeros(len(bases)), 0
    for (x,) in _chunks(images, points_rc, spec, _VIEWS[:1], stopped):
        pixels += x.size
        for b, basis in enumerate(bases):
            p = np.clip(basis.decode(basis.encode(x)), _MIN_P, 1 - _MIN_P)
            total[b] += (x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
    return [float(one) for one in total / pixels]


def _chunks(
    images: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, views: Sequence[str], stopped: Callable[[], bool]
) -> Iterator[list[np.ndarray]]:
    """For each chunk, the features of each view, shape (up to CHUNK, features)."""
    for first in range(0, len(points_rc), CHUNK):
        _raise_if_stopped(stopped)
        yield _features(images, points_rc[first : first + CHUNK], spec, views)


def _raise_if_stopped(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise SearchCancelledError("the search was cancelled while a plain family was encoding")


def _features(images: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, views: Sequence[str]) -> list[np.ndarray]:
    parts: list[list[np.ndarray]] = [[] for _ in views]
    for window in spec.windows_px or (spec.window_px,):
        patches = cut_patches(images, points_rc, window).astype(np.float64)
        for view_parts, view in zip(parts, views, strict=True):
            part = _features_of(_transformed(patches, view), spec)
            # Several windows have equal weight, whatever their number of rings.
            view_parts.append(part / np.sqrt(part.shape[1]) if spec.windows_px else part)
    return [np.concatenate(view_parts, axis=1) for view_parts in parts]


def _transformed(patches: np.ndarray, view: str) -> np.ndarray:
    if view == "rotated":
        return np.rot90(patches, axes=(2, 3))
    return np.flip(patches, axis=3) if view == "mirrored" else patches


def _features_of(patches: np.ndarray, spec: PlainSpec) -> np.ndarray:
    if spec.invariance in _PIXEL_FAMILIES:
        return patches.reshape(len(patches), -1)
    return amplitude_moments(patches) if spec.invariance == "amplitude" else polar_magnitudes(patches)
