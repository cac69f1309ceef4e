"""Where training begins: the first weights, and what the encoder is shown."""

import math

import torch
from torch import Tensor

from agent.representation.vae.model import StackedVAE
from agent.representation.vae.random_streams import stream
from agent.representation.vae.spec import ModelSpec, Weights, parameter_shapes

_INPUT_SIZE = 4.0  # root mean square of a centred patch's length; 16 in units of the contrast of a real scan
_LEAST_CONTRAST = 1e-3  # of patches in [0, 1]; below it they are noise


def initial_weights(spec: ModelSpec, seed: int) -> Weights:
    """Uniform in ±1/√(fan in), weights and biases alike, as PyTorch's linear layers begin."""
    generator = stream(seed, spec, "start")
    parts, bound = [], 0.0
    for rows, columns in parameter_shapes(spec).values():
        bound = 1 / math.sqrt(rows) if rows > 1 else bound  # a bias follows the weight whose fan in bounds it
        parts.append((torch.rand(rows * columns, generator=generator) * 2 - 1) * bound)
    return torch.cat(parts).numpy()


class Centred:
    """A stack whose encoder is shown patches about their mean, and of one size whatever the window and the contrast.

    Pixels are positive: in a step of Adam, all weights of a hidden unit move the same way and their effect adds up over the
    window. Such a step saturates tanh at large windows, at learning rates that small windows train best with. W (x - m) + b is
    the model W x + (b - W m): in training the latter is written as the former, which changes the steps and not the model.

    Parameters
    ----------
    stack
        The models.
    x
        What it is trained on, patches (n, pixels).
    """

    def __init__(self, stack: StackedVAE, x: Tensor) -> None:
        self._weight, self._bias = stack.tensors["encode1_weight"], stack.tensors["encode1_bias"]
        self._mean = x.mean(dim=0)
        centred = x - self._mean
        contrast = float(torch.sqrt((centred**2).mean()))
        self._scale = _INPUT_SIZE / (max(contrast, _LEAST_CONTRAST) * math.sqrt(stack.union.pixels))
        #: What the encoder is shown instead of x.
        self.patches = centred * self._scale

    def enter(self) -> None:
        """Rewrite the weights for the centred patches."""
        self._bias += torch.matmul(self._mean, self._weight)[:, None]
        self._weight /= self._scale

    def leave(self) -> None:
        """Rewrite the weights for the patches themselves."""
        self._weight *= self._scale
        self._bias -= torch.matmul(self._mean, self._weight)[:, None]
