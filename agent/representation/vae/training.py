"""Training of stacked models for a fixed number of steps, the same bits every time.

Training runs on one thread: on small matrices two processes of one thread do more work than one process of two.
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
from agent.representation.vae.initialisation import Centred, initial_weights
from agent.representation.vae.model import StackedVAE
from agent.representation.vae.random_streams import Draws, stream
from agent.representation.vae.spec import HIDDEN, ModelSpec, Weights
from rewards.threads import one_thread

_RISE = 0.1
_BLOCK = 64  # steps drawn at once
_POLL_S = 0.2
_HELD_OUT_DRAWS = 4
_CHUNK_VALUES = 1 << 23  # in one tensor, when not training: 32 MB


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained model, and how good it is on patches that it has not seen (nats a pixel); NaN throughout where it diverged."""

    weights: Weights
    elbo_per_px: float
    reconstruction_per_px: float


def resolve_device(settings: TrainSettings) -> str:
    """Where to train, "cpu" or "cuda".

    Raises
    ------
    AgentError
        If a GPU is asked for and there is none that PyTorch can use.
    """
    found = torch.cuda.is_available()
    if settings.device == "cuda" and not found:
        raise AgentError("train.device = 'cuda', but PyTorch finds no GPU here; set it to 'auto' or 'cpu'")
    return "cuda" if found and settings.device != "cpu" else "cpu"


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
) -> list[Fitted]:
    """A trained model for each specification and seed, and its ELBO on the patches held out.

    Parameters
    ----------
    patches
        Shape (n, channels, window, window), in [0, 1].
    specs
        One a model; they may differ in invariance, latent dimension and β.
    seeds
        One a model. What a model draws depends on its seed and specification only.
    held_out
        Shape (n,); the others are trained on.
    settings
        Budget and schedule.
    stopped
        Asked about five times a second; when it says True, training ends.
    start
        Weights to go on from, one a model, with a new schedule; None, or none at all: afresh.
    device
        "cpu" or "cuda"; see `resolve_device`.

    Raises
    ------
    SearchCancelledError
        If `stopped` said so.
    ValueError
        If specifications cannot stand in one stack, or numbers of specifications, seeds and starts differ.
    """
    begin = list(start) or [None] * len(specs)
    models = list(zip(specs, seeds, begin, strict=True))
    x = torch.from_numpy(patches.reshape(len(patches), -1)).to(device)
    seen, unseen = x[torch.from_numpy(~held_out)], x[torch.from_numpy(held_out)]
    fitted: dict[int, Fitted] = {}
    # The exact decoder has another network without invariance: such models make a stack of their own.
    for per_pixel in (False, True):
        own = [i for i, spec in enumerate(specs) if spec.per_pixel == per_pixel]
        if own:
            with one_thread():
                fitted |= dict(zip(own, _train_stack([models[i] for i in own], seen, unseen, settings, stopped), strict=True))
    return [fitted[i] for i in range(len(specs))]


