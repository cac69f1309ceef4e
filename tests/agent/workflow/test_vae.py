import numpy as np
import pytest
import torch
from torch import nn

from agent.workflow.budget import TrainSettings
from agent.workflow.errors import SearchCancelledError
from agent.workflow.kinds import GEOMETRIC_LATENTS
from agent.workflow.train import split_held_out, train
from agent.workflow.vae import ModelSpec, StackedVAE

SETTINGS = TrainSettings(steps=60, batch_size=32)


def model(invariance: str, window: int = 9, seeds: int = 1) -> StackedVAE:
    return StackedVAE(ModelSpec(window, invariance), [torch.Generator().manual_seed(s) for s in range(seeds)])


def bars(n: int, window: int = 9, seed: int = 0) -> np.ndarray:
    """Patches (n, 1, window, window) of a bar at a random angle through the centre."""
    rng = np.random.default_rng(seed)
    u = np.linspace(-1, 1, window)
    y, x = np.meshgrid(u, u, indexing="ij")
    angle = rng.uniform(0, np.pi, n)[:, None, None]
    across = np.abs(x * np.sin(angle) - y * np.cos(angle))
    return np.clip(1.2 - 3 * across, 0, 1).astype(np.float32)[:, None]


@pytest.mark.parametrize("invariance", sorted(GEOMETRIC_LATENTS))
def test_shapes_and_number_of_latents_are_those_of_the_invariance(invariance: str) -> None:
    stack = model(invariance, seeds=3)
    mean, std = stack.encode(torch.rand(3, 5, 81))
    assert mean.shape == (3, 5, 2 + GEOMETRIC_LATENTS[invariance])
    assert (std > 0).all()
    assert stack.decode(mean).shape == (3, 5, 81)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_rotation_latent_turns_the_decoded_patch(quarter_turns: int) -> None:
    stack = model("r")
    z = torch.zeros(1, 2, 3)
    z[:, :, 1:] = torch.tensor([0.3, -1.2])
    z[0, 1, 0] = quarter_turns * np.pi / 2
    straight, turned = stack.decode(z)[0].detach().reshape(2, 9, 9).numpy()
    assert np.rot90(straight, quarter_turns) == pytest.approx(turned, abs=1e-4)


def test_a_translation_latent_shifts_the_decoded_patch_by_a_tenth_of_half_a_window_each() -> None:
    stack = model("t", window=21)
    z = torch.zeros(1, 2, 4)
    z[0, 1, 0] = 2.0  # 0.1 · 2 in units of half a window of 20 pixel steps: 2 px along x
    still, moved = stack.decode(z)[0].detach().reshape(2, 21, 21).numpy()
    assert moved[:, :-2] == pytest.approx(still[:, 2:], abs=1e-4)


def test_the_kl_term_is_the_divergence_from_the_standard_normal_in_closed_form() -> None:
    stack = model("v")
    x = torch.rand(1, 7, 81)
    mean, std = stack.encode(x)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0)).sum(
        -1
    )
    _, divergence = stack.loss_terms(x, torch.zeros_like(mean))
    assert torch.allclose(divergence, expected, atol=1e-4)


def test_the_reconstruction_term_is_the_bernoulli_likelihood_summed_over_pixels() -> None:
    stack = model("rt")
    x = torch.rand(1, 4, 81)
    mean, _ = stack.encode(x)
    missfit, _ = stack.loss_terms(x, torch.zeros_like(mean))
    p = torch.sigmoid(stack.decode(mean))
    expected = -(x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    assert torch.allclose(missfit, expected, rtol=1e-4)


def test_stacked_seeds_do_not_influence_one_another() -> None:
    patches = bars(200)
    held_out = split_held_out(200, 0.1, np.random.default_rng(0))
    together = train(patches, ModelSpec(9, "r"), [0, 1], held_out, SETTINGS)
    alone = train(patches, ModelSpec(9, "r"), [1], held_out, SETTINGS)
    # Stacking changes the blocking of the matrix products and so the last bits, which 60 steps hardly amplify.
    assert together[1].mean == pytest.approx(alone[0].mean, abs=5e-3)
    assert not np.allclose(together[0].mean, together[1].mean, atol=0.05)


def test_training_twice_gives_the_same_bits() -> None:
    patches = bars(200)
    held_out = split_held_out(200, 0.1, np.random.default_rng(0))
    one, two = (train(patches, ModelSpec(9, "rt"), [3], held_out, SETTINGS)[0] for _ in range(2))
    assert np.array_equal(one.mean, two.mean)
    assert one.elbo_per_px == two.elbo_per_px


def test_training_improves_the_held_out_elbo() -> None:
    patches = bars(400)
    held_out = split_held_out(400, 0.1, np.random.default_rng(0))
    short, longer = (
        train(patches, ModelSpec(9, "r"), [0], held_out, TrainSettings(steps=steps))[0].elbo_per_px for steps in (1, 400)
    )
    assert longer > short + 0.05


def test_a_rotation_invariant_model_puts_turned_patches_nearer_than_a_vanilla_one() -> None:
    patches = np.concatenate([bars(300), np.clip(bars(300, seed=1) ** 4, 0, 1)])
    held_out = split_held_out(600, 0.1, np.random.default_rng(0))
    moved = {}
    for invariance in ("v", "r"):
        encoded = train(patches, ModelSpec(9, invariance), [0], held_out, TrainSettings(steps=600))[0]
        z, turned = encoded.mean[:, -2:], encoded.mean_rotated[:, -2:]
        moved[invariance] = np.median(np.linalg.norm(z - turned, axis=1)) / z.std()
    assert moved["r"] < 0.5 * moved["v"]


def test_training_stops_when_asked() -> None:
    patches = bars(100)
    held_out = split_held_out(100, 0.1, np.random.default_rng(0))
    with pytest.raises(SearchCancelledError):
        train(patches, ModelSpec(9, "v"), [0], held_out, TrainSettings(steps=10_000), stopped=lambda: True)


def test_the_number_of_threads_is_left_as_it_was() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train(bars(60), ModelSpec(9, "v"), [0], split_held_out(60, 0.1, np.random.default_rng(0)), SETTINGS)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_beta_keeps_its_ratio_to_the_reconstruction_term_over_windows() -> None:
    ratios = {ModelSpec(w, "v").kl_weight / w**2 for w in (5, 10, 20)}
    assert max(ratios) == pytest.approx(min(ratios))
    assert ModelSpec(20, "v").kl_weight == pytest.approx(1)


def test_every_parameter_is_registered_for_training() -> None:
    stack = model("rt")
    assert isinstance(stack, nn.Module)
    assert sorted(name.split("_")[0] for name, _ in stack.named_parameters() if name.endswith("weight")) == sorted(
        ["encode1", "encode2", "heads", "decode1", "decode2", "canvas"]
    )
