from dataclasses import replace

import numpy as np
import pytest

from agent.decision.explanation import explain
from agent.recommendation.place_selection import Recommended
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import ConfigurationRecord
from agent.search.candidates import Candidate, Configuration
from agent.search.search import SearchResult
from rewards.base import Mixture, Score
from tests.support.clouds import blobs, representation
from tests.support.samples import configuration, request

PLACES = Recommended((request("a"), request("b", cluster=1), request("c")), {"outside the limits": 1})
NO_PLACES = {"outside the limits": 3, "nearer than the spacing": 0, "more than the instrument takes": 2}


def candidate(types: int = 2, window_px: int = 9, seed: int = 0, guarded_out: str | None = None) -> Candidate:
    r = representation(blobs(2, n_each=20), window_px=window_px, invariance="rt", seed=seed)
    mixture = Mixture(np.full(types, 1 / types), np.zeros((types, 2)), np.tile(np.eye(2), (types, 1, 1)))
    score = None if guarded_out else Score(1.5, {}, mixture)
    configuration = Configuration(ModelSpec(window_px, "rt"), "canny_walls", "amplitude")
    return Candidate(configuration, seed, r, np.ones(40, bool), guarded_out=guarded_out, score=score)


def found(
    *configurations: ConfigurationRecord, chosen: Candidate | None = None, others: tuple[Candidate, ...] = ()
) -> SearchResult:
    chosen = chosen or candidate()
    return SearchResult((chosen, *others), configurations or (configuration(),), chosen, common_points=20)


def text(*configurations: ConfigurationRecord, places: Recommended = PLACES) -> str:
    return explain(found(*configurations), places, None)[1]


def test_what_was_chosen_is_said_with_its_reward_and_spread() -> None:
    outcome, words = explain(found(), PLACES, None)
    assert outcome == "types_found"
    assert "window 9 px: 2 types; reward 1.500 ± 0.100 over 2 seeds." in words
    assert words.endswith("3 places in 2 clusters recommended. Core points passed over: 1 outside the limits.")


def test_one_type_only_is_an_outcome_of_its_own() -> None:
    outcome, words = explain(found(chosen=candidate(types=1)), PLACES, None)
    assert outcome == "one_type_only"
    assert "window 9 px: 1 type; reward" in words


def test_where_nothing_shows_types_the_strongest_evidence_for_some_is_given() -> None:
    ways = (
        configuration(9, types=5, information=0.012, resolves=False),
        configuration(7, mean=1.1, information=0.034, resolves=False, in_tie_set=False),
    )
    result = replace(found(*ways, chosen=candidate(types=1)), finding="one_type")
    outcome, words = explain(result, PLACES, None)
    assert outcome == "one_type_only"
    assert "is at most 0.034 nats (rt-VAE, window 7 px); types are claimed from 0.125 on." in words
    assert "splits the latents of rt-VAE, window 9 px into 5 clusters, but that is no" in words
    assert "ties" not in words
    assert "Next best" not in words


def test_a_continuum_is_not_resolvable_and_says_how_to_have_it_cut() -> None:
    ways = (
        configuration(9, types=2, information=0.3, icl_gain=0.0, resolves=False),
        configuration(7, mean=1.0, information=0.01),
    )
    outcome, words = explain(replace(found(*ways), chosen=None, finding="continuum"), None, None)
    assert outcome == "not_resolvable"
    assert words.startswith(
        "Nothing to recommend: the scan varies from place to place (0.300 nats of spatial information, rt-VAE, "
    )
    assert words.endswith("rule.groups = false makes it all the same.")


def test_configurations_that_stood_back_are_counted_by_reason() -> None:
    ways = (
        configuration(9, information=0.4),
        configuration(7, mean=1.1, information=0.034, informs=False, resolves=False, in_tie_set=False),
        configuration(5, mean=1.0, information=0.2, icl_gain=0.0, resolves=False, in_tie_set=False),
    )
    assert (
        "2 configurations of 3 stood back: 1 because their clusters say too little of their neighbourhood, "
        "1 because their clusters are no groups."
    ) in text(*ways)


def test_what_did_not_work_is_said_first() -> None:
    result = replace(found(), faults=("reward = 'lab:x' failed on 3 candidates (KeyError).",))
    assert explain(result, PLACES, None)[1].startswith("reward = 'lab:x' failed on 3 candidates (KeyError). rt-VAE")


def test_an_unusable_scan_is_answered_with_the_reason() -> None:
    assert explain(None, None, "the image is constant") == ("not_resolvable", "Nothing to recommend: the image is constant.")


def test_when_no_candidate_can_be_trusted_the_reasons_are_named_once_each() -> None:
    out = tuple(
        candidate(seed=s, guarded_out=why) for s, why in enumerate(("stuck: by 0.1", "collapsed: to 0.2", "stuck: by 0.3"))
    )
    outcome, words = explain(SearchResult(out), None, None)
    assert outcome == "not_resolvable"
    assert words == "Nothing to recommend: no candidate can be trusted (collapsed, stuck)."
    assert "none was trained" in explain(SearchResult(), None, None)[1]


def test_who_stands_alone_is_said_to() -> None:
    assert "It stands alone: no other configuration lies within noise of it." in text()


def test_ties_are_named_up_to_three() -> None:
    ties = [configuration(w, mean=1.4) for w in (11, 13, 15, 17, 19)]
    words = text(configuration(), *ties)
    assert "It ties, within 2 σ of the best, with" in words
    assert words.count("(1.400)") == 3
    assert "and 2 more, and is the most parsimonious of them." in words


@pytest.mark.parametrize(
    ("below", "seeds", "said"),
    [
        (3.25, 2, "window 5 px, 3.2 σ below the best."),
        (None, 1, "window 5 px, noise unknown with one seed."),
        (None, 2, "window 5 px, with no spread over seeds."),
    ],
)
def test_the_next_best_is_said_with_its_distance(below: float | None, seeds: int, said: str) -> None:
    rest = {"in_tie_set": False, "sigmas_below_best": below, "seeds": seeds}
    assert said in text(configuration(seeds=seeds), configuration(5, **rest))


def test_models_left_out_are_counted_with_their_reasons() -> None:
    others = (candidate(seed=1, guarded_out="stuck: by 0.1"), candidate(seed=2, guarded_out="collapsed: to 0.2"))
    words = explain(found(others=others), PLACES, None)[1]
    assert "2 of 3 candidates were left out (collapsed, stuck)." in words
    assert "left out" not in text()


def test_when_no_place_is_left_the_reasons_are_counted() -> None:
    words = text(places=Recommended((), NO_PLACES))
    assert words.endswith("No place is left to recommend: 3 outside the limits, 2 more than the instrument takes.")
    assert text(places=Recommended((), {})).endswith("No place is left to recommend: no core points.")
