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
from agent.workflow.spec import ModelSpec
from agent.workflow.train import encode, resolve_device, train
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
        return represent_plain(task.channels, task.points_rc, task.held_out, task.spec, task.seeds)
    patches = cut_patches(task.channels, task.points_rc, task.spec.window_px)
    device = resolve_device(task.train)
    specs = [task.spec] * len(task.seeds)
    fitted = train(patches, specs, task.seeds, task.held_out, task.train, stopped, device=device)
    d = task.spec.latent_dim
    views = (patches, np.rot90(patches, axes=(2, 3)), np.flip(patches, axis=3))
    encoded = [encode(view, task.spec, [f.weights for f in fitted], device) for view in views]
    mean, rotated, mirrored = (e[0][:, :, -d:].astype(np.float64) for e in encoded)
    std = encoded[0][1][:, :, -d:].astype(np.float64)
    return [
        Representation(
            z=mean[e],
            z_std=std[e],
            z_rotated=rotated[e],
            z_mirrored=mirrored[e],
            points_rc=task.points_rc,
            window_px=task.spec.window_px,
            invariance=task.spec.invariance,
            seed=task.seeds[e],
            elbo_per_px=model.elbo_per_px,
            reconstruction_per_px=model.reconstruction_per_px,
        )
        for e, model in enumerate(fitted)
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
