"""Baselines for the agent's search: fixed methods that find types without choosing a representation, on all key points.

Windows, latent dimensions and families were fixed on development worlds. K is not given: mixtures use the K of 1 to 10 that BIC
prefers, k-means the K of 2 to 10 with the best silhouette (Rousseeuw, J. Comput. Appl. Math. 20 (1987) 53).
"""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Int
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits

from agent.config.model import Config
from agent.preprocessing.patches import cut_patches
from agent.representation.classical import PlainSpec
from agent.representation.tasks import RepresentTask, represent
from agent.representation.vae.spec import ModelSpec
from agent.search.candidates import rows_of
from benchmarks.harness.worlds import WINDOW_PX, World
from rewards.base import Representation
from rewards.mixture.gmm import gmm

Baseline = Callable[[World, Config], Int[np.ndarray, " n"]]
FIXED_POLAR = "polar PCA of amplitude and phase + GMM"
#: The agent's search before it knew walls, with the decision rule of that time.
BEFORE = "the search before it knew walls (Canny, polar PCA)"
_POLAR_WINDOW_PX = 15
_LATENTS = 6
_MAX_CLUSTERS = 10


def bic_labels(representation: Representation, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Cluster labels of the mixture of 1 to 10 Gaussians with the smallest BIC."""
    with threadpool_limits(1):
        mixture = gmm(representation, rng=np.random.default_rng(seed), criterion="bic").mixture
    assert mixture is not None
    return mixture.labels(representation.z)


def k_means(world: World, config: Config) -> Int[np.ndarray, " n"]:  # noqa: ARG001 - the signature of a baseline
    """k-means labels of the pixels of amplitude patches, with the K of the best silhouette."""
    patches = cut_patches(world.prepared.stacks[world.prepared.vae_modes[0]], world.points_rc, WINDOW_PX)
    pixels = patches.reshape(len(patches), -1)
    with threadpool_limits(1):
        labellings = [KMeans(k, n_init=3, random_state=0).fit_predict(pixels) for k in range(2, _MAX_CLUSTERS + 1)]
        return np.asarray(max(labellings, key=lambda labels: silhouette_score(pixels, labels)))


def _plain(family: str, window_px: int, *, phase: bool) -> Baseline:
    def baseline(world: World, config: Config) -> Int[np.ndarray, " n"]:
        mode = (world.prepared.plain_modes if phase else world.prepared.vae_modes)[0]
        spec = PlainSpec(window_px, family, _LATENTS, len(world.prepared.stacks[mode]))
        return bic_labels(_represented(world, config, spec, mode))

    return baseline


def _vae(invariance: str) -> Baseline:
    def baseline(world: World, config: Config) -> Int[np.ndarray, " n"]:
        mode = world.prepared.vae_modes[0]
        return bic_labels(_represented(world, config, ModelSpec(WINDOW_PX, invariance), mode))

    return baseline


def _represented(world: World, config: Config, spec: PlainSpec | ModelSpec, mode: str) -> Representation:
    rows = rows_of(world.points_rc, config)
    rc = world.points_rc
    task = RepresentTask(rc, rc[rows.fitted], rc[rows.held_out], (spec,), (0,), config.train)
    return represent(world.prepared.stacks[mode], task)[0].representation


BASELINES: Mapping[str, Baseline] = {
    "k-means of patches": k_means,
    "PCA + GMM": _plain("pca", WINDOW_PX, phase=False),
    "polar PCA of amplitude + GMM": _plain("polar", _POLAR_WINDOW_PX, phase=False),
    FIXED_POLAR: _plain("polar", _POLAR_WINDOW_PX, phase=True),
    "v-VAE, 13 px": _vae("v"),
    "r-VAE, 13 px": _vae("r"),
    "rt-VAE, 13 px": _vae("rt"),
}
