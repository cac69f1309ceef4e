"""Policies without a search: each returns rows of pixels (raster order) of an image, in the order of measurement."""

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from agent.config.recommendation import RecommendSettings
from agent.recommendation.core_points import core_order
from agent.recommendation.policies import Equal, Informative, Policy
from agent.recommendation.similarity_kernel import PlaceKernel
from agent.recommendation.target_grid import target_grid
from rewards.base import Mixture
from rewards.mixture.gmm import fit_grid

KMEANS_TYPES = 6
GMM_DIMS = 6
_CANDIDATES_ANYWHERE = 2000


def random_places(shape: tuple[int, int], count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """Random pixels without replacement."""
    return rng.choice(shape[0] * shape[1], count, replace=False)


def grid_places(shape: tuple[int, int], count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """A square grid of exactly `count` nodes over the whole image, randomly shifted within a fifth of a cell.

    If the count does not fill a rectangle, lines differ by one node.
    """
    lines = max(1, round(np.sqrt(count * shape[0] / shape[1])))
    on_line = np.bincount(np.arange(count) * lines // count, minlength=lines)
    shift = rng.uniform(0.4, 0.6, size=2)
    row = np.repeat((np.arange(lines) + shift[0]) * shape[0] / lines, on_line).astype(np.int64)
    col = np.concatenate([(np.arange(n) + shift[1]) * shape[1] / n for n in on_line]).astype(np.int64)
    return row * shape[1] + col


def blue_noise_places(shape: tuple[int, int], count: int, rng: np.random.Generator) -> Int[np.ndarray, " count"]:
    """Each pixel is the farthest from the previous ones among a growing number of random candidates (Mitchell's algorithm)."""
    places = np.empty((0, 2))
    for number in range(count):
        candidates = np.stack([rng.integers(side, size=10 * (number + 1)) for side in shape], axis=1)
        if number:
            distance = np.linalg.norm(candidates[:, None] - places, axis=2).min(axis=1)
            candidates = candidates[[distance.argmax()]]
        places = np.concatenate([places, candidates[:1]])
    return (places[:, 0] * shape[1] + places[:, 1]).astype(np.int64)


def kmeans_places(
    patches: Float[np.ndarray, "n pixels"], count: int, settings: RecommendSettings, rng: np.random.Generator
) -> Int[np.ndarray, " count"]:
    """Rows of `patches`: those closest to the k-means centres, from each cluster in turn."""
    found = KMeans(KMEANS_TYPES, n_init=4, random_state=int(rng.integers(2**31))).fit(patches)
    return _in_turn(core_order(found.transform(patches), found.labels_.astype(np.int64), settings.core_fraction), count)


def gmm_places(
    features: Float[np.ndarray, "n d"], count: int, settings: RecommendSettings, rng: np.random.Generator
) -> Int[np.ndarray, " count"]:
    """Rows of `features`: core points of the Gaussian mixture with the smallest BIC, from each cluster in turn."""
    mixture = min(fit_grid(features, rng), key=lambda fit: fit.bic).mixture
    return mixture_places(mixture, features, count, settings)


def mixture_places(
    mixture: Mixture, z: Float[np.ndarray, "n d"], count: int, settings: RecommendSettings
) -> Int[np.ndarray, " count"]:
    """Rows of `z`: core points of the mixture, from each cluster in turn, most typical first."""
    return _in_turn(core_order(mixture.mahalanobis(z), mixture.labels(z), settings.core_fraction), count)


def informative_places(
    features: Float[np.ndarray, "n d"],
    pixels: Int[np.ndarray, "n 2"],
    count: int,
    settings: RecommendSettings,
    rng: np.random.Generator,
) -> Int[np.ndarray, " count"]:
    """Rows of pixels by integrated variance reduction, from a random subset of all pixels."""
    allowed = np.zeros(len(pixels), dtype=bool)
    allowed[rng.choice(len(pixels), min(_CANDIDATES_ANYWHERE, len(pixels)), replace=False)] = True
    position_length = settings.position_length * float(np.ptp(pixels, axis=0).max())
    kernel = PlaceKernel(features, pixels.astype(np.float64), settings.patch_share, settings.patch_length, position_length)
    nodes = target_grid(np.ones(pixels[-1] + 1, dtype=bool))
    targets = nodes[:, 0] * (pixels[-1, 1] + 1) + nodes[:, 1]
    none = np.empty(0, dtype=np.int64)
    with threadpool_limits(1):
        policy = Informative(kernel, pixels, allowed, targets, none, settings.noise, rng)
        return _follow(policy, allowed, count)


def _in_turn(cores: list[np.ndarray], count: int) -> np.ndarray:
    allowed = np.zeros(1 + max(int(core.max(initial=0)) for core in cores), dtype=bool)
    allowed[np.concatenate(cores)] = True
    return _follow(Equal(cores), allowed, count)


def _follow(policy: Policy, allowed: Bool[np.ndarray, " n"], count: int) -> np.ndarray:
    allowed, rows = allowed.copy(), []
    while len(rows) < count and (row := policy.choose(allowed)) is not None:
        policy.accept(row)
        rows.append(row)
        allowed[row] = False
    return np.array(rows, dtype=np.int64)
