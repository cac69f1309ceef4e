"""Training of one candidate: all its seeds at once, for a fixed number of steps, the same bits every time.

Each seed has its own generators for initialisation, batches and noise, so its draws do not depend on which other seeds stand
beside it. Training runs on one thread: on small matrices two processes of one thread do more work than one process of two.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from agent.workflow.budget import TrainSettings
from agent.workflow.errors import SearchCancelledError
from agent.workflow.vae import ModelSpec, StackedVAE

_STREAMS = {"start": 0, "batches": 1, "noise": 2, "held_out": 3}
_ENCODE_CHUNK = 4096
_HELD_OUT_DRAWS = 4


@dataclass(frozen=True, eq=False)
class Encoded:
    """Latents of one seed's model, and how good the model is on patches that it has not seen (nats a pixel)."""

    mean: Float32[np.ndarray, "n latents"]
    std: Float32[np.ndarray, "n latents"]
    mean_rotated: Float32[np.ndarray, "n latents"]
    mean_mirrored: Float32[np.ndarray, "n latents"]
    elbo_per_px: float
    reconstruction_per_px: float


def split_held_out(n: int, share: float, rng: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """True for the patches that are held out: a share of them, at least one."""
    mask = np.zeros(n, dtype=bool)
    mask[rng.choice(n, size=max(1, round(share * n)), replace=False)] = True
    return mask


def train(
    patches: Float32[np.ndarray, "n C w w"],
    spec: ModelSpec,
    seeds: Sequence[int],
    held_out: Bool[np.ndarray, " n"],
    settings: TrainSettings = TrainSettings(),
    stopped: Callable[[], bool] = lambda: False,
) -> list[Encoded]:
    """What each seed's model makes of all patches, after training on those not held out.

    Parameters
    ----------
    patches
        Shape (n, channels, window, window), in [0, 1].
    spec
        The model.
    seeds
        One model each.
    held_out
        Shape (n,).
    settings
        Budget and schedule.
    stopped
        Asked every 20 steps; when it says True, training ends.

    Raises
    ------
    SearchCancelledError
        If `stopped` said so.
    """
    with one_thread():
        x = torch.from_numpy(patches.reshape(len(patches), -1))
        model = StackedVAE(spec, [_generator(seed, spec, "start") for seed in seeds])
        _optimise(model, x[torch.from_numpy(~held_out)], seeds, settings, stopped)
        with torch.inference_mode():
            judged = _held_out_terms(model, x[torch.from_numpy(held_out)], seeds)
            views = [patches, np.rot90(patches, axes=(2, 3)), np.flip(patches, axis=3)]
            encoded = [_encode_all(model, torch.from_numpy(v.reshape(len(v), -1).copy())) for v in views]
    out = []
    for e in range(len(seeds)):
        missfit, divergence = judged[0][e].item(), judged[1][e].item()
        out.append(
            Encoded(
                mean=encoded[0][0][e].numpy(),
                std=encoded[0][1][e].numpy(),
                mean_rotated=encoded[1][0][e].numpy(),
                mean_mirrored=encoded[2][0][e].numpy(),
                elbo_per_px=-(missfit + spec.kl_weight * divergence) / spec.pixels,
                reconstruction_per_px=-missfit / spec.pixels,
            )
        )
    return out


def _optimise(model: StackedVAE, x: Tensor, seeds: Sequence[int], settings: TrainSettings, stopped: Callable[[], bool]) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=settings.learning_rate, total_steps=settings.steps + 1, pct_start=0.2
    )
    batch = min(settings.batch_size, len(x))
    latents = model.geometric + model.spec.latent_dim
    batches = [_batches(len(x), batch, _generator(s, model.spec, "batches")) for s in seeds]
    noises = [_generator(s, model.spec, "noise") for s in seeds]
    for step in range(settings.steps):
        if step % 20 == 0 and stopped():
            raise SearchCancelledError("the search was cancelled while a model was in training")
        rows = torch.stack([next(b) for b in batches])
        noise = torch.stack([torch.randn(batch, latents, generator=g) for g in noises])
        missfit, divergence = model.loss_terms(x[rows], noise)
        loss = (missfit + model.spec.kl_weight * divergence).mean(dim=1).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def _batches(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Row indices of endless batches: each pass is a new permutation, its incomplete tail is dropped."""
    while True:
        order = torch.randperm(n, generator=generator)
        yield from torch.split(order[: n - n % size], size)


def _held_out_terms(model: StackedVAE, x: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Missfit and divergence (E,) of the held-out patches, the former averaged over a few draws of the latents."""
    latents = model.geometric + model.spec.latent_dim
    generators = [_generator(s, model.spec, "held_out") for s in seeds]
    stacked = x.expand(len(seeds), -1, -1)
    missfit = torch.zeros(len(seeds))
    divergence = torch.zeros(len(seeds))
    for _ in range(_HELD_OUT_DRAWS):
        noise = torch.stack([torch.randn(len(x), latents, generator=g) for g in generators])
        terms = model.loss_terms(stacked, noise)
        missfit += terms[0].mean(dim=1) / _HELD_OUT_DRAWS
        divergence = terms[1].mean(dim=1)
    return missfit, divergence


def _encode_all(model: StackedVAE, x: Tensor) -> tuple[Tensor, Tensor]:
    models = model.models
    chunks = [model.encode(part.expand(models, -1, -1)) for part in torch.split(x, _ENCODE_CHUNK)]
    return torch.cat([c[0] for c in chunks], dim=1), torch.cat([c[1] for c in chunks], dim=1)


def _generator(seed: int, spec: ModelSpec, stream: str) -> torch.Generator:
    """The random stream of one seed, model and purpose; hashed through NumPy's SeedSequence, so that none repeat."""
    key = [seed, spec.window_px, sum(ord(c) << 8 * i for i, c in enumerate(spec.invariance)), spec.latent_dim, _STREAMS[stream]]
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & 0x7FFF_FFFF_FFFF_FFFF)


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread inside, as before outside: the number of threads changes the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
