"""Training of stacked models for a fixed number of steps, reproducible bit for bit.

Training runs on one thread: with small matrices, two processes of one thread do more work than one process of two threads.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from agent.config.training import TrainSettings
from agent.errors import AgentError, SearchCancelledError
from agent.representation.vae.adam import Adam
from agent.representation.vae.gradient import Gradient
from agent.representation.vae.initialisation import CentredInput, initial_weights
from agent.representation.vae.model import StackedVAE
from agent.representation.vae.random_streams import Draws, stream
from agent.representation.vae.spec import HIDDEN, ModelSpec, Weights
from rewards.threads import one_thread

_WARMUP_SHARE = 0.1  # of the steps
_BLOCK_STEPS = 64  # drawn at once
_POLL_S = 0.2
_HELD_OUT_DRAWS = 4
_CHUNK_VALUES = 1 << 23  # largest tensor outside training, 32 MB


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """Weights of a trained model, its held-out ELBO and its held-out reconstruction in nats per pixel; all NaN if it diverged."""

    weights: Weights
    elbo_per_px: float
    reconstruction_per_px: float


def resolve_device(settings: TrainSettings) -> str:
    """Device to train on, "cpu" or "cuda".

    Raises
    ------
    AgentError
        If the settings require a GPU and PyTorch finds none.
    """
    gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not gpu:
        raise AgentError("train.device = 'cuda', but PyTorch finds no GPU on this computer; set it to 'auto' or 'cpu'")
    return "cuda" if gpu and settings.device != "cpu" else "cpu"


def train(
    patches: Float32[np.ndarray, "n C w w"],
    specs: Sequence[ModelSpec],
    seeds: Sequence[int],
    held_out: Bool[np.ndarray, " n"],
    settings: TrainSettings = TrainSettings(),
    stopped: Callable[[], bool] = lambda: False,
    *,
    start: Sequence[Weights | None] = (),
    device: str = "cpu",
) -> list[TrainedModel]:
    """Trained models, one for each specification and seed, with their held-out ELBO.

    Parameters
    ----------
    patches
        Shape (n, channels, window, window), in [0, 1].
    specs
        Specification of each model; they may differ in invariance, latent dimension and β.
    seeds
        Seed of each model. The random draws of a model depend on its seed and specification only.
    held_out
        Shape (n,): True for patches that are held out from training.
    settings
        Training budget and schedule.
    stopped
        Polled about five times a second; training ends once it returns true.
    start
        Weights from which each model's training starts, with a new schedule; None (or an empty sequence) for a cold start.
    device
        "cpu" or "cuda"; see `resolve_device`.

    Raises
    ------
    SearchCancelledError
        If `stopped` returned true.
    ValueError
        If the specifications cannot be stacked, or differ in number from seeds or starts.
    """
    initial = list(start) or [None] * len(specs)
    models = list(zip(specs, seeds, initial, strict=True))
    x = torch.from_numpy(patches.reshape(len(patches), -1)).to(device)
    training, unseen = x[torch.from_numpy(~held_out)], x[torch.from_numpy(held_out)]
    trained: dict[int, TrainedModel] = {}
    # Without invariance, the exact decoder is another network: such models need a stack of their own.
    for per_pixel in (False, True):
        own = [i for i, spec in enumerate(specs) if spec.per_pixel == per_pixel]
        if own:
            with one_thread():
                trained |= dict(
                    zip(own, _train_stack([models[i] for i in own], training, unseen, settings, stopped), strict=True)
                )
    return [trained[i] for i in range(len(specs))]


def encode(
    patches: Float32[np.ndarray, "n C w w"], spec: ModelSpec, weights: Sequence[Weights], device: str = "cpu"
) -> tuple[Float32[np.ndarray, "E n latents"], Float32[np.ndarray, "E n latents"]]:
    """Means and standard deviations of the latents of each patch, for E models of one specification."""
    stack = StackedVAE([spec] * len(weights), weights, device)
    mean, std = (np.empty((len(weights), len(patches), spec.latents), dtype=np.float32) for _ in range(2))
    size = max(1, _CHUNK_VALUES // (len(weights) * max(spec.pixels, HIDDEN)))
    with one_thread(), torch.inference_mode():
        for first in range(0, len(patches), size):
            part = np.ascontiguousarray(patches[first : first + size]).reshape(-1, spec.pixels)
            means, stds = stack.encode(torch.from_numpy(part).to(device).expand(len(weights), -1, -1))
            mean[:, first : first + size], std[:, first : first + size] = means.cpu().numpy(), stds.cpu().numpy()
    return mean, std


def _train_stack(
    models: Sequence[tuple[ModelSpec, int, Weights | None]],
    training: Tensor,
    held_out: Tensor,
    settings: TrainSettings,
    stopped: Callable[[], bool],
) -> list[TrainedModel]:
    initial = [initial_weights(spec, seed) if w is None else w for spec, seed, w in models]
    stack = StackedVAE([spec for spec, _, _ in models], initial, training.device.type)
    batch = min(settings.batch_size, len(training))
    draws = [Draws(seed, spec, len(training), batch, continued=w is not None) for spec, seed, w in models]
    with torch.no_grad():
        finite = _optimise(stack, training, draws, settings, stopped).tolist()
        nll, divergence = _held_out_terms(stack, held_out, [seed for _, seed, _ in models])
    trained = []
    for e, weights in enumerate(stack.weights):
        spec = stack.specs[e]
        elbo = -(nll[e].item() + spec.kl_weight * divergence[e].item()) / spec.pixels
        if finite[e] and math.isfinite(elbo):
            trained.append(TrainedModel(weights, elbo, -nll[e].item() / spec.pixels))
        else:
            trained.append(TrainedModel(np.full_like(weights, np.nan), math.nan, math.nan))
    return trained


def _optimise(
    stack: StackedVAE, x: Tensor, draws: Sequence[Draws], settings: TrainSettings, stopped: Callable[[], bool]
) -> Tensor:
    """Train the stack; returns which models stayed finite, shape (E,). NaN in one model never reaches the others."""
    gradient = Gradient(stack)
    centred = CentredInput(stack, x)
    centred.enter()
    optimiser = Adam(stack.flat, gradient.flat)
    poll_at = 0.0
    for first in range(0, settings.steps, _BLOCK_STEPS):
        rows, noise, pixels = _stacked(stack, draws, min(_BLOCK_STEPS, settings.steps - first))
        for i in range(len(rows)):
            if time.monotonic() >= poll_at:
                if stopped():
                    raise SearchCancelledError("the search was cancelled while a model was in training")
                poll_at = time.monotonic() + _POLL_S
            target, shown = (torch.index_select(t, 0, rows[i].view(-1)).view(*rows.shape[1:], -1) for t in (x, centred.patches))
            gradient(target, noise[i], None if pixels is None else pixels[i], shown)
            optimiser.step(*one_cycle(first + i, settings))
        if not stack.finite.any():
            break
    centred.leave()
    return stack.finite


def one_cycle(step: int, settings: TrainSettings) -> tuple[float, tuple[float, float]]:
    """Learning rate and (β1, β2) of Adam at a step of the one-cycle schedule (Smith and Topin 2019, arXiv:1708.07120).

    The learning rate rises from 1/25 of its peak in the first tenth of the steps and then falls to 0, both along a cosine. The
    momentum β1 goes the opposite way, from 0.95 to 0.85 and back.
    """
    warmup = _WARMUP_SHARE * settings.steps
    part = step / warmup if step < warmup else (settings.steps - step) / (settings.steps - warmup)
    height = (1 - math.cos(math.pi * part)) / 2
    floor = 0.04 if step < warmup else 0.0
    return settings.learning_rate * (floor + (1 - floor) * height), (0.95 - 0.1 * height, 0.97)


def _stacked(stack: StackedVAE, draws: Sequence[Draws], steps: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Draws of all models: rows (steps, E, B), noise (steps, E, B, latents of the union), pixels (steps, E, B, k)."""
    blocks = [d.block(steps) for d in draws]
    rows = torch.stack([b.rows for b in blocks], dim=1)
    noise = torch.zeros(*rows.shape, stack.union.latents)
    for e, block in enumerate(blocks):
        noise[:, e, :, stack.slots(stack.specs[e])] = block.noise
    drawn = [b.pixels for b in blocks if b.pixels is not None]
    pixels = torch.stack(drawn, dim=1).to(stack.device) if drawn else None
    return rows.to(stack.device), noise.to(stack.device), pixels


