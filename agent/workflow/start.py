"""Where training begins."""

import math

import numpy as np
import torch
from jaxtyping import Float32

from agent.workflow.draws import stream
from agent.workflow.spec import ModelSpec, Weights, parameter_shapes

_DARKEST = 0.02  # mean patches are kept this far from 0 and 1, whose logits are infinite


def initial_weights(spec: ModelSpec, seed: int, mean_patch: Float32[np.ndarray, "C w w"] | None = None) -> Weights:
    """Uniform in ±1/√(fan in), weights and biases alike, as PyTorch's linear layers begin.

    Parameters
    ----------
    spec, seed
        Of the model.
    mean_patch
        Shape (C, window, window), in [0, 1]: what an untrained decoder shall make of any latents, roughly. It saves the steps
        in which a model learns the mean first.
    """
    generator = stream(seed, spec, "start")
    parts, bound = {}, 0.0
    for name, (rows, columns) in parameter_shapes(spec).items():
        bound = 1 / math.sqrt(rows) if rows > 1 else bound  # a bias follows the weight whose fan in bounds it
        parts[name] = ((torch.rand(rows * columns, generator=generator) * 2 - 1) * bound).numpy()
    if mean_patch is not None:
        name, level = _output_bias(spec, np.clip(mean_patch, _DARKEST, 1 - _DARKEST))
        parts[name] += np.log(level / (1 - level)).reshape(-1).astype(np.float32)
    return np.concatenate(list(parts.values()))


def _output_bias(spec: ModelSpec, mean_patch: np.ndarray) -> tuple[str, np.ndarray]:
    if spec.per_pixel:
        return "out_bias", mean_patch.mean(axis=(1, 2))
    margin = (spec.margin_px, spec.margin_px)
    return "canvas_bias", np.pad(mean_patch, ((0, 0), margin, margin), mode="edge")
