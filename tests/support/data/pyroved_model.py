"""pyroVED 0.3.0 as a reference: its own model with given weights, and the terms of its loss.

Weights, patches and noise are computed from formulas. pyroVED's results are stored in tests/golden/pyroved.json, so that the
comparison works without pyroVED; `write_golden` rewrites that file.

pyroVED is installed in a folder of its own (`make reference`): its wheel contains a package called `tests`, which would hide
ours, and requires torchvision, which brings another PyTorch.
"""

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.representation.vae.spec import ModelSpec, parameter_shapes
from agent.schema.model_kinds import GEOMETRIC_LATENTS

GOLDEN = Path(__file__).parents[2] / "golden" / "pyroved.json"
WINDOW_PX = 6
PATCHES = 4
CASES = [(i, likelihood) for i in GEOMETRIC_LATENTS for likelihood in ("bernoulli", "gaussian")]
_LAYERS = {
    "encode1": "encoder_z.fc_layers.0",
    "encode2": "encoder_z.fc_layers.2",
    "decode1": "decoder.fc_layers.0",
    "decode2": "decoder.fc_layers.2",
    "canvas": "decoder.out",
    "out": "decoder.out",
    "place": "decoder.coord_latent.fc_coord",
    "latent": "decoder.coord_latent.fc_latent",
}
REFERENCE = Path(sys.prefix) / "reference"
Terms = dict[str, list[Any]]


def spec_of(invariance: str, likelihood: Any) -> ModelSpec:
    return ModelSpec(WINDOW_PX, invariance, decoder="exact", likelihood=likelihood)


def case(spec: ModelSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (p,), patches (PATCHES, pixels) in [0, 1] and noise (PATCHES, latents), without a random generator."""
    parts = [np.sin(7.3 * np.arange(1, a * b + 1) ** 1.1) / np.sqrt(max(a, 8)) for a, b in parameter_shapes(spec).values()]
    x = 0.5 + 0.5 * np.sin(1.7 * np.arange(PATCHES * spec.pixels) ** 1.2).reshape(PATCHES, -1)
    noise = 1.5 * np.cos(2.1 * np.arange(PATCHES * spec.latents)).reshape(PATCHES, -1)
    return np.concatenate(parts).astype(np.float32), x.astype(np.float32), noise.astype(np.float32)


def reference_terms(spec: ModelSpec) -> Terms:
    """For each patch, by pyroVED and Pyro: the encoder's mean and std, the negative log-likelihood, and the KL divergence."""
    import pyro

    pyroved = _pyroved()

    weights, x, noise = (torch.from_numpy(a) for a in case(spec))
    letters = [] if spec.invariance == "v" else list(spec.invariance)
    state = torch.get_rng_state()
    model = pyroved.models.iVAE((WINDOW_PX, WINDOW_PX), spec.latent_dim, letters or None, sampler_d=spec.likelihood, device="cpu")
    torch.set_rng_state(state)
    model.load_state_dict(_state(spec, weights))
    with torch.no_grad(), pyro.poutine.trace() as trace:
        images = x.reshape(-1, WINDOW_PX, WINDOW_PX)
        model.guide(images)
        latent = trace.trace.nodes["latent"]
        latent["value"] = latent["fn"].base_dist.loc + latent["fn"].base_dist.scale * noise
        of_guide = trace.trace.copy()
    with torch.no_grad():
        of_model = pyro.poutine.trace(pyro.poutine.replay(model.model, trace=of_guide)).get_trace(images)
        divergence = torch.distributions.kl_divergence(latent["fn"].base_dist, of_model.nodes["latent"]["fn"].base_dist).sum(-1)
        nll = -of_model.nodes["obs"]["fn"].log_prob(x)
    pyro.clear_param_store()
    of_encoder = latent["fn"].base_dist
    return {k: v.tolist() for k, v in _named(of_encoder.loc, of_encoder.scale, nll, divergence).items()}


def _named(mean: torch.Tensor, std: torch.Tensor, nll: torch.Tensor, divergence: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"mean": mean, "std": std, "missfit": nll, "divergence": divergence}


def _state(spec: ModelSpec, flat: torch.Tensor) -> dict[str, torch.Tensor]:
    shapes = parameter_shapes(spec)
    parts = dict(zip(shapes, torch.split(flat, [a * b for a, b in shapes.values()]), strict=True))
    state = {}
    for name, shape in shapes.items():
        layer, kind = name.split("_")
        part = parts[name].reshape(shape).T if kind == "weight" else parts[name]
        if layer == "heads":
            state[f"encoder_z.fc11.{kind}"], state[f"encoder_z.fc12.{kind}"] = part.chunk(2)
        else:
            state[f"{_LAYERS[layer]}.{kind}"] = part
    return state


def _pyroved() -> Any:
    for name in ("torchvision", "torchvision.utils"):  # pyroVED imports them to draw figures, which the tests do not do
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["torchvision.utils"].make_grid = None  # type: ignore[attr-defined]
    sys.path.append(str(REFERENCE))
    try:
        return importlib.import_module("pyroved")
    finally:
        sys.path.remove(str(REFERENCE))  # processes started by later tests must not import its `tests`


def write_golden() -> None:
    """Compute the terms with pyroVED and store them."""
    terms = {f"{i} {likelihood}": reference_terms(spec_of(i, likelihood)) for i, likelihood in CASES}
    lines = [f'"{k}": {json.dumps({n: np.round(v, 6).tolist() for n, v in t.items()})}' for k, t in terms.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
