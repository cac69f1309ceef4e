"""Recovery of the truth: its arithmetic on partitions that can be checked by hand, and one world from end to end."""

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from agent.candidates import Candidate, Configuration
from agent.config import Config
from agent.decision import Decision
from agent.workflow.families import PlainSpec
from agent.workflow.spec import ModelSpec
from benchmarks import ceiling, one_world, recovery
from benchmarks.agreement import agreement, bootstrap_interval, core_purity, coverage, normalised
from benchmarks.baselines import BASELINES, FIXED_POLAR
from benchmarks.worlds import visit
from rewards.base import Representation

TRUTH = np.array([1, 1, 1, 1, 2, 2, 2, 6, 6, 6])
FOUND = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0])  # 4 of type 1 and a 6; 3 of type 2 and two of 6
PLAIN = Config.model_validate({"search": {"families": ["polar"], "windows_px": [15], "seeds": 1, "workers": 0}})


def test_a_partition_is_compared_whatever_its_numbers_are() -> None:
    assert agreement(9 - TRUTH, TRUTH) == {"ari": 1.0, "nmi": pytest.approx(1.0), "types_off": 0.0}
    one = agreement(np.zeros(10, int), TRUTH)
    assert (one["ari"], one["nmi"], one["types_off"]) == (0.0, 0.0, 2.0)


def test_core_points_are_pure_where_they_are_of_their_clusters_typical_type() -> None:
    core = np.array([1, 1, 0, 0, 1, 0, 0, 1, 0, 1], bool)
    assert core_purity(FOUND, core, TRUTH) == 3 / 5
    assert core_purity(FOUND, np.ones(10, bool), TRUTH) == 7 / 10


def test_a_type_without_a_cluster_of_its_own_is_not_covered() -> None:
    assert coverage(FOUND, TRUTH) == 2 / 3
    assert coverage(TRUTH, TRUTH) == 1


def test_normalised_is_0_by_chance_and_1_at_the_ceiling() -> None:
    assert (normalised(0.0, 0.8), normalised(0.8, 0.8), normalised(0.5, 0.9, 0.1)) == (0, 1, 0.5)
    with pytest.raises(ValueError, match="nothing can be recovered there"):
        normalised(0.1, 0.0)


def test_an_interval_of_equal_gains_has_no_width_and_one_of_mixed_gains_holds_their_mean() -> None:
    assert bootstrap_interval([0.2] * 10) == pytest.approx((0.2, 0.2))
    low, high = bootstrap_interval([-0.1, 0.0, 0.1, 0.2])
    assert -0.1 <= low < 0.05 < high <= 0.2


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    """Of ten normal values a nominal 95 % holds it in about 90 %: outside 80-97 % of 200 in fewer than 1 in 10,000 runs."""
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(size=10)) for _ in range(200)]
    assert 160 <= sum(low <= 0 <= high for low, high in intervals) <= 194


def test_a_classifier_is_not_judged_on_what_it_learnt_from() -> None:
    with pytest.raises(ValueError, match=r"worlds \[10003\] are among those that the classifier learns from"):
        ceiling.ceilings("clean", [1, 10_003])


def candidate(invariance: str, seed: int, z: np.ndarray, points_rc: np.ndarray) -> Candidate:
    views = dict.fromkeys(("z", "z_std", "z_rotated", "z_mirrored"), z)
    facts = {"window_px": 15, "invariance": invariance, "seed": seed, "elbo_per_px": 0.0, "reconstruction_per_px": 0.0}
    spec = PlainSpec(15, invariance) if invariance == "polar" else ModelSpec(15, invariance)
    representation = Representation(**views, points_rc=points_rc, **facts)
    return Candidate(Configuration(spec, "canny_walls", "amplitude"), seed, representation, np.ones(len(z), bool))


