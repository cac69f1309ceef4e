import math

import numpy as np
import pytest
import torch

from agent.representation.vae.initialisation import initial_weights
from agent.representation.vae.model import StackedVAE
from agent.representation.vae.spec import ModelSpec, parameter_shapes, weight_count
from agent.schema.model_kinds import GEOMETRIC_LATENTS

INVARIANCES = sorted(GEOMETRIC_LATENTS)
DECODERS = ("warp", "exact")


def stack_of(*specs: ModelSpec) -> StackedVAE:
    return StackedVAE(specs, [initial_weights(spec, s) for s, spec in enumerate(specs)])


def decoded(stack: StackedVAE, latents: list[list[float]]) -> np.ndarray:
    """Patches (B, w, w) of one model."""
    side = stack.union.window_px
    return stack.decode(torch.tensor([latents])).detach()[0].reshape(-1, side, side).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("invariance", INVARIANCES)
def test_shapes_and_number_of_latents_are_those_of_the_invariance(invariance: str, decoder: str) -> None:
    spec = ModelSpec(9, invariance, channels=2, decoder=decoder)
    stack = stack_of(spec, spec, spec)
    mean, std = stack.encode(torch.rand(3, 5, 162))
    assert mean.shape == (3, 5, 2 + GEOMETRIC_LATENTS[invariance])
    assert (std > 0).all()
    assert stack.decode(mean).shape == (3, 5, 162)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_rotation_latent_rotates_the_decoded_patch(quarter_turns: int, decoder: str) -> None:
    stack = stack_of(ModelSpec(9, "r", decoder=decoder))
    straight, turned = decoded(stack, [[0, 0.3, -1.2], [quarter_turns * math.pi / 2, 0.3, -1.2]])
    assert np.rot90(straight, quarter_turns) == pytest.approx(turned, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_translation_latents_shift_by_a_tenth_of_half_a_window_each_along_rows_and_against_columns(decoder: str) -> None:
    stack = stack_of(ModelSpec(21, "t", decoder=decoder))  # half a window has 10 pixel steps
    still, down, left = decoded(stack, [[0, 0, 0.3, -1.2], [2, 0, 0.3, -1.2], [0, 2, 0.3, -1.2]])
    assert down[:-2] == pytest.approx(still[2:], abs=1e-4)
    assert left[:, 2:] == pytest.approx(still[:, :-2], abs=1e-4)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_scale_latent_widens_the_view_by_a_tenth_each(decoder: str) -> None:
    stack = stack_of(ModelSpec(21, "s", decoder=decoder))
    still, wider = decoded(stack, [[0, 0.3, -1.2], [10, 0.3, -1.2]])  # twice as wide
    assert wider[5:16, 5:16] == pytest.approx(still[::2, ::2], abs=1e-4)


def test_scale_comes_after_translation_and_does_not_multiply_it() -> None:
    stack = stack_of(ModelSpec(21, "ts"))
    still, both = decoded(stack, [[0, 0, 0, 0.3, -1.2], [2, 0, 10, 0.3, -1.2]])
    assert both[5:15, 10] == pytest.approx(still[2:21:2, 10], abs=1e-4)


@pytest.mark.parametrize("invariance", INVARIANCES)
def test_the_kl_term_is_the_divergence_from_the_standard_normal_in_closed_form(invariance: str) -> None:
    stack = stack_of(ModelSpec(9, invariance))
    x = torch.rand(1, 7, 81)
    mean, std = stack.encode(x)
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0)).sum(-1)
    _, divergence = stack.loss_terms(x, torch.zeros_like(mean))
    assert torch.allclose(divergence, expected, atol=1e-4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_reconstruction_term_is_the_likelihood_summed_over_pixels(decoder: str, likelihood: str) -> None:
    stack = stack_of(ModelSpec(9, "rt", decoder=decoder, likelihood=likelihood))
    x = torch.rand(1, 4, 81)
    mean, _ = stack.encode(x)
    nll, _ = stack.loss_terms(x, torch.zeros_like(mean))
    p = torch.sigmoid(stack.decode(mean))
    log_p = x * p.log() + (1 - x) * (1 - p).log() if likelihood == "bernoulli" else torch.distributions.Normal(p, 0.5).log_prob(x)
    assert torch.allclose(nll, -log_p.sum(-1), rtol=1e-4)


def test_uniformly_drawn_pixels_give_the_full_reconstruction_term_on_average() -> None:
    stack = stack_of(ModelSpec(5, "rts", channels=2, decoder="exact", sampled_px=5))
    x = torch.rand(1, 3, 50)
    noise = torch.zeros(1, 3, 6)
    whole, _ = stack.loss_terms(x, noise)
    disjoint = torch.randperm(25, generator=torch.Generator().manual_seed(0)).reshape(5, 1, 1, 5).expand(-1, 1, 3, -1)
    parts = torch.stack([stack.loss_terms(x, noise, drawn)[0] for drawn in disjoint])
    assert torch.allclose(parts.mean(dim=0), whole, rtol=1e-4)
    assert not torch.allclose(parts[0], whole, rtol=1e-3)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("invariance", INVARIANCES)
def test_weights_are_read_and_returned_as_one_flat_vector(invariance: str, decoder: str) -> None:
    spec = ModelSpec(7, invariance, latent_dim=3, decoder=decoder)
    flat = np.arange(weight_count(spec), dtype=np.float32)
    stack = StackedVAE([spec, spec], [flat, -flat])
    assert np.array_equal(stack.weights, [flat, -flat])
    assert {name: tuple(t.shape[1:]) for name, t in stack.tensors.items()} == parameter_shapes(spec)
    with pytest.raises(ValueError, match="weights"):
        StackedVAE([spec], [flat[1:]])


@pytest.mark.parametrize("decoder", DECODERS)
def test_models_of_different_kinds_have_the_same_losses_in_a_stack_as_alone(decoder: str) -> None:
    kinds = [i for i in INVARIANCES if decoder == "warp" or i != "v"]
    specs = [ModelSpec(8, i, latent_dim=1 + k % 3, beta=0.1 * k, decoder=decoder) for k, i in enumerate(kinds)]
    together = stack_of(*specs)
    x = torch.rand(1, 5, 64)
    noise = torch.randn(len(specs), 5, together.union.latents, generator=torch.Generator().manual_seed(0))
    nll, divergence = together.loss_terms(x.expand(len(specs), -1, -1), noise)
    for e, spec in enumerate(specs):
        alone = StackedVAE([spec], [together.weights[e]])
        expected = alone.loss_terms(x, noise[e : e + 1][:, :, together.slots(spec)])
        assert torch.allclose(nll[e], expected[0][0], rtol=1e-5)
        assert torch.allclose(divergence[e], expected[1][0], rtol=1e-5)


def test_models_that_differ_in_more_cannot_be_stacked() -> None:
    with pytest.raises(ValueError, match="may differ in invariance"):
        stack_of(ModelSpec(9, "r"), ModelSpec(11, "r"))
    with pytest.raises(ValueError, match="may differ in invariance"):
        stack_of(ModelSpec(9, "v", decoder="exact"), ModelSpec(9, "r", decoder="exact"))


def test_beta_keeps_its_ratio_to_the_reconstruction_term_over_windows() -> None:
    ratios = {ModelSpec(w, "v").kl_weight / w**2 for w in (5, 10, 20)}
    assert max(ratios) == pytest.approx(min(ratios))
    assert ModelSpec(20, "v").kl_weight == pytest.approx(1)


def test_an_impossible_model_is_refused() -> None:
    with pytest.raises(ValueError, match="no invariance is called 'tr'"):
        ModelSpec(9, "tr")
    with pytest.raises(ValueError, match="at least 2 px"):
        ModelSpec(1, "v")
    with pytest.raises(ValueError, match="between 0"):
        ModelSpec(3, "r", decoder="exact", sampled_px=10)