def _held_out_terms(stack: StackedVAE, x: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean NLL and KL divergence of the held-out patches, shape (E,), averaged over a few draws of the latents."""
    models, union = len(seeds), stack.union
    noise = torch.zeros(_HELD_OUT_DRAWS, models, len(x), union.latents)
    for e, (seed, spec) in enumerate(zip(seeds, stack.specs, strict=True)):
        own = torch.randn(_HELD_OUT_DRAWS, len(x), spec.latents, generator=stream(seed, spec, "held_out"))
        noise[:, e, :, stack.slots(spec)] = own
    values = union.window_px**2 * HIDDEN if union.per_pixel else max(HIDDEN, union.channels * union.canvas_px**2)
    size = max(1, _CHUNK_VALUES // (models * values))
    nll, divergence = torch.zeros(models, device=x.device), torch.zeros(models, device=x.device)
    for first in range(0, len(x), size):
        part = x[first : first + size].expand(models, -1, -1)
        for draw in noise[:, :, first : first + size].to(x.device):
            terms = stack.loss_terms(part, draw)
            nll += terms[0].sum(dim=1) / (_HELD_OUT_DRAWS * len(x))
            divergence += terms[1].sum(dim=1) / (_HELD_OUT_DRAWS * len(x))
    return nll, divergence