def encode(
    patches: Float32[np.ndarray, "n C w w"], spec: ModelSpec, weights: Sequence[Weights], device: str = "cpu"
) -> tuple[Float32[np.ndarray, "E n latents"], Float32[np.ndarray, "E n latents"]]:
    """Means and standard deviations of the latents that each of E models of one specification gives to each patch."""
    stack = StackedVAE([spec] * len(weights), weights, device)
    mean, spread = (np.empty((len(weights), len(patches), spec.latents), dtype=np.float32) for _ in range(2))
    size = max(1, _CHUNK_VALUES // (len(weights) * max(spec.pixels, HIDDEN)))
    with one_thread(), torch.inference_mode():
        for first in range(0, len(patches), size):
            part = np.ascontiguousarray(patches[first : first + size]).reshape(-1, spec.pixels)
            means, spreads = stack.encode(torch.from_numpy(part).to(device).expand(len(weights), -1, -1))
            mean[:, first : first + size], spread[:, first : first + size] = means.cpu().numpy(), spreads.cpu().numpy()
    return mean, spread


def _train_stack(
    models: Sequence[tuple[ModelSpec, int, Weights | None]],
    seen: Tensor,
    unseen: Tensor,
    settings: TrainSettings,
    stopped: Callable[[], bool],
) -> list[Fitted]:
    begin = [initial_weights(spec, seed) if w is None else w for spec, seed, w in models]
    stack = StackedVAE([spec for spec, _, _ in models], begin, seen.device.type)
    batch = min(settings.batch_size, len(seen))
    draws = [Draws(seed, spec, len(seen), batch, continued=w is not None) for spec, seed, w in models]
    with torch.no_grad():
        sound = _optimise(stack, seen, draws, settings, stopped).tolist()
        missfit, divergence = _held_out_terms(stack, unseen, [seed for _, seed, _ in models])
    fitted = []
    for e, weights in enumerate(stack.weights):
        spec = stack.specs[e]
        elbo = -(missfit[e].item() + spec.kl_weight * divergence[e].item()) / spec.pixels
        if sound[e] and math.isfinite(elbo):
            fitted.append(Fitted(weights, elbo, -missfit[e].item() / spec.pixels))
        else:
            fitted.append(Fitted(np.full_like(weights, np.nan), math.nan, math.nan))
    return fitted


def _optimise(
    stack: StackedVAE, x: Tensor, draws: Sequence[Draws], settings: TrainSettings, stopped: Callable[[], bool]
) -> Tensor:
    """Which models (E,) stayed finite. One that did not is NaN from then on, which reaches no other model's tensors."""
    gradient = Gradient(stack)
    centred = Centred(stack, x)
    centred.enter()
    optimiser = Adam(stack.flat, gradient.flat)
    ask_at = 0.0
    for first in range(0, settings.steps, _BLOCK):
        rows, noise, pixels = _stacked(stack, draws, min(_BLOCK, settings.steps - first))
        for i in range(len(rows)):
            if time.monotonic() >= ask_at:
                if stopped():
                    raise SearchCancelledError("the search was cancelled while a model was in training")
                ask_at = time.monotonic() + _POLL_S
            judged, shown = (torch.index_select(t, 0, rows[i].view(-1)).view(*rows.shape[1:], -1) for t in (x, centred.patches))
            gradient(judged, noise[i], None if pixels is None else pixels[i], shown)
            optimiser.step(*one_cycle(first + i, settings))
        if not stack.finite.any():
            break
    centred.leave()
    return stack.finite


def one_cycle(step: int, settings: TrainSettings) -> tuple[float, tuple[float, float]]:
    """Adam's learning rate and β of a step: up from 1/25 of the peak in the first tenth, then down to nothing, by cosines.

    Momentum goes the other way, from 0.95 to 0.85 and back (Smith and Topin 2019, arXiv:1708.07120).
    """
    rise = _RISE * settings.steps
    part = step / rise if step < rise else (settings.steps - step) / (settings.steps - rise)
    height = (1 - math.cos(math.pi * part)) / 2
    floor = 0.04 if step < rise else 0.0
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
    """Missfit and divergence (E,) of the held-out patches, the former averaged over a few draws of the latents."""
    models, union = len(seeds), stack.union
    noise = torch.zeros(_HELD_OUT_DRAWS, models, len(x), union.latents)
    for e, (seed, spec) in enumerate(zip(seeds, stack.specs, strict=True)):
        own = torch.randn(_HELD_OUT_DRAWS, len(x), spec.latents, generator=stream(seed, spec, "held_out"))
        noise[:, e, :, stack.slots(spec)] = own
    values = union.window_px**2 * HIDDEN if union.per_pixel else max(HIDDEN, union.channels * union.canvas_px**2)
    size = max(1, _CHUNK_VALUES // (models * values))
    missfit, divergence = torch.zeros(models, device=x.device), torch.zeros(models, device=x.device)
    for first in range(0, len(x), size):
        part = x[first : first + size].expand(models, -1, -1)
        for draw in noise[:, :, first : first + size].to(x.device):
            terms = stack.loss_terms(part, draw)
            missfit += terms[0].sum(dim=1) / (_HELD_OUT_DRAWS * len(x))
            divergence += terms[1].sum(dim=1) / (_HELD_OUT_DRAWS * len(x))
    return missfit, divergence
