"""User-defined rewards and options of built-in rewards that fail: what a decision does about them."""

import pytest

from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.errors import ConfigError
from agent.workers.factory import workers_for
from rewards.base import Representation, Score
from tests.agent.search.test_search import QUICK, scan_of
from tests.support.data.images import two_textures


def broken(representation: object, *, rng: object) -> Score:
    raise ZeroDivisionError("nothing to divide")


@pytest.mark.slow
def test_where_a_user_defined_reward_fails_the_default_one_is_used_and_the_decision_says_so() -> None:
    config = QUICK.model_copy(update={"reward": f"{__name__}:broken", "reward_options": {}})
    with workers_for(0) as workers:
        record = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
        default = (
            Agent(config.model_copy(update={"reward": "spatial"}), workers)
            .decide(DecisionInputs(scan_of(two_textures(96))))
            .record
        )
    assert record.requests
    assert [c.value for c in record.candidates] == [c.value for c in default.candidates]
    (fault,) = record.faults
    assert fault.startswith(f"reward = '{__name__}:broken' failed on")
    assert "(ZeroDivisionError: nothing to divide; it must return a rewards.base.Score)" in fault
    assert fault.endswith("The default reward 'spatial' was used instead.")
    assert record.explanation.startswith(fault)


def picky(representation: Representation, *, rng: object) -> Score:
    if representation.invariance != "polar":
        raise KeyError("only polar")
    return Score(1.0)


@pytest.mark.slow
def test_a_candidate_on_which_the_users_own_reward_fails_is_left_out_and_the_rest_stands() -> None:
    config = QUICK.model_copy(update={"reward": f"{__name__}:picky", "reward_options": {}})
    config = config.with_search(families=("vae", "polar"))
    with workers_for(0) as workers:
        record = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
    assert record.chosen is not None
    assert record.chosen.startswith("polar")
    failed = [c for c in record.candidates if c.guarded_out and "the reward failed: KeyError: 'only polar'" in c.guarded_out]
    assert {c.invariance for c in failed} == set(config.search.invariances)
    assert record.faults[0].startswith(f"reward = '{__name__}:picky' failed on {len(failed)} candidates")
    assert "used instead" not in record.faults[0]


@pytest.mark.slow
def test_an_option_that_a_reward_of_ours_does_not_take_is_named() -> None:
    config = QUICK.model_copy(update={"reward": "icl", "reward_options": {"components": [2, 3]}})
    with workers_for(0) as workers, pytest.raises(ConfigError, match=r"reward = 'icl' cannot be used .* include 1"):
        Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96))))


def wordy(representation: object, *, rng: object) -> Score:
    return Score(1.0, {"verdict": "good"})  # type: ignore[dict-item]


@pytest.mark.slow
def test_metrics_that_are_not_numbers_are_blamed_on_the_users_reward() -> None:
    config = QUICK.model_copy(update={"reward": f"{__name__}:wordy", "reward_options": {}})
    with workers_for(0) as workers:
        (fault,) = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)))).record.faults
    assert "good" in fault
    assert "\n" not in fault


def no_number(representation: object, *, rng: object) -> Score:
    return Score(float("nan"))


@pytest.mark.slow
def test_a_reward_that_is_not_a_number_is_left_out_and_nothing_is_recommended() -> None:
    config = QUICK.model_copy(update={"reward": f"{__name__}:no_number", "reward_options": {}})
    with workers_for(0) as workers:
        record = Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)))).record
    assert record.outcome == "not_resolvable"
    assert record.requests == []
    assert {c.guarded_out for c in record.candidates} == {"the reward is nan, not a finite number"}
