"""What a classifier reaches that was told the types of other worlds of the tier: the ceiling of finding them without being told.

Gradient-boosted trees (scikit-learn's `HistGradientBoostingClassifier`) on patches of 13 pixels of amplitude, A·cosφ and A·sinφ:
magnitudes of their angular Fourier series, which turning and mirroring leave as they are, with mean, spread and percentiles of
each channel. A convolutional network on the patches themselves, with all turned and mirrored copies, reached about the same
(docs/decisions/0019-tiers.md).
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
from benchmarks.harness.worlds import WINDOW_PX, World, visit
from simulators.sample.domains import coarse

TRAINING_SEEDS = range(10_000, 10_030)  # neither development worlds nor held-out ones
_PERCENTILES = (5, 25, 50, 75, 95)


def ceilings(name: str, seeds: Sequence[int], training_seeds: Sequence[int] = TRAINING_SEEDS) -> dict[str, dict[str, float]]:
    """World -> agreement of the classifier's types with the true ones, as `World.agreement` has it.

    Parameters
    ----------
    name
        The tier.
    seeds, training_seeds
        Worlds that it is judged on, and those that it learns from.

    Raises
    ------
    ValueError
        If it were judged on a world that it learns from.
    """
    both = set(seeds) & set(training_seeds)
    if both:
        raise ValueError(f"worlds {sorted(both)} are among those that the classifier learns from; judge it on others")
    config = Config()
    learnt = [visit(name, seed, config) for seed in training_seeds]
    with threadpool_limits(1):
        model = HistGradientBoostingClassifier(max_iter=200, random_state=0)
        model.fit(np.concatenate([features(w) for w in learnt]), np.concatenate([w.types(w.points_rc) for w in learnt]))
        return {str(seed): _judged(model, visit(name, seed, config)) for seed in seeds}


def features(world: World) -> Float[np.ndarray, "n features"]:
    """Of each key point, features of its patch that do not depend on its orientation."""
    patches = cut_patches(world.scene.stacks[world.scene.plain_modes[0]], world.points_rc, WINDOW_PX)
    pixels = patches.reshape(*patches.shape[:2], -1)
    moments = [pixels.mean(axis=2), pixels.std(axis=2), *np.percentile(pixels, _PERCENTILES, axis=2)]
    return np.concatenate([polar_magnitudes(patches.astype(np.float64)), *moments], axis=1)


def _judged(model: HistGradientBoostingClassifier, world: World) -> dict[str, float]:
    found = model.predict(features(world))
    return world.agreement(world.points_rc, found) | {
        "ari_coarse": adjusted_rand(coarse(found), coarse(world.types(world.points_rc)))
    }
