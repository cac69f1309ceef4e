"""Adam on one flat tensor, bit for bit equal to `torch.optim.Adam(fused=True)`.

That class imports PyTorch's compiler when it is created, which costs two seconds of processor time in every training process and
is not used here. The function `torch.optim.adam.adam` does not import it.
"""

import torch
from torch import Tensor
from torch.optim.adam import adam

_EPSILON = 1e-8


class Adam:
    """Optimiser and its state (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    Parameters
    ----------
    weights
        Flat tensor that each step updates in place.
    gradient
        Gradient of the loss, of the same shape; each step reads it.
    """

    def __init__(self, weights: Tensor, gradient: Tensor) -> None:
        self._weights, self._gradient = weights, gradient
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)
        self._steps = torch.zeros((), dtype=torch.float32, device=weights.device)

    def step(self, learning_rate: float, betas: tuple[float, float]) -> None:
        """Update the weights once; to be called under `torch.no_grad`."""
        adam(
            [self._weights],
            [self._gradient],
            [self._mean],
            [self._square],
            [],
            [self._steps],
            fused=True,
            amsgrad=False,
            beta1=betas[0],
            beta2=betas[1],
            lr=learning_rate,
            weight_decay=0.0,
            eps=_EPSILON,
            maximize=False,
        )
