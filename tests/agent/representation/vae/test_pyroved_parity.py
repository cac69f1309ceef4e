"""With the same weights, our exact model agrees with pyroVED's to 1e-4, for all invariances and both likelihoods."""

import json

import numpy as np
import pytest
import torch

from agent.representation.vae.model import StackedVAE
from tests.support.data.pyroved_model import CASES, GOLDEN, REFERENCE, Terms, case, reference_terms, spec_of

EXPECTED: dict[str, Terms] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(("invariance", "likelihood"), CASES)
def test_loss_terms_and_encoder_agree_with_the_stored_ones_of_pyroved(invariance: str, likelihood: str) -> None:
    spec = spec_of(invariance, likelihood)
    weights, x, noise = case(spec)
    stack = StackedVAE([spec], [weights])
    mean, std = stack.encode(torch.from_numpy(x)[None])
    nll, divergence = stack.loss_terms(torch.from_numpy(x)[None], torch.from_numpy(noise)[None])
    expected = EXPECTED[f"{invariance} {likelihood}"]
    for name, ours in {"mean": mean, "std": std, "missfit": nll, "divergence": divergence}.items():
        np.testing.assert_allclose(ours[0].numpy(), expected[name], rtol=1e-4, atol=2e-6, err_msg=name)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="pyroVED is not installed; run `make reference`")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("invariance", "likelihood"), CASES)
def test_the_stored_terms_are_those_of_the_installed_pyroved(invariance: str, likelihood: str) -> None:
    for name, value in reference_terms(spec_of(invariance, likelihood)).items():
        np.testing.assert_allclose(value, EXPECTED[f"{invariance} {likelihood}"][name], rtol=1e-5, atol=2e-6, err_msg=name)
