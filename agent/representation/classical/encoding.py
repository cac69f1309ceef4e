"""Representations by a plain family: a basis fitted to some patches, any number of others encoded with it."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float32, Int
from threadpoolctl import threadpool_limits

from agent.errors import SearchCancelledError
from agent.preprocessing.patches import cut_patches
from agent.representation.classical.amplitude import amplitude_moments
from agent.representation.classical.kmeans import centroid_basis
from agent.representation.classical.pca import Basis
from agent.representation.classical.polar import polar_magnitudes
from agent.representation.classical.spec import PlainSpec
from rewards.base import Representation

CHUNK = 1024  # patches encoded at a time
_VIEWS = ("as it is", "rotated", "mirrored")
_OF_PIXELS = ("pca", "kmeans")  # families whose features are the pixels themselves
_LEAST_P = 1e-3  # reconstructions are probabilities in eq. 1: kept this far from 0 and 1


def represent_plain(
    images: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    spec: PlainSpec,
    seeds: Sequence[int],
    *,
    fit_rc: Int[np.ndarray, "f 2"],
    held_out_rc: Int[np.ndarray, "h 2"],
    stopped: Callable[[], bool] = lambda: False,
) -> list[tuple[Representation, Basis]]:
    """A representation for each seed and the basis it rests on, fitted to a bootstrap resample of the patches at `fit_rc`.

    The resamples say how far the family's score depends on which patches there happened to be; a VAE's seeds say how far it
    depends on training. Linear algebra runs on one thread: the number of threads changes the last bits. Memory is governed by
    the number of points to fit to; those to encode are taken in chunks.

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2): the patches to encode.
    spec
        The family.
    seeds
        One resample each.
    fit_rc
        Shape (f, 2): the patches to fit to.
    held_out_rc
        Shape (h, 2): the patches that judge the reconstruction.
    stopped
        Asked between chunks and before each fit.

    Raises
    ------
    SearchCancelledError
        If `stopped` said so.
    """
    with threadpool_limits(1):
        features = np.concatenate([f for (f,) in _chunks(images, fit_rc, spec, _VIEWS[:1], stopped)])
        bases = []
        for seed in seeds:
            _heed(stopped)
            bases.append(_fit(features, spec, seed))
        encoded = _encode(images, points_rc, spec, bases, _VIEWS, stopped)
        judged = _judge(images, held_out_rc, spec, bases, stopped)
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
        for seed, basis, (z, z_rotated, z_mirrored), reconstruction in zip(seeds, bases, encoded, judged, strict=True)
    ]


def encode_plain(
    images: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    spec: PlainSpec,
    basis: Basis,
    stopped: Callable[[], bool] = lambda: False,
) -> Float[np.ndarray, "n d"]:
    """Latents of the patches at `points_rc`, bit for bit the same whatever points stand beside them.

    Parameters
    ----------
    images
        Shape (C, rows, cols), in [0, 1].
    points_rc
        Shape (n, 2).
    spec, basis
        What `represent_plain` was given and returned.
    stopped
        Asked between chunks.

    Raises
    ------
    SearchCancelledError
        If `stopped` said so.
    """
    with threadpool_limits(1):
        return _encode(images, points_rc, spec, [basis], _VIEWS[:1], stopped)[0][0]


def _fit(features: np.ndarray, spec: PlainSpec, seed: int) -> Basis:
    rng = np.random.default_rng([seed, spec.window_px, *map(ord, spec.invariance)])
    n = len(features)
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
    """Of each basis, of each view, latents (n, d)."""
    z = [[np.empty((len(points_rc), spec.latent_dim)) for _ in views] for _ in bases]
    for i, chunk in enumerate(_chunks(images, points_rc, spec, views, stopped)):
        rows = slice(i * CHUNK, i * CHUNK + len(chunk[0]))
        for v, features in enumerate(chunk):
            # A matrix product rounds by its shape: padded, each row's result is its own whatever the chunk.
            padded = np.pad(features, ((0, CHUNK - len(features)), (0, 0)))
            for of_basis, basis in zip(z, bases, strict=True):
                of_basis[v][rows] = basis.encode(padded)[: len(features)]
    return z


def _judge(
    images: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, bases: Sequence[Basis], stopped: Callable[[], bool]
) -> list[float]:
    """Eq. 1 of the paper: Bernoulli log-likelihood per pixel, in nats; NaN where a family does not reconstruct pixels."""
    if spec.invariance not in _OF_PIXELS or not len(points_rc):
        return [float("nan")] * len(bases)
    total, pixels = np.zeros(len(bases)), 0
    for (x,) in _chunks(images, points_rc, spec, _VIEWS[:1], stopped):
        pixels += x.size
        for b, basis in enumerate(bases):
            p = np.clip(basis.decode(basis.encode(x)), _LEAST_P, 1 - _LEAST_P)
            total[b] += (x * np.log(p) + (1 - x) * np.log(1 - p)).sum()
    return [float(one) for one in total / pixels]


def _chunks(
    images: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, views: Sequence[str], stopped: Callable[[], bool]
) -> Iterator[list[np.ndarray]]:
    """Features (up to CHUNK, features) of each view, chunk after chunk."""
    for first in range(0, len(points_rc), CHUNK):
        _heed(stopped)
        yield _features(images, points_rc[first : first + CHUNK], spec, views)


def _heed(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise SearchCancelledError("the search was cancelled while a plain family was encoding")


def _features(images: np.ndarray, points_rc: np.ndarray, spec: PlainSpec, views: Sequence[str]) -> list[np.ndarray]:
    parts: list[list[np.ndarray]] = [[] for _ in views]
    for window in spec.windows_px or (spec.window_px,):
        patches = cut_patches(images, points_rc, window).astype(np.float64)
        for of_view, view in zip(parts, views, strict=True):
            part = _features_of(_seen(patches, view), spec)
            # Of several windows, each has an equal say, however many rings it has.
            of_view.append(part / np.sqrt(part.shape[1]) if spec.windows_px else part)
    return [np.concatenate(of_view, axis=1) for of_view in parts]


def _seen(patches: np.ndarray, view: str) -> np.ndarray:
    if view == "rotated":
        return np.rot90(patches, axes=(2, 3))
    return np.flip(patches, axis=3) if view == "mirrored" else patches


def _features_of(patches: np.ndarray, spec: PlainSpec) -> np.ndarray:
    if spec.invariance in _OF_PIXELS:
        return patches.reshape(len(patches), -1)
    return amplitude_moments(patches) if spec.invariance == "amplitude" else polar_magnitudes(patches)
