"""Adam on one flat tensor, bit for bit that of `torch.optim.Adam(fused=True)`.

The optimiser class imports PyTorch's compiler when it is made, which nothing here uses: two seconds of processor time in every
training process. Its function does not.
"""

import torch
from torch import Tensor
from torch.optim.adam import adam

_EPSILON = 1e-8


class Adam:
    """The state of Adam (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1).

    Parameters
    ----------
    weights
        Changed by each step.
    gradient
        Of the weights, of the same shape; read by each step.
    """

    def __init__(self, weights: Tensor, gradient: Tensor) -> None:
        self._weights, self._gradient = weights, gradient
        self._mean, self._square = torch.zeros_like(weights), torch.zeros_like(weights)
        self._steps = torch.zeros((), dtype=torch.float32, device=weights.device)

    def step(self, learning_rate: float, betas: tuple[float, float]) -> None:
        """Move the weights once; without recording gradients, so call it under `torch.no_grad`."""
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
