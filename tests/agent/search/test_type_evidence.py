import math

import numpy as np
import pytest

from agent.config.decision_rule import RuleSettings
from agent.config.scan import WallSection
from agent.representation.classical import PlainSpec
from agent.search.candidates import Candidate, Configuration
from agent.search.ranking import choose, compare
from agent.search.type_evidence import as_one_type, evidence, overall_finding
from rewards.base import Mixture, Score
from tests.support.data.clouds import blobs, representation

RULE = RuleSettings()


def score(information: float | None, icl_gain: float | None = 0.5, value: float = 1.0, types: int = 2) -> Score:
    metrics = {"MI_rot": information, "icl_gain": icl_gain}
    mixture = Mixture(np.full(types, 1 / types), np.zeros((types, 2)), np.tile(np.eye(2), (types, 1, 1)))
    return Score(value, {name: v for name, v in metrics.items() if v is not None}, mixture)


def candidate(window: int, own: Score, seed: int = 0) -> Candidate:
    z = blobs(2, n_each=20)
    r = representation(z, window_px=window, invariance="polar", seed=seed, elbo_per_px=float("nan"), trained=False)
    return Candidate(Configuration(PlainSpec(window, "polar"), "canny_walls", "amplitude"), seed, r, np.ones(40, bool), score=own)


@pytest.mark.parametrize(
    ("scores", "resolves"),
    [
        ([score(0.2), score(0.12)], True),
        ([score(0.18), score(0.06)], False),  # the mean over seeds counts
        ([score(0.2, icl_gain=0.0)], False),
        ([score(0.2, icl_gain=0.0), score(0.2, icl_gain=0.1)], True),
        ([score(None, icl_gain=None)], True),  # what was not computed is not held against it
    ],
)
def test_types_are_clusters_that_inform_of_their_neighbourhood_and_are_groups(scores: list[Score], resolves: bool) -> None:
    assert evidence(scores, RULE).resolves is resolves


def on_walls(along: float, around: float, icl_gain: float) -> Score:
    """Score of clusters on walls: information along them and around, and the gain in ICL."""
    own = score(around, icl_gain)
    return Score(1.0, {**own.metrics, "MI_rot_bic": around, "MI_wall_bic": along, "icl_gain_bic": icl_gain}, own.mixture)


@pytest.mark.parametrize(
    ("along", "around", "icl_gain", "resolves", "informs"),
    [
        (0.55, 0.04, 4.0, True, True),  # interspersed types
        (0.55, 0.04, 2.0, False, False),
        (0.60, 0.20, 2.0, True, True),  # types of a noisy scan, in regions
        (0.77, 0.17, 1.0, False, True),  # bright and dark stripes of one type
        (0.40, 0.10, 9.0, False, False),  # a shuffled scan
    ],
)
def test_on_walls_types_must_be_constant_along_them_and_well_separated(
    along: float, around: float, icl_gain: float, resolves: bool, informs: bool
) -> None:
    shown = evidence([on_walls(along, around, icl_gain)], RULE, projected=True)
    assert (shown.resolves, shown.informs, shown.along_walls) == (resolves, informs, along)


def test_separation_counts_less_where_the_family_was_not_projected_along_walls() -> None:
    assert not evidence([on_walls(0.55, 0.04, 9.0)], RULE).resolves
    assert not evidence([on_walls(0.59, 0.13, 9.0)], RULE).resolves
    assert evidence([on_walls(0.73, 0.25, 9.0)], RULE).resolves


def test_the_demands_on_walls_can_be_set_and_dropped() -> None:
    weak = on_walls(0.40, 0.04, 2.0)
    assert evidence([weak], RULE, WallSection(least_information=0.3, least_separation=1.5), projected=True).resolves
    assert not evidence([weak], RULE, WallSection(least_information=0), projected=True).resolves  # then as without walls
    assert evidence([weak], RuleSettings(least_information=0), projected=True).resolves


@pytest.mark.parametrize(("r2", "weight", "resolves"), [(0.25, 0.3, True), (0.1, 0.3, False), (0.25, 0.0, False)])
def test_clusters_that_predict_the_results_beyond_chance_are_types_wherever_they_lie(
    r2: float, weight: float, resolves: bool
) -> None:
    measured = {"R2_results": r2, "results_used": 25.0, "evidence_weight": weight}
    own = score(0.01, icl_gain=0.0)
    assert evidence([Score(own.value, {**own.metrics, **measured}, own.mixture)], RULE).resolves is resolves


def test_either_demand_can_be_dropped() -> None:
    assert evidence([score(0.01)], RuleSettings(least_information=0)).resolves
    assert evidence([score(0.2, icl_gain=0.0)], RuleSettings(groups=False)).resolves


def test_what_was_not_computed_is_not_a_number() -> None:
    shown = evidence([score(None), score(0.3)], RULE)
    assert shown.information == 0.3
    assert math.isnan(evidence([score(None)], RULE).information)


def test_a_configuration_that_shows_no_types_is_not_eligible_where_another_shows_some() -> None:
    candidates = [candidate(7, score(0.0, value=2.0)), candidate(11, score(0.2, value=1.0)), candidate(15, score(0.3, value=0.1))]
    table = compare(candidates)
    assert [(c.window_px, c.resolves, c.in_tie_set) for c in table] == [(7, False, False), (11, True, True), (15, True, False)]
    chosen = choose(candidates, table)
    assert chosen is not None
    assert chosen.spec.window_px == 11


def test_where_none_shows_types_all_are_compared() -> None:
    table = compare([candidate(7, score(0.0, value=2.0)), candidate(11, score(0.01, value=1.0))])
    assert [(c.window_px, c.resolves, c.in_tie_set) for c in table] == [(7, False, True), (11, False, False)]


def test_the_largest_mean_can_be_picked_whatever_its_noise() -> None:
    candidates = [candidate(7, score(0.3, value=1.0 + d, types=2), s) for s, d in enumerate((-0.1, 0.1))]
    candidates += [candidate(11, score(0.3, value=1.05 + d, types=5), s) for s, d in enumerate((-0.1, 0.1))]
    picks = {}
    for pick in ("parsimonious", "best"):
        rule = RuleSettings(pick=pick)
        chosen = choose(candidates, compare(candidates, rule), rule)
        assert chosen is not None
        picks[pick] = chosen.spec.window_px
    assert picks == {"parsimonious": 7, "best": 11}


def test_one_type_is_one_gaussian_of_all_points() -> None:
    own = candidate(7, score(0.0, types=3))
    one = as_one_type(own).score
    assert one is not None
    assert one.mixture is not None
    assert one.mixture.n_components == 1
    np.testing.assert_allclose(one.mixture.means[0], own.representation.z.mean(axis=0))
    np.testing.assert_allclose(one.mixture.covariances[0], np.cov(own.representation.z, rowvar=False))


@pytest.mark.parametrize(
    ("scores", "finding"),
    [
        ([], "types"),  # nothing to doubt
        ([score(0.01), score(0.3)], "types"),
        ([score(0.01), score(0.02)], "one_type"),
        ([score(0.01), score(0.3, icl_gain=0.0)], "continuum"),
    ],
)
def test_what_all_configurations_together_show(scores: list[Score], finding: str) -> None:
    assert overall_finding(compare([candidate(7 + 2 * i, s) for i, s in enumerate(scores)])) == finding
