"""Specification of a VAE, and the layout of its weights in one flat vector, which can be hashed, stored and sent.

Does not load PyTorch, which the processes that plan a search do not need.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32

from agent.schema.model_kinds import GEOMETRIC_LATENTS

Weights = Float32[np.ndarray, " _"]  # the length depends on the specification

HIDDEN = 128
_CANVAS_SCALE = 1.2  # side relative to the window's; up to the 1.41 of a rotated corner, larger ones gain nothing


@dataclass(frozen=True)
class ModelSpec:
    """Specification of one variational autoencoder.

    Parameters
    ----------
    window_px
        Side of the patches in pixels, at least 2.
    invariance
        "v" (none), or the letters of "r" (rotation), "t" (translation) and "s" (scale) in this order; the paper's t-VAE is "rt".
    latent_dim
        Number of structural latents d, not counting the geometric ones.
    channels
        Number of channels of a patch.
    beta
        Weight of the KL term. By default window²/400 per channel, which keeps its ratio to the reconstruction term the same
        for all windows, as in the paper; with this constant the vanilla model's total variance is 1.8-2.0 at window 13.
    decoder
        "warp" resamples one canonical patch, "exact" evaluates pyroVED's network at each pixel; without invariance they are the
        same.
    likelihood
        Distribution of a pixel in [0, 1], given the decoder's output.
    sampled_px
        Number of pixels of each patch at which the exact decoder is evaluated in a training step; 0 for all.

    Raises
    ------
    ValueError
        If the invariance is unknown, or a size is out of range.
    """

    window_px: int
    invariance: str
    latent_dim: int = 2
    channels: int = 1
    beta: float | None = None
    decoder: Literal["warp", "exact"] = "warp"
    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    sampled_px: int = 0

    def __post_init__(self) -> None:
        if self.invariance not in GEOMETRIC_LATENTS:
            raise ValueError(f"no invariance is called '{self.invariance}'; choose one of {', '.join(GEOMETRIC_LATENTS)}")
        if self.window_px < 2 or self.latent_dim < 1 or self.channels < 1:
            raise ValueError(
                f"a model needs a window of at least 2 px, a latent and a channel, but has {self.window_px} px, "
                f"{self.latent_dim} and {self.channels}"
            )
        if not 0 <= self.sampled_px <= self.window_px**2:
            raise ValueError(f"sampled_px must lie between 0 (all) and {self.window_px**2}, but is {self.sampled_px}")

    @property
    def kl_weight(self) -> float:
        """Weight β of the KL term."""
        return self.beta if self.beta is not None else self.pixels / 400

    @property
    def pixels(self) -> int:
        """Number of values in a patch, all channels together."""
        return self.channels * self.window_px**2

    @property
    def geometric(self) -> int:
        """Number of geometric latents, which come first: rotation, two for translation, scale."""
        return GEOMETRIC_LATENTS[self.invariance]

    @property
    def latents(self) -> int:
        """Number of geometric and structural latents together."""
        return self.geometric + self.latent_dim

    @property
    def margin_px(self) -> int:
        """Pixels by which the warp decoder's canonical patch extends beyond the window on each side."""
        return math.ceil((_CANVAS_SCALE - 1) * (self.window_px - 1) / 2) if self.geometric else 0

    @property
    def canvas_px(self) -> int:
        """Side of the canonical patch in pixels."""
        return self.window_px + 2 * self.margin_px

    @property
    def per_pixel(self) -> bool:
        """Whether the decoder is a network evaluated at each pixel's coordinates."""
        return self.decoder == "exact" and self.geometric > 0


def parameter_shapes(spec: ModelSpec) -> dict[str, tuple[int, int]]:
    """Shapes (in, out) of weights and (1, out) of biases, in their order in a model's flat vector."""
    layers = {"encode1": (spec.pixels, HIDDEN), "encode2": (HIDDEN, HIDDEN), "heads": (HIDDEN, 2 * spec.latents)}
    if spec.per_pixel:
        layers |= {
            "place": (2, HIDDEN),
            "latent": (spec.latent_dim, HIDDEN),
            "decode1": (HIDDEN, HIDDEN),
            "decode2": (HIDDEN, HIDDEN),
            "out": (HIDDEN, spec.channels),
        }
    else:
        layers |= {
            "decode1": (spec.latent_dim, HIDDEN),
            "decode2": (HIDDEN, HIDDEN),
            "canvas": (HIDDEN, spec.channels * spec.canvas_px**2),
        }
    shapes = {}
    for name, (fan_in, fan_out) in layers.items():
        shapes[f"{name}_weight"] = (fan_in, fan_out)
        if name != "latent":  # added to "place", which has a bias
            shapes[f"{name}_bias"] = (1, fan_out)
    return shapes


def weight_count(spec: ModelSpec) -> int:
    """Length of a model's flat weight vector."""
    return sum(rows * columns for rows, columns in parameter_shapes(spec).values())
