import math

import numpy as np
import pytest
import torch

from agent.config.training import TrainSettings
from agent.errors import AgentError, SearchCancelledError
from agent.preprocessing.subsampling import split_held_out
from agent.representation.vae.spec import ModelSpec
from agent.representation.vae.training import TrainedModel, encode, resolve_device, train
from tests.support.data.bars import bars

SETTINGS = TrainSettings(steps=60, batch_size=32)
# Rounding depends on the other models in the matrix products; with so few steps it is not amplified yet.
GENTLE = TrainSettings(steps=20, batch_size=32, learning_rate=1e-3)
PATCHES = bars(200)
HELD_OUT = split_held_out(200, 0.1, np.random.default_rng(0))


def fit(*models: tuple[ModelSpec, int], settings: TrainSettings = SETTINGS) -> list[TrainedModel]:
    return train(PATCHES, [m[0] for m in models], [m[1] for m in models], HELD_OUT, settings)


@pytest.mark.slow
def test_stacked_seeds_do_not_influence_one_another() -> None:
    spec = ModelSpec(9, "r")
    together, alone = fit((spec, 0), (spec, 1), settings=GENTLE), fit((spec, 1), settings=GENTLE)
    assert together[1].elbo_per_px == pytest.approx(alone[0].elbo_per_px, rel=1e-5)
    assert together[1].weights == pytest.approx(alone[0].weights, abs=1e-3)
    assert not np.allclose(together[0].weights, together[1].weights, atol=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["warp", "exact"])
def test_models_of_different_kinds_train_in_one_stack_as_they_do_alone(decoder: str) -> None:
    models = [(ModelSpec(9, i, d, beta=b, decoder=decoder), 4) for i, d, b in (("v", 3, 0.1), ("rt", 2, None), ("s", 1, 0.3))]
    for together, model in zip(fit(*models, settings=GENTLE), models, strict=True):
        alone = fit(model, settings=GENTLE)[0]
        assert together.elbo_per_px == pytest.approx(alone.elbo_per_px, rel=1e-5)
        assert together.reconstruction_per_px == pytest.approx(alone.reconstruction_per_px, rel=1e-5)
        assert len(together.weights) == len(alone.weights)


@pytest.mark.slow
@pytest.mark.parametrize("spec", [ModelSpec(9, "rt"), ModelSpec(9, "rs", decoder="exact", sampled_px=20)], ids=["warp", "exact"])
def test_training_is_reproducible_bit_for_bit(spec: ModelSpec) -> None:
    one, two = (fit((spec, 3))[0] for _ in range(2))
    assert np.array_equal(one.weights, two.weights)
    assert one.elbo_per_px == two.elbo_per_px


@pytest.mark.slow
def test_training_improves_the_held_out_elbo() -> None:
    short, longer = (fit((ModelSpec(9, "r"), 0), settings=TrainSettings(steps=steps))[0].elbo_per_px for steps in (1, 400))
    assert longer > short + 0.05


@pytest.mark.slow
def test_training_starts_from_given_weights() -> None:
    spec = ModelSpec(9, "r")
    first = fit((spec, 0), settings=TrainSettings(steps=300))[0]
    gentle = TrainSettings(steps=5, learning_rate=1e-4)
    warm, cold = train(PATCHES, [spec, spec], [0, 0], HELD_OUT, gentle, start=[first.weights, None])
    assert warm.elbo_per_px == pytest.approx(first.elbo_per_px, abs=0.01)
    assert cold.elbo_per_px < first.elbo_per_px - 0.03


def test_a_model_that_diverges_is_reported_and_does_not_affect_the_others() -> None:
    spec = ModelSpec(9, "r")
    initial = fit((spec, 0), settings=TrainSettings(steps=1))[0].weights
    broken = initial.copy()
    broken[7] = np.nan
    alone = train(PATCHES, [spec, spec], [0, 1], HELD_OUT, SETTINGS, start=[initial, initial])
    together = train(PATCHES, [spec, spec], [0, 1], HELD_OUT, SETTINGS, start=[broken, initial])
    assert math.isnan(together[0].elbo_per_px)
    assert np.isnan(together[0].weights).all()
    assert np.array_equal(together[1].weights, alone[1].weights)
    assert together[1].elbo_per_px == alone[1].elbo_per_px


@pytest.mark.slow
def test_a_rotation_invariant_model_encodes_rotated_patches_closer_than_a_vanilla_one() -> None:
    patches = np.concatenate([bars(300), np.clip(bars(300, seed=1) ** 4, 0, 1)])
    held_out = split_held_out(600, 0.1, np.random.default_rng(0))
    moved = {}
    for invariance in ("v", "r"):
        spec = ModelSpec(9, invariance)
        weights = [train(patches, [spec], [0], held_out, TrainSettings(steps=600))[0].weights]
        z, turned = (encode(view, spec, weights)[0][0, :, -2:] for view in (patches, np.rot90(patches, axes=(2, 3))))
        moved[invariance] = np.median(np.linalg.norm(z - turned, axis=1)) / z.std()
    assert moved["r"] < 0.5 * moved["v"]


def test_encoding_in_chunks_equals_encoding_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = ModelSpec(9, "rts", latent_dim=3)
    weights = [f.weights for f in fit((spec, 0), (spec, 1))]
    whole = encode(PATCHES, spec, weights)
    monkeypatch.setattr("agent.representation.vae.training._CHUNK_VALUES", 128 * 2 * 7)
    parts = encode(PATCHES, spec, weights)
    assert whole[0].shape == (2, 200, 7)
    assert parts[0] == pytest.approx(whole[0], abs=1e-5)
    assert parts[1] == pytest.approx(whole[1], abs=1e-5)


@pytest.mark.slow
def test_training_stops_when_cancelled() -> None:
    polled = 0

    def stopped() -> bool:
        nonlocal polled
        polled += 1
        return polled == 3

    with pytest.raises(SearchCancelledError):
        train(PATCHES, [ModelSpec(9, "v")], [0], HELD_OUT, TrainSettings(steps=10**7), stopped)


def test_the_number_of_threads_is_restored() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit((ModelSpec(9, "v"), 0), settings=TrainSettings(steps=2))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_missing_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device(TrainSettings()) == "cpu"
    with pytest.raises(AgentError, match="finds no GPU"):
        resolve_device(TrainSettings(device="cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device(TrainSettings()) == "cuda"
    assert resolve_device(TrainSettings(device="cpu")) == "cpu"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_trains_on_the_same_draws() -> None:
    specs = [ModelSpec(9, "v"), ModelSpec(9, "rt", 3)]
    few = TrainSettings(steps=10)
    on_gpu = train(PATCHES, specs, [0, 0], HELD_OUT, few, device="cuda")
    on_cpu = train(PATCHES, specs, [0, 0], HELD_OUT, few)
    assert [f.elbo_per_px for f in on_gpu] == pytest.approx([f.elbo_per_px for f in on_cpu], rel=1e-3)
