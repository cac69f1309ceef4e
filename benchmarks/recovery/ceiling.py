"""Ceiling of unsupervised methods: a classifier trained on the true types of other worlds of the same tier.

Gradient-boosted trees (scikit-learn's `HistGradientBoostingClassifier`) on 13 px patches of amplitude, A·cosφ and A·sinφ. The
features are the magnitudes of their angular Fourier series, which are invariant to rotation and mirroring, and mean, standard
deviation and percentiles of each channel. A convolutional network on the patches and all their rotated and mirrored copies
reached about the same (docs/decisions/0019-tiers.md).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

from agent.config.model import Config
from agent.preprocessing.patches import cut_patches
from agent.representation.classical.polar import polar_magnitudes
from benchmarks.harness.agreement import adjusted_rand
from benchmarks.harness.worlds import WINDOW_PX, World, scan_world
from simulators.sample.domains import coarse

TRAINING_SEEDS = range(10_000, 10_030)  # no development world and no held-out one
_PERCENTILES = (5, 25, 50, 75, 95)


def ceilings(name: str, seeds: Sequence[int], training_seeds: Sequence[int] = TRAINING_SEEDS) -> dict[str, dict[str, float]]:
    """World -> agreement of the predicted types with the true ones, as in `World.agreement`.

    Parameters
    ----------
    name
        Name of the tier.
    seeds, training_seeds
        Seeds of the test worlds and of the training worlds.

    Raises
    ------
    ValueError
        If a test world is also a training world.
    """
    both = set(seeds) & set(training_seeds)
    if both:
        raise ValueError(f"worlds {sorted(both)} are training worlds of the classifier; test it on others")
    config = Config()
    training = [scan_world(name, seed, config) for seed in training_seeds]
    with threadpool_limits(1):
        model = HistGradientBoostingClassifier(max_iter=200, random_state=0)
        model.fit(np.concatenate([features(w) for w in training]), np.concatenate([w.types(w.points_rc) for w in training]))
        return {str(seed): _evaluated(model, scan_world(name, seed, config)) for seed in seeds}


def features(world: World) -> Float[np.ndarray, "n features"]:
    """Orientation-independent features of the patch of each key point."""
    patches = cut_patches(world.prepared.stacks[world.prepared.plain_modes[0]], world.points_rc, WINDOW_PX)
    pixels = patches.reshape(*patches.shape[:2], -1)
    moments = [pixels.mean(axis=2), pixels.std(axis=2), *np.percentile(pixels, _PERCENTILES, axis=2)]
    return np.concatenate([polar_magnitudes(patches.astype(np.float64)), *moments], axis=1)


def _evaluated(model: HistGradientBoostingClassifier, world: World) -> dict[str, float]:
    predicted = model.predict(features(world))
    return world.agreement(world.points_rc, predicted) | {
        "ari_coarse": adjusted_rand(coarse(predicted), coarse(world.types(world.points_rc)))
    }
