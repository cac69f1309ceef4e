"""Variational autoencoders with invariances, several models stacked in one set of tensors.

Encoder, priors, likelihoods and transformations are pyroVED's: two tanh layers of 128 units with heads for the mean and a
softplus standard deviation; N(0, 1) for every latent; a Bernoulli likelihood, or a normal one with σ = 0.5. The *exact* decoder
is pyroVED's too, a network evaluated at each pixel of each patch. The *warp* decoder makes one canonical patch, larger than the
window, with a fully connected network and resamples it at each patch's own coordinates: far cheaper, at the same ELBO
(docs/decisions/0003-warp-decoder.md).

Models of different invariances, latent dimensions and β can share a stack: each is embedded in the tensors of the smallest model
that contains them all, and the latents that it lacks are masked.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from agent.representation.vae.spec import ModelSpec, Weights, parameter_shapes, weight_count
from agent.representation.vae.transforms import Resampler, affine, pixel_grid

GAUSSIAN_SIGMA = 0.5  # pyroVED's `decoder_sig`
_LETTERS = "rts"


def union_of(specs: Sequence[ModelSpec]) -> ModelSpec:
    """The smallest model whose tensors contain those of all `specs`.

    Raises
    ------
    ValueError
        If they differ in more than invariance, latent dimension and β.
    """
    letters = "".join(letter for letter in _LETTERS if any(letter in s.invariance for s in specs)) or "v"
    first = specs[0]
    common = {(s.window_px, s.channels, s.decoder, s.likelihood, s.sampled_px) for s in specs}
    if len(common) > 1 or len({s.per_pixel for s in specs}) > 1:
        raise ValueError("stacked models may differ in invariance, latent dimension and β only")
    latent_dim = max(s.latent_dim for s in specs)
    return ModelSpec(
        first.window_px, letters, latent_dim, first.channels, None, first.decoder, first.likelihood, first.sampled_px
    )


def views(flat: Tensor, models: int, shapes: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """Views of shape (models, rows, columns) into one flat tensor, by name."""
    parts = torch.split(flat, [models * rows * columns for rows, columns in shapes.values()])
    return {name: part.view(models, *shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


class StackedVAE:
    """A stack of E models; E is the first dimension of every tensor.

    Parameters
    ----------
    specs
        Specification of each model; `union_of` tells which can be stacked.
    weights
        Weights of each model, in the order of `parameter_shapes` of its specification.
    device
        Device of the tensors, "cpu" or "cuda".
    """

    def __init__(self, specs: Sequence[ModelSpec], weights: Sequence[Weights], device: str = "cpu") -> None:
        self.specs, self.union, self.device = tuple(specs), union_of(specs), device
        shapes = parameter_shapes(self.union)
        self.flat = torch.zeros(len(specs) * weight_count(self.union), device=device)
        self.tensors = views(self.flat, len(specs), shapes)
        for e, (spec, flat) in enumerate(zip(specs, weights, strict=True)):
            if len(flat) != weight_count(spec):
                raise ValueError(f"a model of {spec} has {weight_count(spec)} weights, but {len(flat)} were given")
            start = 0
            for name, (rows, columns) in parameter_shapes(spec).items():
                part = torch.tensor(flat[start : start + rows * columns], device=device).reshape(rows, columns)
                self.tensors[name][e][self._embedding(name, spec)] = part
                start += rows * columns
        self.grid = pixel_grid(self.union.window_px).to(device)
        self.resampler = Resampler(self.union.window_px, self.union.canvas_px, device)
        self.kl_weight = torch.tensor([s.kl_weight for s in specs], device=device)
        self.present = self._present() if len({(s.invariance, s.latent_dim) for s in specs}) > 1 else None

    @property
    def weights(self) -> list[Weights]:
        """Weights of each model, as one flat vector each."""
        out = []
        for e, spec in enumerate(self.specs):
            parts = [self.tensors[name][e][self._embedding(name, spec)].reshape(-1) for name in parameter_shapes(spec)]
            out.append(torch.cat(parts).cpu().numpy())
        return out

    @property
    def finite(self) -> Tensor:
        """Shape (E,): True for models whose weights are all finite."""
        return torch.stack([torch.isfinite(t).all(dim=2).all(dim=1) for t in self.tensors.values()]).all(dim=0)

    def slots(self, spec: ModelSpec) -> list[int]:
        """Indices of the model's latents among those of the union, in the model's order."""
        slots, at = [], 0
        for letter in _LETTERS:
            width = (letter in self.union.invariance) * (2 if letter == "t" else 1)
            slots += list(range(at, at + width)) if letter in spec.invariance else []
            at += width
        return slots + list(range(at, at + spec.latent_dim))

    def _embedding(self, name: str, spec: ModelSpec) -> tuple[Tensor, Tensor]:
        """Rows and columns that the model's own tensor `name` occupies in the union's tensor."""
        rows, columns = (np.arange(n) for n in parameter_shapes(spec)[name])
        if name.startswith("heads"):
            slots = self.slots(spec)
            columns = np.array(slots + [self.union.latents + s for s in slots])
        if name.startswith("canvas"):
            side, margin = self.union.canvas_px, self.union.margin_px - spec.margin_px
            pixels = np.arange(spec.channels * side**2).reshape(spec.channels, side, side)
            columns = pixels[:, margin : side - margin, margin : side - margin].reshape(-1)
        return torch.from_numpy(rows)[:, None], torch.from_numpy(columns)

    def _present(self) -> Tensor:
        mask = torch.zeros(len(self.specs), 1, self.union.latents)
        for e, spec in enumerate(self.specs):
            mask[e, 0, self.slots(spec)] = 1
        return mask.to(self.device)

    def linear(self, name: str, h: Tensor) -> Tensor:
        """One layer without its activation, from (E, B, in) to (E, B, out)."""
        return torch.baddbmm(self.tensors[f"{name}_bias"], h, self.tensors[f"{name}_weight"])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations (E, B, latents of the union) of patches (E, B, pixels)."""
        h = torch.tanh(self.linear("encode1", x))
        h = torch.tanh(self.linear("encode2", h))
        mean, raw_std = self.linear("heads", h).chunk(2, dim=-1)
        return mean, F.softplus(raw_std)

    def decode(self, z: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Logits (E, B, pixels) of latents (E, B, latents); of the exact decoder only those of the `drawn` pixels (E, B, k)."""
        structural = z[..., self.union.geometric :]
        if self.union.per_pixel:
            return self._decode_each_pixel(z, structural, drawn)
        h = torch.tanh(self.linear("decode1", structural))
        h = torch.tanh(self.linear("decode2", h))
        canvas = self.linear("canvas", h)
        if not self.union.geometric:
            return canvas
        return self.resampler(canvas, self.resampler.coordinates(affine(z, self.union.invariance)))

    def _decode_each_pixel(self, z: Tensor, structural: Tensor, drawn: Tensor | None) -> Tensor:
        grid = self.grid if drawn is None else self.grid[drawn]
        at = torch.matmul(grid, affine(z, self.union.invariance).transpose(2, 3))
        models, batch, count, _ = at.shape
        code = torch.bmm(structural, self.tensors["latent_weight"])
        place = self.linear("place", at.flatten(1, 2)).reshape(models, batch, count, -1)
        h = torch.tanh(place + code[:, :, None]).flatten(1, 2)
        h = torch.tanh(self.linear("decode1", h))
        h = torch.tanh(self.linear("decode2", h))
        return self.linear("out", h).reshape(models, batch, count, -1).transpose(2, 3).flatten(2)

    def loss_terms(self, x: Tensor, noise: Tensor, drawn: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood and KL divergence, each of shape (E, B), in nats per patch.

        Parameters
        ----------
        x
            Patches, shape (E, B, pixels).
        noise
            Shape (E, B, latents of the union), standard normal.
        drawn
            Shape (E, B, k): pixels that represent all in the likelihood, whose gradient is unbiased if they are drawn uniformly.
        """
        mean, std = self.encode(x)
        z = mean + std * noise
        # KL of N(μ, σ) to N(0, 1) in closed form: ½(μ² + σ² - 1) - ln σ
        divergence = 0.5 * (mean**2 + std**2 - 1) - torch.log(std + 1e-12)
        if self.present is not None:
            z, divergence = z * self.present, divergence * self.present
        logits = self.decode(z, drawn)
        x = x if drawn is None else self.at_pixels(x, drawn)
        nll = self._nll(logits, x) * (self.union.pixels / logits.shape[-1])
        return nll, divergence.sum(dim=-1)

    def at_pixels(self, x: Tensor, drawn: Tensor) -> Tensor:
        """Values (E, B, channels · k) of patches (E, B, pixels) at their drawn pixels (E, B, k)."""
        everywhere = x.reshape(*x.shape[:2], self.union.channels, -1)
        return torch.gather(everywhere, 3, drawn[:, :, None].expand(-1, -1, self.union.channels, -1)).flatten(2)

    def _nll(self, logits: Tensor, x: Tensor) -> Tensor:
        if self.union.likelihood == "bernoulli":
            return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=-1)
        normalisation = math.log(GAUSSIAN_SIGMA * math.sqrt(2 * math.pi))
        return (0.5 * ((x - torch.sigmoid(logits)) / GAUSSIAN_SIGMA) ** 2 + normalisation).sum(dim=-1)
