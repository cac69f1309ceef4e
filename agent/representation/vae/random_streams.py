"""The random streams of a model in training: they depend on its seed and specification, never on what is trained beside it.

Everything is drawn on the CPU, so that a GPU trains on the same draws; in blocks of many steps, since one large draw costs
hardly more than a small one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.representation.vae.spec import ModelSpec

_STREAMS = {"start": 0, "batches": 1, "noise": 2, "held_out": 3, "pixels": 4}


def stream(seed: int, spec: ModelSpec, purpose: str, continued: bool = False) -> torch.Generator:
    """A generator of one seed, specification and purpose; hashed through NumPy's SeedSequence, so that none repeat."""
    key = [seed, _STREAMS[purpose], int(continued), *repr(spec).encode()]
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & 0x7FFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, eq=False)
class Block:
    """Draws of consecutive steps: rows (steps, B), noise (steps, B, latents), pixels (steps, B, k) or None for all pixels."""

    rows: Tensor
    noise: Tensor
    pixels: Tensor | None


class Draws:
    """One model's batches, noise and pixels, block after block.

    Parameters
    ----------
    seed, spec
        Of the model.
    patches
        How many there are to train on.
    batch
        Patches a step, at most `patches`.
    continued
        Whether an earlier training is gone on with, which shall not see the same draws again.
    """

    def __init__(self, seed: int, spec: ModelSpec, patches: int, batch: int, continued: bool = False) -> None:
        self._spec, self._patches, self._batch = spec, patches, batch
        self._batches, self._noise, self._pixels = (stream(seed, spec, p, continued) for p in ("batches", "noise", "pixels"))
        self._waiting = torch.empty(0, dtype=torch.long)

    def block(self, steps: int) -> Block:
        """The next `steps` steps."""
        noise = torch.randn(steps, self._batch, self._spec.latents, generator=self._noise)
        return Block(self._rows(steps), noise, self._drawn(steps))

    def _rows(self, steps: int) -> Tensor:
        """Each pass over the patches is a new permutation; a batch may begin in one pass and end in the next."""
        needed = steps * self._batch
        parts = [self._waiting]
        while sum(map(len, parts)) < needed:
            parts.append(torch.randperm(self._patches, generator=self._batches))
        rows = torch.cat(parts)
        self._waiting = rows[needed:]
        return rows[:needed].reshape(steps, self._batch)

    def _drawn(self, steps: int) -> Tensor | None:
        if not (self._spec.per_pixel and self._spec.sampled_px):
            return None
        keys = torch.rand(steps, self._batch, self._spec.window_px**2, generator=self._pixels)
        return keys.topk(self._spec.sampled_px, dim=-1, sorted=False).indices
