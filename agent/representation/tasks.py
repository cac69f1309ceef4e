"""The tasks that a search hands to its workers: make representations, apply one to further points, judge one.

All are plain functions of plain arguments, so that an executor may run them anywhere. PyTorch is loaded by those that train or
apply a VAE only: plain families are represented before it is, and the process that hands out the tasks never needs it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from threadpoolctl import threadpool_limits

from agent.config.training import TrainSettings
from agent.preprocessing.patches import cut_patches
from agent.representation.classical import Basis, PlainSpec, encode_plain, represent_plain
from agent.representation.vae.spec import ModelSpec
from rewards.base import Representation, Score
from rewards.density import dense_enough
from rewards.mixture.gmm import gmm
from rewards.spatial import FAR_PX, NEAR_PX, neighbourhood, ring

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class RepresentTask:
    """Models (or resamples of a plain family) to make and the key points to represent.

    Parameters
    ----------
    points_rc
        Shape (n, 2): represented.
    fitted_rc, held_out_rc
        Shapes (m, 2), (h, 2): trained on, and kept apart to judge.
    specs
        One for each model; several specs only where they can be stacked.
    seeds
        One for each model.
    train
        Budget and schedule.
    start
        Weights to go on from, one for each model; empty to start from nothing.
    device
        "cpu" or "cuda".
    """

    points_rc: Int[np.ndarray, "n 2"]
    fitted_rc: Int[np.ndarray, "m 2"]
    held_out_rc: Int[np.ndarray, "h 2"]
    specs: tuple[ModelSpec | PlainSpec, ...]
    seeds: tuple[int, ...]
    train: TrainSettings
    start: tuple[np.ndarray, ...] = ()
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class FittedRepresentation:
    """A representation, and what it takes to apply it to other points: weights or basis, as one vector."""

    representation: Representation
    state: np.ndarray


def never() -> bool:
    """Not stopped."""
    return False


def represent(
    channels: Float32[np.ndarray, "C rows cols"], task: RepresentTask, *, stopped: Callable[[], bool] = never
) -> list[FittedRepresentation]:
    """What each model of the task makes of its points."""
    spec = task.specs[0]
    if isinstance(spec, PlainSpec):
        made = represent_plain(
            channels,
            task.points_rc,
            spec,
            task.seeds,
            fit_rc=task.fitted_rc,
            held_out_rc=task.held_out_rc,
            stopped=stopped,
        )
        return [FittedRepresentation(representation, basis.flat()) for representation, basis in made]
    return _represent_trained(channels, task, stopped)


def apply(
    channels: Float32[np.ndarray, "C rows cols"],
    points_rc: Int[np.ndarray, "n 2"],
    spec: ModelSpec | PlainSpec,
    state: np.ndarray,
    device: str = "cpu",
    *,
    stopped: Callable[[], bool] = never,
) -> Float[np.ndarray, "n d"]:
    """Latents of points that a model or plain family was not judged on."""
    if isinstance(spec, PlainSpec):
        return encode_plain(channels, points_rc, spec, Basis.from_flat(state, spec.latent_dim), stopped)
    return np.asarray(_encode(channels, points_rc, spec, [state], device, stopped)[0][0])


def device_for(train: TrainSettings, *, stopped: Callable[[], bool] = never) -> str:  # noqa: ARG001 - a task's signature
    """Where a worker trains: "cpu" or "cuda"."""
    from agent.representation.vae.training import resolve_device

    return resolve_device(train)


def survivors(
    representation: Representation, relative_density: float, bandwidth: float, closeness: float
) -> Bool[np.ndarray, " n"]:
    """True for the points that the density filter keeps; none when the representation is not finite."""
    if not np.isfinite(representation.z).all():
        return np.zeros(len(representation.z), dtype=bool)
    return dense_enough(representation.z, relative_density, bandwidth, closeness)


def judge(representation: Representation, reward: Callable[..., Score], entropy: Sequence[int]) -> Score:
    """The reward's score; where the reward fits no mixture, with the one that ICL gain prefers.

    What the clusters say of their neighbourhood stands in the metrics, whatever the reward.

    Linear algebra runs on one thread: on small matrices more are slower, and the number of threads changes the last bits.

    Parameters
    ----------
    representation
        Reduced to the common number of points.
    reward
        See `rewards.base.Reward`.
    entropy
        Seeds the reward's generator.
    """
    with threadpool_limits(1):
        score = reward(representation, rng=np.random.default_rng(list(entropy)))
        metrics, mixture = score.metrics, score.mixture
        if mixture is None:
            default = gmm(representation, rng=np.random.default_rng(list(entropy)))
            metrics, mixture = {**default.metrics, **metrics}, default.mixture
        assert mixture is not None
        if "MI_rot" not in metrics:
            rng = np.random.default_rng([*entropy, 1])
            pairs = ring(representation, NEAR_PX, FAR_PX, rng)
            metrics = {**neighbourhood(representation, mixture, pairs, rng=rng), **metrics}
    return Score(score.value, metrics, mixture)


def _represent_trained(channels: np.ndarray, task: RepresentTask, stopped: Callable[[], bool]) -> list[FittedRepresentation]:
    from agent.representation.vae.training import train

    specs = [spec for spec in task.specs if isinstance(spec, ModelSpec)]
    window = specs[0].window_px
    patches = cut_patches(channels, np.concatenate([task.fitted_rc, task.held_out_rc]), window)
    held_out = np.arange(len(patches)) >= len(task.fitted_rc)
    fitted = train(patches, specs, task.seeds, held_out, task.train, stopped, start=task.start or (), device=task.device)
    made = []
    for spec, seed, model in zip(specs, task.seeds, fitted, strict=True):
        views = [_encode(channels, task.points_rc, spec, [model.weights], task.device, stopped, view) for view in _VIEWS]
        representation = Representation(
            z=views[0][0][0],
            z_std=views[0][1][0],
            z_rotated=views[1][0][0],
            z_mirrored=views[2][0][0],
            points_rc=task.points_rc,
            window_px=spec.window_px,
            invariance=spec.invariance,
            seed=seed,
            elbo_per_px=model.elbo_per_px,
            reconstruction_per_px=model.reconstruction_per_px,
        )
        made.append(FittedRepresentation(representation, model.weights))
    return made


def _as_it_is(patches: np.ndarray) -> np.ndarray:
    return patches


def _rotated(patches: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(patches, axes=(2, 3)))


def _mirrored(patches: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.flip(patches, axis=3))


_VIEWS = (_as_it_is, _rotated, _mirrored)


def _encode(
    channels: np.ndarray,
    points_rc: np.ndarray,
    spec: ModelSpec | PlainSpec,
    weights: Sequence[np.ndarray],
    device: str,
    stopped: Callable[[], bool],
    view: Callable[[np.ndarray], np.ndarray] = _as_it_is,
) -> tuple[Float[np.ndarray, "E n d"], Float[np.ndarray, "E n d"]]:
    """Means and spreads of the structural latents, in chunks: memory does not grow with the number of points."""
    from agent.errors import SearchCancelledError
    from agent.representation.vae.training import encode

    assert isinstance(spec, ModelSpec)
    means, spreads = [], []
    for first in range(0, len(points_rc), _CHUNK):
        if stopped():
            raise SearchCancelledError("the search was cancelled while patches were encoded")
        patches = view(cut_patches(channels, points_rc[first : first + _CHUNK], spec.window_px))
        mean, spread = encode(patches, spec, weights, device=device)
        means.append(mean[..., -spec.latent_dim :])
        spreads.append(spread[..., -spec.latent_dim :])
    return tuple(np.concatenate(parts, axis=1).astype(np.float64) for parts in (means, spreads))  # type: ignore[return-value]