def world(seed: int, ari: float, **changes: Any) -> dict[str, Any]:
    scores = {"ari": ari, "ari_pure": ari, "nmi": ari, "types_off": 1.0}
    values = {
        "seed": seed,
        "types": 6,
        "outcome": "types_found",
        "chosen": "polar-w15-s0",
        "pick": scores | {"clusters": 5.0, "coverage": 0.5, "purity": 0.9},
        "regardless": scores,
        "best": 0.8,
        "best_candidate": "polar-w21-s0",
        "mean": 0.3,
        "paper": {rule: scores | {"ari": 0.2, "chosen": "v-w7-s0"} for rule in one_world.PAPER_RULES},
        "baselines": {name: scores | {"ari": 0.7 if name == FIXED_POLAR else 0.1} for name in BASELINES},
        "ceiling": {"ari": 0.8, "ari_pure": 0.95},
        "cpu_s": 1.0,
    }
    return values | changes


def test_figures_follow_from_the_worlds() -> None:
    abstained = world(2, 0.0, outcome="one_type_only", regardless=world(2, 0.6)["pick"])
    figures = recovery.tier_figures("clean", [world(1, 0.8), abstained])
    assert figures["ari_clean"] == figures["ari_norm_clean"] * 0.8 == pytest.approx(0.4)
    assert figures["best_baseline_norm_clean"] == pytest.approx(0.7 / 0.8)
    assert figures["paper_rule_norm_clean"] == pytest.approx(0.2 / 0.8)
    assert (figures["pick_over_best_clean"], figures["abstained_clean"]) == (0.5, 0.5)
    assert figures["gain_over_paper_rule_clean"] == pytest.approx(0.2)
    assert (figures["gain_over_fixed_polar_clean_low"], figures["gain_over_fixed_polar_clean_high"]) == pytest.approx((-0.7, 0.1))
    assert recovery.aris_of([abstained])["the same, abstentions apart"] == [0.6]


def test_the_report_counts_types_claimed_where_there_is_one() -> None:
    answers = ["types_found", "one_type_only", "not_resolvable", "one_type_only"]
    k = {"median": 4.0, "least": 3.0, "most": 6.0}
    nulls = [{"kind": "stripes", "outcome": answer, "information": 0.05, "bic_types": k} for answer in answers]
    outcome = recovery.report({"easy": [world(1, 0.5)]}, nulls, quick=True)
    assert outcome.figures["null_false_discovery"] == 0.25
    (row,) = outcome.tables["Worlds of a single type"]
    assert row["answers"] == "one_type_only x2, types_found x1, not_resolvable x1"
    assert "ari_medium" in outcome.missing


def test_one_world_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_world, "BASELINES", {FIXED_POLAR: BASELINES[FIXED_POLAR]})
    found = one_world.recover("clean", 0, PLAIN)
    assert found["types"] == 6
    assert 0 < found["mean"] <= found["best"] <= 1
    assert found["regardless"]["ari"] == found["candidates"][found["chosen"]]["ari"] <= found["best"]
    assert found["baselines"][FIXED_POLAR]["ari"] > 0.2
    assert found["paper"]["icl"] == {"chosen": None, "ari": 0.0}  # no VAE was searched
    if found["outcome"] == "types_found":
        assert found["pick"]["ari"] == found["regardless"]["ari"]
        assert found["pick"]["purity"] > found["pick"]["ari"] > 0


def test_the_papers_rule_is_one_seeds_smallest_criterion_over_models_and_k() -> None:
    seen = visit("stripes", 0, PLAIN)
    rng = np.random.default_rng(0)
    rc = seen.points_rc
    four = 10 * rng.integers(2, size=(len(rc), 2)) + rng.normal(size=(len(rc), 2))  # BIC says 4: two bits apart
    spread, tight = rng.normal(size=(len(rc), 2)), 0.05 * four
    smaller = [candidate("r", 1, 1e-3 * four, rc), candidate("polar", 0, 1e-3 * four, rc)]  # of another seed, and no VAE
    rules = one_world.paper_rules(seen, [candidate("v", 0, spread, rc), candidate("r", 0, tight, rc), *smaller])
    assert {(one["chosen"], one["clusters"]) for one in rules.values()} == {("r-w15-s0", 4)}


def test_a_decision_without_clusters_says_that_all_points_are_alike() -> None:
    seen = visit("stripes", 0, PLAIN)
    said = one_world.judged(seen, Decision(Mock(), {}))
    assert (said["ari"], said["clusters"], said["coverage"], said["types_off"]) == (1.0, 1.0, 1.0, 0.0)
    assert "purity" not in said
