"""Reconstruction of patches from stored VAE weights in numpy, so that the service process need not load PyTorch.

The networks are those of `agent.representation.vae.model` and the maps those of `agent.representation.vae.transforms`; a test
compares the results.
"""

import numpy as np
from jaxtyping import Float32

from agent.representation.vae.spec import ModelSpec, Weights, parameter_shapes

PRIOR = 0.1  # the TRANSLATION_PRIOR and SCALE_PRIOR of `agent.representation.vae.transforms`
Layers = dict[str, np.ndarray]


def reconstruct(patches: Float32[np.ndarray, "n C w w"], spec: ModelSpec, weights: Weights) -> Float32[np.ndarray, "n C w w"]:
    """Return each patch as the model reconstructs it from its mean latents, including the geometric ones; in [0, 1].

    Raises
    ------
    ValueError
        If the number of weights does not fit the model.
    """
    layers = _layers(spec, weights)
    z = _encode(patches.reshape(len(patches), -1), spec, layers)
    logits = _exact_decoder(z, spec, layers) if spec.per_pixel else _warp_decoder(z, spec, layers)
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32).reshape(patches.shape)


def _layers(spec: ModelSpec, weights: Weights) -> Layers:
    shapes = parameter_shapes(spec)
    ends = np.cumsum([rows * columns for rows, columns in shapes.values()])
    if len(weights) != ends[-1]:
        raise ValueError(f"the model {spec} has {ends[-1]} weights, but {len(weights)} were given")
    parts = np.split(np.asarray(weights, dtype=np.float32), ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}


def _linear(layers: Layers, name: str, h: np.ndarray) -> np.ndarray:
    return np.asarray(h @ layers[f"{name}_weight"] + layers[f"{name}_bias"])


def _encode(x: np.ndarray, spec: ModelSpec, layers: Layers) -> np.ndarray:
    h = np.tanh(_linear(layers, "encode1", x))
    h = np.tanh(_linear(layers, "encode2", h))
    return _linear(layers, "heads", h)[:, : spec.latents]


def _warp_decoder(z: np.ndarray, spec: ModelSpec, layers: Layers) -> np.ndarray:
    """Warp decoder: the canonical patch of each code, resampled with the patch's own map."""
    h = np.tanh(_linear(layers, "decode1", z[:, spec.geometric :]))
    h = np.tanh(_linear(layers, "decode2", h))
    canvas = _linear(layers, "canvas", h).reshape(len(z), spec.channels, spec.canvas_px, spec.canvas_px)
    return canvas if not spec.geometric else _resample(canvas, _maps(z, spec.invariance), spec.window_px)


def _exact_decoder(z: np.ndarray, spec: ModelSpec, layers: Layers) -> np.ndarray:
    """Exact decoder: a network evaluated at the canonical coordinates of each pixel."""
    coordinates = (_maps(z, spec.invariance) @ _grid(spec.window_px)).transpose(0, 2, 1)
    code = z[:, spec.geometric :] @ layers["latent_weight"]
    h = np.tanh(_linear(layers, "place", coordinates) + code[:, None])
    h = np.tanh(_linear(layers, "decode1", h))
    h = np.tanh(_linear(layers, "decode2", h))
    return _linear(layers, "out", h).transpose(0, 2, 1)


def _grid(window_px: int) -> np.ndarray:
    """Return the homogeneous coordinates (3, window²) of a patch's pixels: row, minus column, 1."""
    u = np.linspace(-1, 1, window_px, dtype=np.float32)
    rows, columns = np.meshgrid(u, -u, indexing="ij")
    return np.stack([rows.ravel(), columns.ravel(), np.ones(window_px**2, np.float32)])


def _maps(z: np.ndarray, invariance: str) -> np.ndarray:
    """Return affine maps (n, 2, 3) from patch to canonical coordinates; the geometric latents come first in z."""
    n, column = len(z), 0
    angle: np.ndarray = np.zeros(n, np.float32)
    shift: np.ndarray = np.zeros((n, 2), np.float32)
    k: np.ndarray = np.ones(n, np.float32)
    if "r" in invariance:
        angle, column = z[:, 0], 1
    if "t" in invariance:
        shift, column = PRIOR * z[:, column : column + 2], column + 2
    if "s" in invariance:
        k = 1 + PRIOR * z[:, column]
    c, s = k * np.cos(angle), k * np.sin(angle)
    return np.stack([np.stack([c, -s, shift[:, 0]], axis=1), np.stack([s, c, shift[:, 1]], axis=1)], axis=1)


def _resample(canvas: np.ndarray, maps: np.ndarray, window_px: int) -> np.ndarray:
    """Resample canonical patches bilinearly, to (n, C, window²); outside a patch its edge value is used."""
    n, channels, side, _ = canvas.shape
    at = maps @ (_grid(window_px) * (window_px - 1) / (side - 1))
    row = np.clip((at[:, 0] + 1) / 2 * (side - 1), 0, side - 1)
    col = np.clip((1 - at[:, 1]) / 2 * (side - 1), 0, side - 1)
    r, c = np.minimum(row.astype(np.int64), side - 2), np.minimum(col.astype(np.int64), side - 2)
    fr, fc = (row - r)[:, None], (col - c)[:, None]
    flat = canvas.reshape(n, channels, -1)

    def sample(rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        where = (rows * side + cols)[:, None].repeat(channels, axis=1)
        return np.take_along_axis(flat, where, axis=2)

    upper = sample(r, c) * (1 - fc) + sample(r, c + 1) * fc
    lower = sample(r + 1, c) * (1 - fc) + sample(r + 1, c + 1) * fc
    return np.asarray(upper * (1 - fr) + lower * fr)
