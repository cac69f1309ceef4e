from dataclasses import replace

import numpy as np
import pytest

from agent.representation.classical import PlainSpec
from agent.search.candidates import Candidate, Configuration
from agent.search.scoring import with_agreement
from rewards.base import Mixture, Score
from tests.support.data.clouds import blobs, representation


def candidate(means: list[list[float]], seed: int, window: int = 9) -> Candidate:
    k = len(means)
    mixture = Mixture(np.full(k, 1 / k), np.array(means), np.tile(0.1 * np.eye(2), (k, 1, 1)))
    r = representation(blobs(2, n_each=50), invariance="polar", window_px=window, seed=seed, trained=False)
    configuration = Configuration(PlainSpec(window, "polar"), "canny_walls", "amplitude")
    return Candidate(configuration, seed, r, np.ones(100, bool), score=Score(1.0, {"a": 2.0}, mixture))


def centres() -> list[list[float]]:
    z = blobs(2, n_each=50)
    return [z[:50].mean(axis=0).tolist(), z[50:].mean(axis=0).tolist()]


def agreements(candidates: list[Candidate]) -> list[float | None]:
    return [c.score.metrics.get("stability_seeds") if c.score else None for c in with_agreement(candidates)]


def test_seeds_that_find_the_same_clusters_agree_whatever_they_call_them() -> None:
    assert agreements([candidate(centres(), 0), candidate(centres()[::-1], 1)]) == [1.0, 1.0]


def test_seeds_that_cut_across_each_other_do_not() -> None:
    a, b = (np.array(c) for c in centres())
    across = np.array([-(b - a)[1], (b - a)[0]]) / 10
    other = [((a + b) / 2 + across).tolist(), ((a + b) / 2 - across).tolist()]
    assert agreements([candidate(centres(), 0), candidate(other, 1)])[0] == pytest.approx(0, abs=0.1)


def test_one_cluster_is_reproduced_by_anything_and_worth_nothing() -> None:
    assert agreements([candidate([[0.0, 0.0]], 0), candidate([[0.0, 0.0]], 1)]) == [0.0, 0.0]


def test_of_one_seed_there_is_nothing_to_say_and_other_metrics_stay() -> None:
    left_out = replace(candidate(centres(), 1), score=None, guarded_out="collapsed")
    alone = [candidate(centres(), 0), left_out, candidate(centres(), 0, window=11)]
    assert agreements(alone) == [None, None, None]
    both = with_agreement([candidate(centres(), 0), candidate(centres(), 1)])
    assert [c.score.metrics["a"] for c in both if c.score] == [2.0, 2.0]
