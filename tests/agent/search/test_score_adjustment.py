from dataclasses import replace

import numpy as np
import pytest

from agent.representation.classical import PlainSpec
from agent.search.candidates import Candidate, Configuration
from agent.search.ranking import choose, compare
from agent.search.score_adjustment import with_evidence
from rewards.base import MeasuredResults, Mixture, Score
from rewards.evidence import EvidenceSettings
from tests.support.data.clouds import representation

POINTS = 10 * np.stack(np.meshgrid(np.arange(15), np.arange(20), indexing="ij"), axis=-1).reshape(-1, 2)
TRUTH = np.random.default_rng(0).integers(2, size=300)
TWO = Mixture(np.ones(2) / 2, np.array([[-1.0], [1.0]]), 0.01 * np.ones((2, 1, 1)))


def candidate(family: str, value: float | None, labels: np.ndarray = TRUTH, seed: int = 0) -> Candidate:
    z = 2.0 * labels[:, None] - 1
    score = None if value is None else Score(value, {"K": 2.0}, TWO)
    seen = representation(z, points_rc=POINTS, invariance=family, seed=seed, trained=False)
    return Candidate(
        Configuration(PlainSpec(9, family, 1), "canny_walls", "amplitude"), seed, seen, np.ones(300, bool), score=score
    )


def results(count: int) -> MeasuredResults:
    """Loops that the true types explain to the share 0.8."""
    rng = np.random.default_rng(1)
    rows = rng.choice(300, count, replace=False)
    values = 4.0 * TRUTH[rows, None] + rng.standard_normal((count, 3))
    return MeasuredResults(POINTS[rows] + rng.uniform(-2, 2, (count, 2)), values, ("a_V", "b_V", "c_V"))


def rivals() -> list[Candidate]:
    """One that knows the truth and one that knows nothing and is rewarded for it, two seeds each; and one without a score."""
    rng = np.random.default_rng(2)
    knowing = [candidate("pca", 0.1 + 0.01 * s, seed=s) for s in (0, 1)]
    ignorant = [candidate("kmeans", 0.5 + 0.01 * s, rng.permutation(TRUTH), seed=s) for s in (0, 1)]
    return [*knowing, *ignorant, candidate("polar", None)]


def picked(candidates: list[Candidate]) -> str:
    chosen = choose(candidates, compare(candidates))
    assert chosen is not None
    return chosen.spec.invariance


def test_with_few_results_the_reward_decides_and_with_many_the_results_do() -> None:
    before = rivals()
    few, many = (with_evidence(before, results(n), EvidenceSettings()) for n in (19, 200))
    assert [picked(c) for c in (before, few, many)] == ["kmeans", "kmeans", "pca"]
    assert [c.score.value for c in few if c.score] == [c.score.value for c in before if c.score]


def test_the_metrics_keep_the_intrinsic_worth_the_evidence_and_its_weight_beside_those_that_were_there() -> None:
    knowing, _, ignorant, _, without = with_evidence(rivals(), results(50), EvidenceSettings())
    assert knowing.score is not None
    assert ignorant.score is not None
    assert knowing.score.metrics.keys() == {"K", "intrinsic", "R2_results", "results_used", "evidence_weight"}
    assert knowing.score.metrics["intrinsic"] == 0.1
    assert (knowing.score.metrics["results_used"], knowing.score.metrics["evidence_weight"]) == (50, 0.5)
    assert knowing.score.metrics["R2_results"] > 0.5 > 0.1 > ignorant.score.metrics["R2_results"]
    assert knowing.score.mixture is TWO
    assert without.score is None


def test_a_weight_of_its_own_and_none_at_all_can_be_configured() -> None:
    strict = EvidenceSettings(fewest_results=100, half_weight_results=300.0)
    weights = [with_evidence(rivals(), results(n), strict)[0].score.metrics["evidence_weight"] for n in (99, 100)]
    assert weights == pytest.approx([0, 0.25])
    off = with_evidence(rivals(), results(200), EvidenceSettings(enabled=False))
    assert picked(off) == "kmeans"
    assert off[0].score.metrics["R2_results"] > 0.5


@pytest.mark.parametrize("given", [None, replace(results(3), points_rc=np.empty((0, 2)), values=np.empty((0, 3)))])
def test_without_results_candidates_stay_as_they_are(given: MeasuredResults | None) -> None:
    before = rivals()
    assert all(a is b for a, b in zip(with_evidence(before, given, EvidenceSettings()), before, strict=True))
    assert with_evidence([before[-1]], results(50), EvidenceSettings())[0] is before[-1]
