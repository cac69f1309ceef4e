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
from tests.support.data.clouds import blobs, representation
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


def test_the_chosen_configuration_is_named_with_its_reward_and_spread() -> None:
    outcome, sentences = explain(found(), PLACES, None)
    assert outcome == "types_found"
    assert "window 9 px: 2 types; reward 1.500 ± 0.100 over 2 seeds." in sentences
    assert sentences.endswith("3 targets in 2 clusters recommended. Core points passed over: 1 outside the limits.")


def test_one_type_only_is_an_outcome_of_its_own() -> None:
    outcome, sentences = explain(found(chosen=candidate(types=1)), PLACES, None)
    assert outcome == "one_type_only"
    assert "window 9 px: 1 type; reward" in sentences


def test_where_nothing_shows_types_the_strongest_evidence_for_some_is_given() -> None:
    ways = (
        configuration(9, types=5, information=0.012, resolves=False),
        configuration(7, mean=1.1, information=0.034, resolves=False, in_tie_set=False),
    )
    result = replace(found(*ways, chosen=candidate(types=1)), finding="one_type")
    outcome, sentences = explain(result, PLACES, None)
    assert outcome == "one_type_only"
    assert "MI_rot is at most 0.034 nats (rt-VAE, window 7 px); types require at least 0.125 nats." in sentences
    assert "The mixture of rt-VAE, window 9 px has 5 clusters, but clusters alone are no evidence for types." in sentences
    assert "tie" not in sentences
    assert "Next best" not in sentences


def test_a_continuum_is_not_resolvable_and_the_sentence_names_the_setting_that_divides_it() -> None:
    ways = (
        configuration(9, types=2, information=0.3, icl_gain=0.0, resolves=False),
        configuration(7, mean=1.0, information=0.01),
    )
    outcome, sentences = explain(replace(found(*ways), chosen=None, finding="continuum"), None, None)
    assert outcome == "not_resolvable"
    assert sentences.startswith(
        "Nothing to recommend: the scan has spatial structure (MI_rot 0.300 nats, rt-VAE, window 9 px), but varies as a continuum"
    )
    assert sentences.endswith("Set rule.groups = false to divide it all the same.")


def test_rejected_configurations_are_counted_by_reason() -> None:
    ways = (
        configuration(9, information=0.4),
        configuration(7, mean=1.1, information=0.034, informs=False, resolves=False, in_tie_set=False),
        configuration(5, mean=1.0, information=0.2, icl_gain=0.0, resolves=False, in_tie_set=False),
    )
    assert (
        "2 of 3 configurations were rejected: 1 with too little spatial structure (MI_rot below 0.125 nats), "
        "1 without separate groups (ICL prefers one Gaussian)."
    ) in text(*ways)


def test_faults_come_first() -> None:
    result = replace(found(), faults=("reward = 'lab:x' failed on 3 candidates (KeyError).",))
    assert explain(result, PLACES, None)[1].startswith("reward = 'lab:x' failed on 3 candidates (KeyError). rt-VAE")


def test_an_unusable_scan_is_answered_with_the_reason() -> None:
    assert explain(None, None, "the image is constant") == ("not_resolvable", "Nothing to recommend: the image is constant.")


def test_when_no_candidate_is_eligible_each_reason_is_named_once() -> None:
    out = tuple(
        candidate(seed=s, guarded_out=why) for s, why in enumerate(("stuck: by 0.1", "collapsed: to 0.2", "stuck: by 0.3"))
    )
    outcome, sentences = explain(SearchResult(out), None, None)
    assert outcome == "not_resolvable"
    assert sentences == "Nothing to recommend: no candidate is eligible (collapsed, stuck)."
    assert "none was trained" in explain(SearchResult(), None, None)[1]


def test_a_configuration_without_ties_is_said_to_have_none() -> None:
    assert "No other configuration ties with it." in text()


def test_ties_are_named_up_to_three() -> None:
    ties = [configuration(w, mean=1.4) for w in (11, 13, 15, 17, 19)]
    sentences = text(configuration(), *ties)
    assert (
        "6 of 6 configurations tie for best (within 2 σ), and it is the most parsimonious of them; the others are " in sentences
    )
    assert sentences.count("(1.400)") == 3
    assert " and 2 more." in sentences


@pytest.mark.parametrize(
    ("below", "seeds", "sentence"),
    [
        (3.25, 2, "window 5 px, 3.2 σ below the best."),
        (None, 1, "window 5 px; the noise is unknown with a single seed."),
        (None, 2, "window 5 px; the rewards do not vary between seeds."),
    ],
)
def test_the_next_best_is_named_with_its_distance(below: float | None, seeds: int, sentence: str) -> None:
    rest = {"in_tie_set": False, "sigmas_below_best": below, "seeds": seeds}
    assert sentence in text(configuration(seeds=seeds), configuration(5, **rest))


def test_rejected_candidates_are_counted_with_their_reasons() -> None:
    others = (candidate(seed=1, guarded_out="stuck: by 0.1"), candidate(seed=2, guarded_out="collapsed: to 0.2"))
    sentences = explain(found(others=others), PLACES, None)[1]
    assert "2 of 3 candidates were rejected by the guards (collapsed, stuck)." in sentences
    assert "guards" not in text()


def test_when_no_target_is_left_the_reasons_are_counted() -> None:
    sentences = text(places=Recommended((), NO_PLACES))
    assert sentences.endswith("No target is left to recommend: 3 outside the limits, 2 more than the instrument takes.")
    assert text(places=Recommended((), {})).endswith("No target is left to recommend: no core points.")
