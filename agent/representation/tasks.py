"""Tasks that a search gives to its workers: make representations, apply one to further points, score one.

All are plain functions of plain arguments, so that workers of any kind can run them. Only tasks that train or apply a VAE load
PyTorch: plain families do not wait for the import, and the process that hands out the tasks never needs it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Float32, Int
from threadpoolctl import threadpool_limits

from agent.config.training import TrainSettings
from agent.preprocessing.patches import cut_patches
from agent.representation.classical import Basis, PlainSpec, encode_plain, represent_plain
from agent.representation.vae.spec import ModelSpec
from rewards.base import Representation, Score, WallGraph
from rewards.density import dense_enough
from rewards.mixture.gmm import gmm
from rewards.spatial import FAR_PX, NEAR_PX, neighbourhood, ring

_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class RepresentTask:
    """Models to train (or resamples of a plain family to fit), and the key points to represent.

    Parameters
    ----------
    points_rc
        Shape (n, 2): key points to represent, pixels.
    fitted_rc, held_out_rc
        Shapes (m, 2), (h, 2): key points to train on, and those held out for the ELBO, pixels.
    specs
        Specification of each model; several only if the models can be stacked.
    seeds
        Seed of each model.
    train
        Training budget and schedule.
    start
        Weights from which each model's training starts; empty for a cold start.
    device
        "cpu" or "cuda".
    walls, fitted_walls
        Which of `points_rc`, and of `fitted_rc`, lie on the same wall.
    """

    points_rc: Int[np.ndarray, "n 2"]
    fitted_rc: Int[np.ndarray, "m 2"]
    held_out_rc: Int[np.ndarray, "h 2"]
    specs: tuple[ModelSpec | PlainSpec, ...]
    seeds: tuple[int, ...]
    train: TrainSettings
    start: tuple[np.ndarray, ...] = ()
    device: str = "cpu"
    walls: WallGraph = field(default_factory=WallGraph.empty)
    fitted_walls: WallGraph = field(default_factory=WallGraph.empty)


@dataclass(frozen=True, eq=False)
class FittedRepresentation:
    """A representation and its weights or basis as one vector, with which it can be applied to other points."""

    representation: Representation
    state: np.ndarray


def never() -> bool:
    """Always false, for a task that nobody stops."""
    return False


def represent(
    channels: Float32[np.ndarray, "C rows cols"], task: RepresentTask, *, stopped: Callable[[], bool] = never
) -> list[FittedRepresentation]:
    """The representation of the task's points by each of its models.

    Raises
    ------
    SearchCancelledError
        If `stopped` returned true.
    """
    spec = task.specs[0]
    if isinstance(spec, PlainSpec):
        fitted = represent_plain(
            channels,
            task.points_rc,
            spec,
            task.seeds,
            fit_rc=task.fitted_rc,
            held_out_rc=task.held_out_rc,
            fit_walls=task.fitted_walls,
            stopped=stopped,
        )
        return [FittedRepresentation(replace(representation, walls=task.walls), basis.flat()) for representation, basis in fitted]
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
    """Latents that a fitted model or plain family gives to further points.

    Raises
    ------
    SearchCancelledError
        If `stopped` returned true.
    """
    if isinstance(spec, PlainSpec):
        return encode_plain(channels, points_rc, spec, Basis.from_flat(state, spec.latent_dim), stopped)
    return np.asarray(_encode(channels, points_rc, spec, [state], device, stopped)[0][0])


def device_for(train: TrainSettings, *, stopped: Callable[[], bool] = never) -> str:  # noqa: ARG001 - every task takes it
    """Device on which a worker trains: "cpu" or "cuda"."""
    from agent.representation.vae.training import resolve_device

    return resolve_device(train)


def survivors(
    representation: Representation, relative_density: float, bandwidth: float, closeness: float
) -> Bool[np.ndarray, " n"]:
    """Mask of the points that the density filter keeps; all False if the representation is not finite."""
    if not np.isfinite(representation.z).all():
        return np.zeros(len(representation.z), dtype=bool)
    return dense_enough(representation.z, relative_density, bandwidth, closeness)


def judge(representation: Representation, reward: Callable[..., Score], entropy: Sequence[int]) -> Score:
    """The reward's score. If the reward fits no mixture, the one that the reward `gmm` fits is added.

    The metrics always contain the spatial ones, such as MI_rot, whatever the reward.

    Linear algebra runs on one thread: on small matrices more are slower, and the number of threads changes the last bits.

    Parameters
    ----------
    representation
        Representation reduced to the number of points common to all candidates.
    reward
        The reward, called as described in `rewards.base.Reward`.
    entropy
        Seed of the reward's random generator.
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
    models = train(patches, specs, task.seeds, held_out, task.train, stopped, start=task.start or (), device=task.device)
    fitted = []
    for spec, seed, model in zip(specs, task.seeds, models, strict=True):
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
            walls=task.walls,
        )
        fitted.append(FittedRepresentation(representation, model.weights))
    return fitted


def _unchanged(patches: np.ndarray) -> np.ndarray:
    return patches


def _rotated(patches: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.rot90(patches, axes=(2, 3)))


def _mirrored(patches: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.flip(patches, axis=3))


_VIEWS = (_unchanged, _rotated, _mirrored)


def _encode(
    channels: np.ndarray,
    points_rc: np.ndarray,
    spec: ModelSpec | PlainSpec,
    weights: Sequence[np.ndarray],
    device: str,
    stopped: Callable[[], bool],
    view: Callable[[np.ndarray], np.ndarray] = _unchanged,
) -> tuple[Float[np.ndarray, "E n d"], Float[np.ndarray, "E n d"]]:
    """Means and standard deviations of the structural latents, encoded in chunks to bound the memory."""
    from agent.errors import SearchCancelledError
    from agent.representation.vae.training import encode

    assert isinstance(spec, ModelSpec)
    means, stds = [], []
    for first in range(0, len(points_rc), _CHUNK):
        if stopped():
            raise SearchCancelledError("the search was cancelled while patches were encoded")
        patches = view(cut_patches(channels, points_rc[first : first + _CHUNK], spec.window_px))
        mean, std = encode(patches, spec, weights, device=device)
        means.append(mean[..., -spec.latent_dim :])
        stds.append(std[..., -spec.latent_dim :])
    return tuple(np.concatenate(parts, axis=1).astype(np.float64) for parts in (means, stds))  # type: ignore[return-value]
