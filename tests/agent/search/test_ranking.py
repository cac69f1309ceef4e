import math
from dataclasses import replace

import numpy as np
import pytest

from agent.representation.classical import PlainSpec
from agent.representation.vae.spec import ModelSpec
from agent.schema.model_kinds import GEOMETRIC_LATENTS
from agent.search.candidates import Candidate, Configuration
from agent.search.ranking import choose, compare
from rewards.base import Mixture, Score
from tests.support.data.clouds import blobs, representation


def candidate(window: int, invariance: str, seed: int, value: float, types: int, elbo: float = -0.5) -> Candidate:
    z = blobs(2, n_each=20)
    mixture = Mixture(np.full(types, 1 / types), np.zeros((types, 2)), np.tile(np.eye(2), (types, 1, 1)))
    trained = invariance in GEOMETRIC_LATENTS
    elbo = elbo if trained else float("nan")
    r = representation(z, window_px=window, invariance=invariance, seed=seed, elbo_per_px=elbo, trained=trained)
    spec = ModelSpec(window, invariance) if trained else PlainSpec(window, invariance)
    return Candidate(Configuration(spec, "canny_walls", "amplitude"), seed, r, np.ones(40, bool), score=Score(value, {}, mixture))


def test_configurations_within_noise_tie_and_the_most_parsimonious_is_chosen() -> None:
    spread = (-0.1, 0.0, 0.1)
    candidates = [candidate(9, "rt", s, 1.00 + d, types=6) for s, d in enumerate(spread)]
    candidates += [candidate(7, "r", s, 0.95 + d, types=3) for s, d in enumerate(spread)]
    candidates += [candidate(5, "v", s, 0.10 + d, types=1) for s, d in enumerate(spread)]
    table = compare(candidates)
    assert [(c.window_px, c.in_tie_set) for c in table] == [(9, True), (7, True), (5, False)]
    # σ of a difference of two means of three is 0.1·sqrt(2/3).
    assert table[1].sigmas_below_best == pytest.approx(0.05 / (0.1 * math.sqrt(2 / 3)))
    chosen = choose(candidates, table)
    assert chosen is not None
    assert (chosen.spec.window_px, chosen.spec.invariance) == (7, "r")


def test_the_noise_of_training_is_not_held_against_a_plain_family() -> None:
    candidates = [candidate(9, "rt", s, 1.00 + d, types=3) for s, d in enumerate((-0.3, 0.0, 0.3))]
    candidates += [candidate(9, "polar", s, 2.00 + d, types=3) for s, d in enumerate((-0.01, 0.0, 0.01))]
    candidates += [candidate(7, "polar", s, 1.95 + d, types=2) for s, d in enumerate((-0.01, 0.0, 0.01))]
    table = {(c.window_px, c.invariance): c for c in compare(candidates)}
    assert table[7, "polar"].sigmas_below_best == pytest.approx(0.05 / (0.01 * math.sqrt(2 / 3)))
    assert not table[7, "polar"].in_tie_set
    assert table[9, "rt"].sigmas_below_best == pytest.approx(1 / math.sqrt((0.3**2 + 0.01**2) / 3))


def test_a_family_without_training_is_plainer_than_a_vae_that_ties_with_fewer_types() -> None:
    candidates = [candidate(5, "v", s, 1.0 + d, types=2) for s, d in enumerate((-0.3, 0.0, 0.3))]
    candidates += [candidate(9, "polar", s, 0.9 + d, types=3) for s, d in enumerate((-0.1, 0.0, 0.1))]
    chosen = choose(candidates, compare(candidates))
    assert chosen is not None
    assert (chosen.spec.invariance, chosen.seed) == ("polar", 2)  # of the resamples, the one with the largest reward


def test_among_seeds_the_held_out_elbo_chooses_and_not_the_reward() -> None:
    candidates = [
        candidate(9, "r", s, value, 3, elbo) for s, (value, elbo) in enumerate(((1.3, -0.56), (1.0, -0.54), (1.2, -0.55)))
    ]
    chosen = choose(candidates, compare(candidates))
    assert chosen is not None
    assert chosen.seed == 1


def test_with_one_seed_the_noise_is_unknown_and_said_to_be() -> None:
    table = compare([candidate(9, "r", 0, 1.0, 3), candidate(5, "v", 0, 0.9, 2)])
    assert [c.sigmas_below_best for c in table] == [0.0, None]
    assert [c.in_tie_set for c in table] == [True, False]


def test_configurations_that_differ_in_more_than_window_and_invariance_are_compared_as_such() -> None:
    wide = [candidate(9, "r", s, 1.0 + d, types=2) for s, d in enumerate((-0.01, 0.0, 0.01))]
    narrow = [candidate(9, "r", s, 2.0 + d, types=2) for s, d in enumerate((-0.01, 0.0, 0.01))]
    narrow = [replace(c, configuration=replace(c.configuration, variant="d3")) for c in narrow]
    table = compare([*wide, *narrow])
    assert [(c.name, c.in_tie_set) for c in table] == [("r-w9-d3", True), ("r-w9", False)]
    chosen = choose([*wide, *narrow], table)
    assert chosen is not None
    assert chosen.candidate_id == "r-w9-d3-s0"
