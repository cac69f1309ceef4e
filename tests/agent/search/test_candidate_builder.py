import numpy as np
import pytest

from agent.config.model import Config
from agent.search.candidate_builder import CandidateBuilder
from agent.search.candidates import vae_configurations
from agent.search.prepared_scan import prepare_scan
from agent.search.task_cache import NullCache
from agent.search.task_runner import TaskRunner
from agent.workers.factory import workers_for
from tests.agent.search.test_search import QUICK, scan_of
from tests.support.data.images import two_textures


@pytest.fixture(scope="module")
def config() -> Config:
    axes = {"windows_px": (5, 7), "invariances": ("v", "rt"), "latent_dims": (2, 3), "betas": (0.5, 1.0)}
    return QUICK.model_copy(update={"search": QUICK.search.model_copy(update=axes)})


@pytest.fixture
def builder(config: Config) -> CandidateBuilder:
    workers = workers_for(0)
    return CandidateBuilder(prepare_scan(scan_of(two_textures(96)), config), config, workers, TaskRunner(workers), NullCache())


def test_on_a_cpu_the_seeds_of_a_configuration_are_stacked_dearest_first(builder: CandidateBuilder, config: Config) -> None:
    configurations = vae_configurations(config, prepare_scan(scan_of(two_textures(96)), config))
    groups = builder.groups({(c, seed): None for c in configurations for seed in (0, 1)})
    assert [len(g) for g in groups] == [2] * 16
    assert all(len({c for c, _ in g}) == 1 for g in groups)
    first, last = groups[0][0][0].spec, groups[-1][0][0].spec
    assert (first.window_px, first.invariance) == (7, "rt")
    assert (last.window_px, last.invariance) == (5, "v")


@pytest.mark.slow
def test_on_a_gpu_all_models_of_a_window_are_stacked_and_train_as_they_do_alone(
    builder: CandidateBuilder, config: Config
) -> None:
    configurations = vae_configurations(config, prepare_scan(scan_of(two_textures(96)), config))
    models = {(c, seed): None for c in configurations for seed in (0, 1)}
    builder._device = "cuda"
    groups = builder.groups(models)
    assert [len(g) for g in groups] == [16, 16]
    assert [{c.spec.window_px for c, _ in g} for g in groups] == [{7}, {5}]
    builder._device = "cpu"
    group = groups[1]
    together = builder.run("training", [group], [builder.training_task(group, 4)])
    alone = builder.train(dict.fromkeys(group), 4, "training")
    for model in group:
        assert together[model].state.shape == alone[model].state.shape
        assert together[model].representation.z == pytest.approx(alone[model].representation.z, abs=1e-3)
        assert together[model].representation.elbo_per_px == pytest.approx(alone[model].representation.elbo_per_px, abs=1e-4)


def test_latents_of_further_points_are_those_of_the_judged_ones(config: Config) -> None:
    few = config.model_copy(update={"search": config.search.model_copy(update={"most_points": 200})})
    prepared = prepare_scan(scan_of(two_textures(96)), few)
    workers = workers_for(0)
    builder = CandidateBuilder(prepared, few, workers, TaskRunner(workers), NullCache())
    vae = vae_configurations(few, prepared)[0]
    fitted = builder.train({(vae, 0): None}, 10, "training")[vae, 0]
    candidate = builder.candidate((vae, 0), fitted, 10)
    z = builder.latents_of_all_points(candidate)
    judged = builder.rows["canny_walls"].judged
    assert z is not None
    assert len(judged) == 200 < len(z)
    assert z[judged] == pytest.approx(candidate.representation.z, abs=1e-5)
    assert np.ptp(z, axis=0).min() > 0
