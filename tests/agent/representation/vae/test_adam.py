import subprocess
import sys

import pytest
import torch

from agent.representation.vae.adam import Adam


@pytest.mark.slow
def test_each_step_equals_that_of_pytorchs_optimiser_bit_for_bit() -> None:
    random = torch.Generator().manual_seed(0)
    ours, theirs, gradient = torch.randn(4099, generator=random), torch.empty(4099), torch.empty(4099)
    theirs.copy_(ours)
    theirs.grad = gradient
    optimiser = torch.optim.Adam([theirs], fused=True)
    own = Adam(ours, gradient)
    for step in range(40):
        gradient.copy_(torch.randn(4099, generator=random) * 10.0 ** (step % 7 - 3))
        rate, betas = 1e-3 * (1 + step), (0.95 - 0.002 * step, 0.97)
        optimiser.param_groups[0].update(lr=rate, betas=betas)
        with torch.no_grad():
            optimiser.step()
            own.step(rate, betas)
        assert torch.equal(ours, theirs), step


@pytest.mark.slow
def test_pytorchs_compiler_is_not_imported_to_train() -> None:
    code = """
import sys, torch
from agent.representation.vae.adam import Adam
weights = torch.ones(3)
with torch.no_grad():
    Adam(weights, torch.ones(3)).step(0.1, (0.9, 0.97))
assert weights.max() < 1
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
