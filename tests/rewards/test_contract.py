import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rewards.base import Mixture, Representation, Score
from rewards.contract import CHECKS, RewardContract, check_reward, example, mixture_fault
from rewards.mixture.gmm import MIXTURE_REWARDS
from rewards.registry import REWARDS

QUICK = {"components": [1, 2, 3], "restarts": 1}
OPTIONS: dict[str, dict[str, Any]] = dict.fromkeys((*MIXTURE_REWARDS, "spatial"), QUICK)
OPTIONS |= {"stability": QUICK | {"resamples": 2}, "panel": QUICK | {"resamples": 2}}
OPTIONS["bgmm"] = {"settings": {"components": 4, "steps": 2}}
NO_ELBO = {"reconstruction"}  # eq. 1 is not defined for a plain family


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(REWARDS))
def test_every_built_in_reward_keeps_the_contract(name: str) -> None:
    found = check_reward(REWARDS[name], OPTIONS.get(name, {}))
    assert [v.sentence for v in found if not v.warning] == []
    assert {v.check for v in found} == ({"plain_families"} if name in NO_ELBO else set())


def spread(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(float(representation.z.var()), {"spread": float(representation.z.var())})


class TestAUsersReward(RewardContract):
    reward = spread


def broken_signature(representation: Representation) -> Score:
    return Score(0.0)


def raising(representation: Representation, *, rng: np.random.Generator) -> Score:
    raise RuntimeError("no licence for the eigenvalues\nsecond line")


def leaving(representation: Representation, *, rng: np.random.Generator) -> Score:
    sys.exit("goodbye")


def bare_number(representation: Representation, *, rng: np.random.Generator) -> float:
    return 1.0


def not_finite(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(float("nan"))


def with_text(representation: Representation, *, rng: np.random.Generator) -> Score:
    score = Score(1.0)
    object.__setattr__(score, "metrics", {"kind": "good"})  # not seen by the type check of the tests
    return score


def own_draws(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(float(np.random.default_rng().random()))


_calls: list[int] = []


def counting(representation: Representation, *, rng: np.random.Generator) -> Score:
    _calls.append(1)
    return Score(float(len(_calls)))


_seen: set[int] = set()


def remembering(representation: Representation, *, rng: np.random.Generator) -> Score:
    _seen.add(len(representation.z))
    return Score(float(150 in _seen))


def centring(representation: Representation, *, rng: np.random.Generator) -> Score:
    z = representation.z
    z -= z.mean(axis=0)
    return Score(1.0)


def first_row(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(float(representation.z[0, 0]))


def plane_only(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(float(representation.z[:, 1].var()))


def by_elbo(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(representation.elbo_per_px)


def needs_results(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(0.0 if representation.results is None else float(representation.results.values[0, 0]))


def many_points_only(representation: Representation, *, rng: np.random.Generator) -> Score:
    return Score(1.0 / (len(representation.z) - 100))


def flat_mixture(representation: Representation, *, rng: np.random.Generator) -> Score:
    d = representation.z.shape[1]
    return Score(1.0, {}, Mixture(np.ones(1), np.zeros((1, d)), np.zeros((1, d, d))))


@pytest.mark.parametrize(
    ("reward", "check", "sentence"),
    [
        (broken_signature, "signature", "takes no keyword 'rng'"),
        (raising, "score", "on 300 points it raised RuntimeError: no licence for the eigenvalues"),
        (leaving, "score", "raised SystemExit: goodbye"),
        (bare_number, "score", "returned a float; return a rewards.base.Score"),
        (not_finite, "score", "its value is nan; return a finite number"),
        (with_text, "metrics", "'kind': 'good'"),
        (own_draws, "repeatable", "draw all random numbers from `rng`"),
        (counting, "repeatable", "gave "),
        (remembering, "stateless", "gave 1.0 instead of 0.0; keep no state"),
        (centring, "input_kept", "changed `z`"),
        (first_row, "row_order", "the order of the rows must not matter"),
        (plane_only, "dimensions", "on latents of 1 dimension it raised IndexError"),
        (by_elbo, "plain_families", "plain families are never chosen"),
        (needs_results, "results", "on 0 measured results it raised IndexError"),
        (many_points_only, "sizes", "on 100 points it raised ZeroDivisionError"),
        (lambda representation, *, rng: Score(1.0), "importable", "define it at the top level of a module"),
        (flat_mixture, "mixture", "eigenvalue 0; covariances must be positive definite"),
    ],
)
def test_each_violation_is_one_sentence(reward: Callable[..., Any], check: str, sentence: str) -> None:
    _calls.clear()
    _seen.clear()
    (found,) = [v for v in check_reward(reward) if v.check == check]
    assert sentence in found.sentence
    assert "\n" not in found.sentence
    assert found.warning == (check in ("row_order", "plain_families"))


def test_every_check_can_fail() -> None:
    marks = test_each_violation_is_one_sentence.pytestmark  # type: ignore[attr-defined]
    assert {case[1] for case in marks[0].args[1]} == set(CHECKS)


def test_a_reward_that_takes_too_long_violates_the_contract() -> None:
    (found,) = check_reward(spread, limit_s=-1.0)
    assert found.check == "sizes"
    assert "of CPU time, more than -1 s" in found.sentence


def test_an_unknown_option_is_a_broken_signature() -> None:
    (found,) = check_reward(spread, {"cluster": 3})
    assert found.check == "signature"
    assert "unexpected keyword argument 'cluster'" in found.sentence


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"weights": np.array([0.5, 0.6])}, "sum to 1.1"),
        ({"weights": np.array([1.5, -0.5])}, "must be positive"),
        ({"means": np.zeros((2, 3))}, "has shapes"),
        ({"weights": np.array(1.0)}, "has shapes"),
        ({"means": np.full((2, 2), np.nan)}, "finite numbers"),
        ({"means": [[0.0, 0.0], [1.0, 1.0]]}, "is not made of arrays"),
        ({"covariances": np.array(["flat"])}, "is not made of arrays"),
        ({"covariances": np.tile([[1.0, 0.5], [0.0, 1.0]], (2, 1, 1))}, "not symmetric"),
        ({"covariances": np.tile([[1.0, 2.0], [2.0, 1.0]], (2, 1, 1))}, "eigenvalue -1"),
    ],
)
def test_faults_of_a_mixture_are_named(changes: dict[str, Any], fault: str) -> None:
    good = Mixture(np.array([0.5, 0.5]), np.zeros((2, 2)), np.tile(np.eye(2), (2, 1, 1)))
    found = mixture_fault(_unchecked(good, changes), 2)
    assert fault in found
    assert bool(found) == bool(fault)


def _unchecked(mixture: Mixture, changes: dict[str, Any]) -> Mixture:
    """The mixture with `changes`, set so that the type check of the tests does not see them."""
    changed = replace(mixture)
    for name, value in changes.items():
        object.__setattr__(changed, name, value)
    return changed


def test_the_example_is_what_its_arguments_say() -> None:
    one = example(100, 6, seed=3, window_px=5)
    assert one.z.shape == (100, 6)
    assert one.window_px == 5
    assert len(np.unique(one.points_rc, axis=0)) == 100


def test_pytest_is_not_needed_to_run_it() -> None:
    code = "import sys, rewards.contract; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
