"""Initial weights of a VAE, and centring of the encoder's input during training."""

import math

import torch
from torch import Tensor

from agent.representation.vae.model import StackedVAE
from agent.representation.vae.random_streams import stream
from agent.representation.vae.spec import ModelSpec, Weights, parameter_shapes

_INPUT_NORM = 4.0  # root mean square of the norm of a centred patch; 16 in units of the contrast of a real scan
_MIN_CONTRAST = 1e-3  # of patches in [0, 1]; below it they are noise


def initial_weights(spec: ModelSpec, seed: int) -> Weights:
    """Weights and biases drawn uniformly in ±1/√(fan in), like those of PyTorch's linear layers."""
    generator = stream(seed, spec, "start")
    parts, bound = [], 0.0
    for rows, columns in parameter_shapes(spec).values():
        bound = 1 / math.sqrt(rows) if rows > 1 else bound  # a bias has the bound of the weights before it
        parts.append((torch.rand(rows * columns, generator=generator) * 2 - 1) * bound)
    return torch.cat(parts).numpy()


class CentredInput:
    """Encoder input centred on the mean patch, and scaled to one norm for all windows and contrasts.

    Pixels are positive, so in a step of Adam all weights of a hidden unit move in the same direction and their effect adds up
    over the window. At learning rates that are best for small windows, such a step saturates tanh at large ones. During training,
    the model W x + (b - W m) is therefore written as W (x - m) + b, which changes the steps but not the model.

    Parameters
    ----------
    stack
        The models, whose weights are rewritten in place.
    x
        Training patches, shape (n, pixels).
    """

    def __init__(self, stack: StackedVAE, x: Tensor) -> None:
        self._weight, self._bias = stack.tensors["encode1_weight"], stack.tensors["encode1_bias"]
        self._mean = x.mean(dim=0)
        centred = x - self._mean
        contrast = float(torch.sqrt((centred**2).mean()))
        self._scale = _INPUT_NORM / (max(contrast, _MIN_CONTRAST) * math.sqrt(stack.union.pixels))
        #: Input of the encoder in place of x.
        self.patches = centred * self._scale

    def enter(self) -> None:
        """Rewrite the weights for the centred patches."""
        self._bias += torch.matmul(self._mean, self._weight)[:, None]
        self._weight /= self._scale

    def leave(self) -> None:
        """Rewrite the weights for the patches themselves."""
        self._weight *= self._scale
        self._bias -= torch.matmul(self._mean, self._weight)[:, None]
