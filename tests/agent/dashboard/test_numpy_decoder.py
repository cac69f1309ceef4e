"""Reconstructions in numpy equal those of the PyTorch model."""

import numpy as np
import pytest
import torch

from agent.dashboard.numpy_decoder import PRIOR, reconstruct
from agent.representation.vae import transforms as geometry
from agent.representation.vae.initialisation import initial_weights
from agent.representation.vae.model import StackedVAE
from agent.representation.vae.spec import ModelSpec

SPECS = [ModelSpec(9, letters) for letters in ("v", "r", "t", "s", "rt", "rts")]
SPECS += [ModelSpec(8, "rt", 3, channels=3), ModelSpec(7, "rts", decoder="exact"), ModelSpec(7, "v", decoder="exact")]


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.invariance}-{s.decoder}-{s.channels}")
def test_it_equals_the_models_reconstruction_from_its_mean_latents(spec: ModelSpec) -> None:
    rng = np.random.default_rng(0)
    weights = 3 * initial_weights(spec, seed=1)  # large enough that patches are rotated and shifted
    patches = rng.random((5, spec.channels, spec.window_px, spec.window_px), dtype=np.float32)
    stack = StackedVAE([spec], [weights])
    mean, _ = stack.encode(torch.from_numpy(patches.reshape(1, 5, -1)))
    expected = torch.sigmoid(stack.decode(mean))[0].numpy().reshape(patches.shape)
    np.testing.assert_allclose(reconstruct(patches, spec, weights), expected, atol=2e-5)


def test_priors_are_the_models_own() -> None:
    assert geometry.TRANSLATION_PRIOR == geometry.SCALE_PRIOR == PRIOR


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="has 35979 weights, but 3 were given"):
        reconstruct(np.zeros((1, 1, 3, 3), np.float32), ModelSpec(3, "v", 1), np.zeros(3, np.float32))
