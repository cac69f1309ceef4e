import numpy as np
import pytest
import torch

from agent.representation.vae.gradient import Gradient
from agent.representation.vae.initialisation import initial_weights
from agent.representation.vae.model import StackedVAE
from agent.representation.vae.spec import ModelSpec
from agent.representation.vae.transforms import affine, affine_gradient
from agent.schema.model_kinds import GEOMETRIC_LATENTS

WARPED = [i for i in GEOMETRIC_LATENTS if i != "v"]


def differentiated(stack: StackedVAE, x: torch.Tensor, noise: torch.Tensor, drawn: torch.Tensor | None) -> torch.Tensor:
    stack.tensors = {name: t.clone().requires_grad_(True) for name, t in stack.tensors.items()}
    nll, divergence = stack.loss_terms(x, noise, drawn)
    (nll + stack.kl_weight[:, None] * divergence).mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
    return torch.cat([t.grad.reshape(-1) for t in stack.tensors.values() if t.grad is not None])


STACKS = {f"{i} warp": [ModelSpec(7, i, 3, beta=0.4)] * 2 for i in GEOMETRIC_LATENTS}
STACKS |= {f"{i} exact": [ModelSpec(7, i, 3, beta=0.4, decoder="exact")] * 2 for i in WARPED}
STACKS |= {f"sampled, {c} channels": [ModelSpec(7, "rts", 2, c, decoder="exact", sampled_px=9)] for c in (1, 2)}
STACKS |= {f"gaussian {d}": [ModelSpec(6, "rt", 2, 2, decoder=d, likelihood="gaussian")] for d in ("warp", "exact")}
STACKS |= {f"mixed {d}": [ModelSpec(6, i, 1 + k % 3, decoder=d) for k, i in enumerate(WARPED)] for d in ("warp", "exact")}
STACKS["mixed with vanilla"] = [ModelSpec(6, i, 1 + k % 3) for k, i in enumerate(GEOMETRIC_LATENTS)]


@pytest.mark.parametrize("specs", STACKS.values(), ids=STACKS.keys())
def test_the_gradient_equals_that_of_automatic_differentiation(specs: list[ModelSpec]) -> None:
    stack = StackedVAE(specs, [initial_weights(spec, e) for e, spec in enumerate(specs)])
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(len(specs), 11, stack.union.pixels, generator=generator)
    noise = torch.randn(len(specs), 11, stack.union.latents, generator=generator)
    sampled = stack.union.sampled_px
    drawn = torch.rand(len(specs), 11, stack.union.window_px**2, generator=generator).topk(sampled).indices if sampled else None
    gradient = Gradient(stack)
    with torch.no_grad():
        gradient(x, noise, drawn)
    expected = differentiated(stack, x, noise, drawn)
    assert expected.abs().max() > 1e-3
    assert torch.allclose(gradient.flat, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("invariance", WARPED)
def test_the_gradient_of_the_map_equals_its_finite_difference(invariance: str) -> None:
    rng = np.random.default_rng(0)
    z = torch.from_numpy(rng.normal(size=(1, 1, GEOMETRIC_LATENTS[invariance] + 1)))
    weight = torch.from_numpy(rng.normal(size=(1, 1, 2, 3)))
    by_hand = affine_gradient(weight, z, invariance)[0, 0]
    for i, expected in enumerate(by_hand):
        step = torch.zeros_like(z)
        step[..., i] = 1e-6
        difference = (affine(z + step, invariance) - affine(z - step, invariance)) * weight
        assert float(difference.sum() / 2e-6) == pytest.approx(float(expected), abs=1e-6)
