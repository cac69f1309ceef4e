"""Warm starts: what a search takes from the previous decision."""

from collections.abc import Callable

import numpy as np
import pytest

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.schema.decision import Decision
from agent.search.warm_start import WarmStart, deep_start, warm_start
from agent.workers.factory import workers_for
from tests.agent.search.test_search import QUICK, changed, scan_of
from tests.support.data.images import two_textures


@pytest.mark.slow
def test_the_next_scan_starts_from_the_last_decisions_models() -> None:
    config = changed("warm", sigmas=1e9, gap_per_px=1.0, share=0.25)
    with workers_for(0) as workers:
        agent = Agent(config, workers)
        first = agent.decide(DecisionInputs(scan_of(two_textures(96))))
        second = agent.decide(DecisionInputs(scan_of(two_textures(96, seed=5)), previous=first))
        third = agent.decide(DecisionInputs(scan_of(two_textures(96, seed=6)), previous=second))
        cold = agent.decide(DecisionInputs(scan_of(two_textures(96, seed=5))))
    assert first.record.cold_because == "no earlier decision on this sample"
    assert second.record.warm_from == first.record.decision_id
    assert (second.record.warm_scans, third.record.warm_scans) == (1, 2)
    assert second.record.rungs == ["plain", "warm"]
    assert f"Warm start from the models of decision {first.record.decision_id}" in second.record.explanation
    trained = {c.candidate_id: c for c in second.record.candidates if c.invariance != "polar"}
    assert {c.steps for c in trained.values()} == {20}
    assert second.record.decision_id != cold.record.decision_id
    # 20 steps from random weights are far worse than 100; 20 steps from models of 100 steps are not.
    elbos = {c.candidate_id: c.elbo_per_px for c in cold.record.candidates}
    assert np.mean([c.elbo_per_px - elbos[name] for name, c in trained.items()]) > -0.01


@pytest.mark.slow
def test_where_a_control_is_better_the_search_starts_cold() -> None:
    config = changed("warm", sigmas=1e9)
    with workers_for(0) as workers:
        agent = Agent(config, workers)
        first = agent.decide(DecisionInputs(scan_of(two_textures(96))))
        spoilt = {name: 30 * array if name.startswith("weights:") else array for name, array in first.arrays.items()}
        second = agent.decide(DecisionInputs(scan_of(two_textures(96, seed=5)), previous=Decision(first.record, spoilt)))
    assert second.record.warm_from is None
    assert second.record.cold_because.startswith("the held-out ELBO of a control trained from random weights is")
    assert second.record.rungs[-1] == "100 steps"


@pytest.mark.slow
def test_configurations_far_below_the_best_are_not_tried_again_but_a_few_always_are() -> None:
    with workers_for(0) as workers:
        first = Agent(changed("warm", gap_per_px=1.0), workers).decide(DecisionInputs(scan_of(two_textures(96))))
        config = changed("warm", gap_per_px=1.0, sigmas=0.0, least=1)
        only = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)), previous=None))
        second = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96, seed=5)), previous=only))
    names = {c.candidate_id.rpartition("-s")[0] for c in second.record.candidates if c.invariance != "polar"}
    best = next(c for c in only.record.configurations if c.invariance != "polar")
    assert names == {best.name}
    assert first.record.candidates == only.record.candidates


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c.model_copy(update={"seed": 1}), "configuration has changed"),
        (lambda c: c.model_copy(update={"warm": c.warm.model_copy(update={"enabled": False})}), "switched off"),
        (lambda c: c.model_copy(update={"warm": c.warm.model_copy(update={"cold_every": 1})}), "every 1 scans"),
    ],
    ids=["other configuration", "switched off", "too long ago"],
)
def test_there_are_reasons_for_a_cold_start(change: Callable[[Config], Config], reason: str) -> None:
    with workers_for(0) as workers:
        first = Agent(QUICK, workers).decide(DecisionInputs(scan_of(two_textures(96))))
    start = warm_start(first, change(QUICK))
    assert isinstance(start, str)
    assert reason in start


@pytest.mark.slow
def test_a_deeper_search_adds_seeds_and_the_next_scan_starts_from_the_best_of_them() -> None:
    config = changed("warm", sigmas=1e9, gap_per_px=1.0, share=0.25)
    config = config.model_copy(update={"schedule": config.schedule.model_copy(update={"deep_seeds": 3})})
    scan, later = scan_of(two_textures(96)), scan_of(two_textures(96, seed=5))
    with workers_for(0) as workers:
        agent = Agent(config, workers)
        first = agent.decide(DecisionInputs(scan))
        deep = agent.deeper().decide(DecisionInputs(scan, start=deep_start(first, config)))
        second = agent.decide(DecisionInputs(later, previous=deep))
    assert deep.record.decision_id != first.record.decision_id
    assert (deep.record.warm_from, deep.record.warm_scans) == (first.record.decision_id, 0)
    steps = {c.candidate_id: c.steps for c in deep.record.candidates if c.invariance != "polar"}
    assert {name.rpartition("-s")[2]: n for name, n in steps.items()} == {"0": 40, "1": 40, "2": 160}
    assert len(steps) == 3 * 4
    assert (second.record.warm_from, second.record.warm_scans) == (deep.record.decision_id, 1)
    assert (
        f"models of decision {deep.record.decision_id}, a deeper search made while no scan waited." in second.record.explanation
    )
    elbos = {c.candidate_id: c.elbo_per_px for c in deep.record.candidates}
    weights = {id(array): name.removeprefix("weights:") for name, array in deep.arrays.items() if name.startswith("weights:")}
    start = warm_start(deep, config)
    assert isinstance(start, WarmStart)
    assert start.deep
    assert start.order
    for name in start.order:
        taken = [weights[id(start.weights[f"{name}-s{seed}"])] for seed in (0, 1)]
        ranked = sorted((f"{name}-s{seed}" for seed in range(3)), key=lambda c: -elbos[c])
        assert taken == ranked[:2]
    assert {name.rpartition("-s")[2] for name in start.weights} == {"0", "1"}


@pytest.mark.slow
def test_more_seeds_than_the_last_decision_had_need_a_cold_start_unless_it_was_a_deeper_search() -> None:
    config = changed("warm", gap_per_px=1.0)
    with workers_for(0) as workers:
        first = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96))))
    more = config.model_copy(update={"search": config.search.model_copy(update={"seeds": 4})})
    assert "configuration has changed" in warm_start(first, more)
