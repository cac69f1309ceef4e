"""Variational autoencoders with invariances, several seeds stacked in one set of tensors.

The model is pyroVED's (encoder of two tanh layers of 128 with heads for the mean and a softplus standard deviation; N(0, 1)
priors on every latent; rotation φ = z in radians, translation t = 0.1·z where the window spans [-1, 1]; Bernoulli likelihood).
The decoder is not. pyroVED evaluates a network once per pixel of each patch; the *warp* decoder used here makes one canonical
patch, 1.5 times larger, with a fully connected network and resamples it (bilinear) at the rotated and shifted pixel
coordinates. It is 8 to 72 times cheaper a step and reaches the same ELBO (docs/decisions/0003-warp-decoder.md).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from agent.workflow.kinds import GEOMETRIC_LATENTS

HIDDEN = 128
TRANSLATION_SCALE = 0.1
CANVAS = 1.5  # the canonical patch's side over the window's: a rotated window's corner lies at 1.41


@dataclass(frozen=True)
class ModelSpec:
    """What is trained.

    Parameters
    ----------
    window_px
        Side of the patches.
    invariance
        "v" (none), "r" (rotation), "t" (translation) or "rt" (both; the paper's t-VAE).
    latent_dim
        Structural latents d, beside the geometric ones.
    channels
        Channels of a patch.
    beta
        Weight of the KL term. By default window²/400 a channel, which keeps its ratio to the reconstruction term the same for
        all windows, as the paper asks; the constant makes the vanilla model's total variance 1.8-2.0 at window 13.
    """

    window_px: int
    invariance: str
    latent_dim: int = 2
    channels: int = 1
    beta: float | None = None

    @property
    def kl_weight(self) -> float:
        """β."""
        return self.beta if self.beta is not None else self.pixels / 400

    @property
    def pixels(self) -> int:
        """Values in a patch, all channels together."""
        return self.channels * self.window_px**2


class StackedVAE(nn.Module):
    """E models of one `ModelSpec`, differing in their seeds only; every tensor has E as its first dimension."""

    def __init__(self, spec: ModelSpec, generators: list[torch.Generator]) -> None:
        super().__init__()
        self.spec = spec
        self.models = len(generators)
        self.geometric = GEOMETRIC_LATENTS[spec.invariance]
        self.side = spec.window_px if not self.geometric else math.ceil((spec.window_px - 1) * CANVAS) + 1
        latents = self.geometric + spec.latent_dim
        sizes = {
            "encode1": (spec.pixels, HIDDEN),
            "encode2": (HIDDEN, HIDDEN),
            "heads": (HIDDEN, 2 * latents),
            "decode1": (spec.latent_dim, HIDDEN),
            "decode2": (HIDDEN, HIDDEN),
            "canvas": (HIDDEN, spec.channels * self.side**2),
        }
        for name, (fan_in, fan_out) in sizes.items():
            bound = 1 / math.sqrt(fan_in)
            for part, shape in (("weight", (fan_in, fan_out)), ("bias", (1, fan_out))):
                start = torch.stack([(torch.rand(shape, generator=g) * 2 - 1) * bound for g in generators])
                self.register_parameter(f"{name}_{part}", nn.Parameter(start))
        u = torch.linspace(-1, 1, spec.window_px)
        y, x = torch.meshgrid(u, u, indexing="ij")
        self.pixel_x, self.pixel_y = x.reshape(-1), y.reshape(-1)

    def _linear(self, name: str, h: Tensor) -> Tensor:
        return torch.baddbmm(self.get_parameter(f"{name}_bias"), h, self.get_parameter(f"{name}_weight"))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and standard deviations (E, B, latents) of patches (E, B, pixels); the geometric latents come first."""
        h = torch.tanh(self._linear("encode1", x))
        h = torch.tanh(self._linear("encode2", h))
        mean, spread = self._linear("heads", h).chunk(2, dim=-1)
        return mean, F.softplus(spread)

    def decode(self, z: Tensor) -> Tensor:
        """Logits (E, B, pixels) of latents (E, B, latents)."""
        h = torch.tanh(self._linear("decode1", z[..., self.geometric :]))
        h = torch.tanh(self._linear("decode2", h))
        canvas = self._linear("canvas", h)
        return canvas if not self.geometric else self._warp(canvas, z)

    def _warp(self, canvas: Tensor, z: Tensor) -> Tensor:
        """The canonical patches resampled at each patch's own rotated and shifted pixel coordinates."""
        models, batch = z.shape[:2]
        x, y = self._coordinates(z)
        reach = (self.side - 1) / (self.spec.window_px - 1)
        at = torch.stack([x, y], dim=-1).reshape(models * batch, -1, 1, 2) / reach
        images = canvas.reshape(models * batch, self.spec.channels, self.side, self.side)
        out = F.grid_sample(images, at, mode="bilinear", padding_mode="border", align_corners=True)
        return out.reshape(models, batch, -1)

    def _coordinates(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, y = self.pixel_x.expand(*z.shape[:2], -1), self.pixel_y.expand(*z.shape[:2], -1)
        if "r" in self.spec.invariance:
            c, s = torch.cos(z[..., :1]), torch.sin(z[..., :1])
            x, y = x * c - y * s, x * s + y * c
        if "t" in self.spec.invariance:
            shift = TRANSLATION_SCALE * z[..., self.geometric - 2 : self.geometric]
            x, y = x + shift[..., :1], y + shift[..., 1:]
        return x, y

    def loss_terms(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood and KL divergence (E, B), in nats a patch.

        The KL of N(μ, σ) to N(0, 1) is used in closed form: ½(μ² + σ² - 1) - ln σ, summed over the latents.
        """
        mean, spread = self.encode(x)
        logits = self.decode(mean + spread * noise)
        missfit = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=-1)
        divergence = (0.5 * (mean**2 + spread**2 - 1) - torch.log(spread + 1e-12)).sum(dim=-1)
        return missfit, divergence
