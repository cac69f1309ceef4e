"""The two tasks that a search hands to its workers: make the representations of one configuration, and judge one of them.

Both are plain functions of plain arguments, so that an executor may run them anywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int

from agent.workflow.budget import TrainSettings
from agent.workflow.families import PlainSpec, represent_plain
from agent.workflow.patches import cut_patches
from agent.workflow.train import train
from agent.workflow.vae import ModelSpec
from rewards.base import Representation, Score
from rewards.density import dense_enough
from rewards.mixture import gmm


@dataclass(frozen=True, eq=False)
class RepresentTask:
    """One configuration to represent: its model or plain family, its seeds, and the points that all configurations share."""

    channels: Float32[np.ndarray, "C rows cols"]
    points_rc: Int[np.ndarray, "n 2"]
    held_out: Bool[np.ndarray, " n"]
    spec: ModelSpec | PlainSpec
    seeds: tuple[int, ...]
    train: TrainSettings


def represent(task: RepresentTask, *, stopped: Callable[[], bool] = lambda: False) -> list[Representation]:
    """A `Representation` for each seed of the task."""
    if isinstance(task.spec, PlainSpec):
        points = {"fit_rc": task.points_rc[~task.held_out], "held_out_rc": task.points_rc[task.held_out]}
        made = represent_plain(task.channels, task.points_rc, task.spec, task.seeds, **points, stopped=stopped)
        return [representation for representation, _ in made]
    patches = cut_patches(task.channels, task.points_rc, task.spec.window_px)
    encoded = train(patches, task.spec, task.seeds, task.held_out, task.train, stopped)
    d = task.spec.latent_dim
    return [
        Representation(
            z=e.mean[:, -d:].astype(np.float64),
            z_std=e.std[:, -d:].astype(np.float64),
            z_rotated=e.mean_rotated[:, -d:].astype(np.float64),
            z_mirrored=e.mean_mirrored[:, -d:].astype(np.float64),
            points_rc=task.points_rc,
            window_px=task.spec.window_px,
            invariance=task.spec.invariance,
            seed=seed,
            elbo_per_px=e.elbo_per_px,
            reconstruction_per_px=e.reconstruction_per_px,
        )
        for seed, e in zip(task.seeds, encoded, strict=True)
    ]


def survivors(
    representation: Representation, relative_density: float, bandwidth: float, closeness: float
) -> Bool[np.ndarray, " n"]:
    """True for the points that the density filter keeps; none when the representation is not finite."""
    if not np.isfinite(representation.z).all():
        return np.zeros(len(representation.z), dtype=bool)
    return dense_enough(representation.z, relative_density, bandwidth, closeness)


def judge(representation: Representation, reward: Callable[..., Score], entropy: Sequence[int]) -> Score:
    """The reward's score; where the reward fits no mixture, with the one that ICL gain prefers.

    Parameters
    ----------
    representation
        Reduced to the common number of points.
    reward
        See `rewards.base.Reward`.
    entropy
        Seeds the reward's generator.
    """
    score = reward(representation, rng=np.random.default_rng(list(entropy)))
    if score.mixture is not None:
        return score
    default = gmm(representation, rng=np.random.default_rng(list(entropy)))
    return Score(score.value, {**default.metrics, **score.metrics}, default.mixture)
