"""Random streams of a model in training, which depend on its seed and specification only, not on the other models of the stack.

Everything is drawn on the CPU, so that training on a GPU uses the same draws, and in blocks of many steps, because one large draw
costs hardly more than a small one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agent.representation.vae.spec import ModelSpec

_STREAMS = {"start": 0, "batches": 1, "noise": 2, "held_out": 3, "pixels": 4}


def stream(seed: int, spec: ModelSpec, purpose: str, continued: bool = False) -> torch.Generator:
    """Generator for one seed, specification and purpose; NumPy's SeedSequence hashes them, so that no two streams coincide."""
    key = [seed, _STREAMS[purpose], int(continued), *repr(spec).encode()]
    state = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(state & 0x7FFF_FFFF_FFFF_FFFF)


@dataclass(frozen=True, eq=False)
class Block:
    """Draws of consecutive steps.

    Parameters
    ----------
    rows
        Shape (steps, B): patches of each batch.
    noise
        Shape (steps, B, latents): standard normal.
    pixels
        Shape (steps, B, k): pixels at which the decoder is evaluated; None for all.
    """

    rows: Tensor
    noise: Tensor
    pixels: Tensor | None


class Draws:
    """Batches, noise and pixels of one model, drawn block by block.

    Parameters
    ----------
    seed, spec
        Seed and specification of the model.
    patches
        Number of training patches.
    batch
        Number of patches per step, at most `patches`.
    continued
        Whether training starts from the weights of an earlier training, whose draws must not repeat.
    """

    def __init__(self, seed: int, spec: ModelSpec, patches: int, batch: int, continued: bool = False) -> None:
        self._spec, self._patches, self._batch = spec, patches, batch
        self._batches, self._noise, self._pixels = (stream(seed, spec, p, continued) for p in ("batches", "noise", "pixels"))
        self._remaining = torch.empty(0, dtype=torch.long)

    def block(self, steps: int) -> Block:
        """Draws of the next `steps` steps."""
        noise = torch.randn(steps, self._batch, self._spec.latents, generator=self._noise)
        return Block(self._rows(steps), noise, self._drawn(steps))

    def _rows(self, steps: int) -> Tensor:
        """Rows of the patches; each epoch is a new permutation, and a batch may extend over two epochs."""
        needed = steps * self._batch
        parts = [self._remaining]
        while sum(map(len, parts)) < needed:
            parts.append(torch.randperm(self._patches, generator=self._batches))
        rows = torch.cat(parts)
        self._remaining = rows[needed:]
        return rows[:needed].reshape(steps, self._batch)

    def _drawn(self, steps: int) -> Tensor | None:
        if not (self._spec.per_pixel and self._spec.sampled_px):
            return None
        keys = torch.rand(steps, self._batch, self._spec.window_px**2, generator=self._pixels)
        return keys.topk(self._spec.sampled_px, dim=-1, sorted=False).indices
