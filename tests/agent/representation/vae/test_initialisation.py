import numpy as np
import pytest
import torch

from agent.representation.vae.gradient import Gradient
from agent.representation.vae.initialisation import CentredInput, initial_weights
from agent.representation.vae.model import StackedVAE
from agent.representation.vae.random_streams import Draws
from agent.representation.vae.spec import ModelSpec, weight_count
from tests.support.data.bars import bars


def test_initial_weights_lie_within_the_bound_of_their_layer() -> None:
    spec = ModelSpec(10, "v")
    first = initial_weights(spec, 3)[: 100 * 128]
    assert 0.095 < np.abs(first).max() <= 0.1
    assert not np.array_equal(first, initial_weights(spec, 4)[: 100 * 128])
    assert len(initial_weights(spec, 3)) == weight_count(spec)


def test_centring_the_input_does_not_change_the_model() -> None:
    spec = ModelSpec(9, "rt")
    x = torch.from_numpy(bars(50).reshape(50, -1))
    stack = StackedVAE([spec, spec], [initial_weights(spec, s) for s in range(2)])
    before, expected = stack.weights, stack.encode(x.expand(2, -1, -1))
    centred = CentredInput(stack, x)
    centred.enter()
    assert float((centred.patches**2).sum(dim=1).mean().sqrt()) == pytest.approx(4)
    mean, std = stack.encode(centred.patches.expand(2, -1, -1))
    assert torch.allclose(mean, expected[0], atol=1e-5)
    assert torch.allclose(std, expected[1], atol=1e-5)
    centred.leave()
    assert stack.weights[1] == pytest.approx(before[1], abs=1e-6)


def test_the_input_of_the_encoder_may_differ_from_the_target_of_the_decoder() -> None:
    spec = ModelSpec(5, "v")
    stack = StackedVAE([spec], [initial_weights(spec, 0)])
    x, noise = torch.rand(1, 4, 25), torch.zeros(1, 4, 2)
    gradient = Gradient(stack)
    gradient(x, noise)
    plain = gradient.flat.clone()
    gradient(x, noise, None, x.clone())
    assert torch.equal(gradient.flat, plain)
    gradient(x, noise, None, torch.zeros_like(x))
    assert not torch.equal(gradient.flat, plain)


def test_draws_do_not_depend_on_the_size_of_a_block() -> None:
    spec = ModelSpec(9, "rt")
    whole = Draws(0, spec, 100, 32).block(12)
    halves = Draws(0, spec, 100, 32)
    parts = [halves.block(5), halves.block(7)]
    assert torch.equal(whole.rows, torch.cat([p.rows for p in parts]))
    assert whole.noise.shape == (12, 32, 5)


def test_each_epoch_contains_each_patch_once() -> None:
    rows = Draws(0, ModelSpec(9, "v"), 100, 25).block(8).rows.reshape(2, 100)
    assert (rows.sort(dim=1).values == torch.arange(100)).all()
    assert not torch.equal(rows[0], rows[1])


def test_draws_of_a_continued_training_differ_from_the_first_ones() -> None:
    first, continued_ = (Draws(0, ModelSpec(9, "v"), 100, 25, continued).block(1) for continued in (False, True))
    assert not torch.equal(first.rows, continued_.rows)
    assert not torch.equal(first.noise, continued_.noise)


def test_the_drawn_pixels_of_a_patch_are_distinct() -> None:
    pixels = Draws(0, ModelSpec(5, "r", decoder="exact", sampled_px=10), 100, 32).block(3).pixels
    assert pixels is not None
    assert pixels.shape == (3, 32, 10)
    assert all(len(set(patch.tolist())) == 10 for patch in pixels.reshape(-1, 10))
    assert set(pixels.unique().tolist()) == set(range(25))
