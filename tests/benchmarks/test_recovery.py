"""Recovery of the truth: figures of partitions that can be checked by hand, and one world from end to end."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from agent.config.model import Config
from agent.representation.classical import PlainSpec
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import Decision
from agent.search.candidates import Candidate, Configuration
from benchmarks.harness.agreement import agreement, bootstrap_interval, core_purity, coverage, normalised
from benchmarks.harness.worlds import scan_world
from benchmarks.recovery import ceiling, one_world, paper_rule
from benchmarks.recovery import report as recovery_report
from benchmarks.recovery import study as recovery
from benchmarks.recovery.baselines import BASELINES, FIXED_POLAR
from rewards.base import Mixture, Representation, Score

TRUTH = np.array([1, 1, 1, 1, 2, 2, 2, 6, 6, 6])
FOUND = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0])  # 4 of type 1 and a 6; 3 of type 2 and two of 6
PLAIN = Config.model_validate({"search": {"families": ["polar"], "windows_px": [15], "seeds": 1, "workers": 0}})


def test_a_partition_is_compared_whatever_its_numbers_are() -> None:
    assert agreement(9 - TRUTH, TRUTH) == {"ari": 1.0, "nmi": pytest.approx(1.0), "types_off": 0.0}
    one = agreement(np.zeros(10, int), TRUTH)
    assert (one["ari"], one["nmi"], one["types_off"]) == (0.0, 0.0, 2.0)


def test_core_points_are_pure_if_they_have_the_majority_type_of_their_cluster() -> None:
    core = np.array([1, 1, 0, 0, 1, 0, 0, 1, 0, 1], bool)
    assert core_purity(FOUND, core, TRUTH) == 3 / 5
    assert core_purity(FOUND, np.ones(10, bool), TRUTH) == 7 / 10


def test_a_type_without_a_cluster_of_its_own_is_not_covered() -> None:
    assert coverage(FOUND, TRUTH) == 2 / 3
    assert coverage(TRUTH, TRUTH) == 1


def test_normalised_is_0_by_chance_and_1_at_the_ceiling() -> None:
    assert (normalised(0.0, 0.8), normalised(0.8, 0.8), normalised(0.5, 0.9, 0.1)) == (0, 1, 0.5)
    with pytest.raises(ValueError, match="nothing can be recovered"):
        normalised(0.1, 0.0)


def test_an_interval_of_equal_gains_has_no_width_and_one_of_mixed_gains_holds_their_mean() -> None:
    assert bootstrap_interval([0.2] * 10) == pytest.approx((0.2, 0.2))
    low, high = bootstrap_interval([-0.1, 0.0, 0.1, 0.2])
    assert -0.1 <= low < 0.05 < high <= 0.2


def test_an_interval_holds_the_true_mean_about_as_often_as_it_says() -> None:
    """For ten normal values, a nominal 95 % interval contains it in about 90 %; fewer than 1 in 10,000 runs fail."""
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.normal(size=10)) for _ in range(200)]
    assert 160 <= sum(low <= 0 <= high for low, high in intervals) <= 194


def test_a_classifier_is_not_tested_on_its_training_worlds() -> None:
    with pytest.raises(ValueError, match=r"worlds \[10003\] are training worlds of the classifier"):
        ceiling.ceilings("clean", [1, 10_003])


def candidate(invariance: str, seed: int, z: np.ndarray, points_rc: np.ndarray) -> Candidate:
    views = dict.fromkeys(("z", "z_std", "z_rotated", "z_mirrored"), z)
    facts = {"window_px": 15, "invariance": invariance, "seed": seed, "elbo_per_px": 0.0, "reconstruction_per_px": 0.0}
    spec = PlainSpec(15, invariance) if invariance == "polar" else ModelSpec(15, invariance)
    representation = Representation(**views, points_rc=points_rc, **facts)
    return Candidate(Configuration(spec, "canny_walls", "amplitude"), seed, representation, np.ones(len(z), bool))


def world(seed: int, ari: float, **changes: Any) -> dict[str, Any]:
    scores = {"ari": ari, "ari_pure": ari, "ari_coarse": ari / 2, "nmi": ari, "types_off": 1.0}
    values = {
        "seed": seed,
        "types": 6,
        "outcome": "types_found",
        "chosen": "polar-w15-s0",
        "pick": scores | {"clusters": 5.0, "coverage": 0.5, "purity": 0.9},
        "regardless": scores,
        "best": 0.8,
        "best_coarse": 0.4,
        "best_candidate": "polar-w21-s0",
        "information": 0.3,
        "mean": 0.3,
        "paper": {rule: scores | {"ari": 0.2, "chosen": "v-w7-s0"} for rule in paper_rule.RULES},
        "baselines": {name: scores | {"ari": 0.7 if name == FIXED_POLAR else 0.1} for name in BASELINES},
        "ceiling": {"ari": 0.8, "ari_pure": 0.95, "ari_coarse": 0.9},
        "cpu_s": 1.0,
    }
    return values | changes


def test_figures_follow_from_the_worlds() -> None:
    abstained = world(2, 0.0, outcome="one_type_only", regardless=world(2, 0.6)["pick"])
    figures = recovery_report.tier_figures("clean", [world(1, 0.8), abstained])
    assert figures["ari_clean"] == figures["ari_norm_clean"] * 0.8 == pytest.approx(0.4)
    assert figures["best_baseline_norm_clean"] == pytest.approx(0.7 / 0.8)
    assert figures["paper_rule_norm_clean"] == pytest.approx(0.2 / 0.8)
    assert (figures["pick_over_best_clean"], figures["abstained_clean"]) == (0.5, 0.5)
    assert figures["gain_over_paper_rule_clean"] == pytest.approx(0.2)
    assert (figures["gain_over_fixed_polar_clean_low"], figures["gain_over_fixed_polar_clean_high"]) == pytest.approx((-0.7, 0.1))
    assert recovery_report.aris_of([abstained])["the same, abstentions apart"] == [0.6]


def null_world(kind: str, answer: str) -> dict[str, Any]:
    return {"kind": kind, "outcome": answer, "information": 0.05, "bic_types": {"median": 4.0, "least": 3.0, "most": 6.0}}


def test_the_report_counts_types_claimed_where_there_is_one() -> None:
    answers = ["types_found", "one_type_only", "not_resolvable", "one_type_only"]
    nulls = [null_world("stripes", answer) for answer in answers] + [null_world("shuffled", "one_type_only")]
    outcome = recovery_report.report({"easy": [world(1, 0.5)]}, nulls, left_out=["medium", "hard"])
    assert outcome.figures["null_false_discovery"] == 0.2
    stripes, shuffled = outcome.tables["Worlds without distinct types"]
    assert stripes["answers"] == "one_type_only x2, types_found x1, not_resolvable x1"
    assert shuffled["world"] == "shuffled"
    assert {"ari_medium", "abstained_hard"} <= set(outcome.missing)
    assert outcome.details["tiers"] == ["easy", "null"]
    assert "Part of the benchmark only: without medium, hard." in outcome.notes


def test_abstaining_is_right_in_hard_worlds_and_coarse_types_stand_beside_the_fine_ones() -> None:
    answers = ["not_resolvable", "one_type_only", "types_found", "one_type_only"]
    hard = [
        world(n, 0.0, outcome=answer, ceiling={"ari": 0.0, "ari_pure": 0.0, "ari_coarse": 0.0})
        for n, answer in enumerate(answers)
    ]
    outcome = recovery_report.report({"clean-interspersed": [world(1, 0.5)], "hard": hard}, [])
    assert (outcome.figures["abstained_hard"], outcome.figures["ceiling_hard"]) == (0.75, 0.0)
    assert any("3 of 4 (95 % interval 0.30-0.95)" in note for note in outcome.notes)
    assert outcome.figures["ari_clean_interspersed"] == 0.5
    assert "null_false_discovery" not in outcome.figures
    assert "normalised" not in outcome.tables["hard"][0]
    rows = {row[""]: row["ARI, coarse types"] for row in outcome.tables["clean-interspersed"]}
    assert (rows["the agent's pick"], rows["best candidate"], rows["mean candidate"]) == (0.25, 0.4, None)
    assert rows["supervised ceiling"] == 0.9


def test_the_full_plan_runs_all_worlds_and_a_part_of_it_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    requested: list[str] = []

    class Stop(Exception):  # noqa: N818 - ends the measurement before any work
        pass

    def stop(tasks: dict[str, Any], workers: int) -> None:
        requested.extend(tasks)
        raise Stop

    journal = Mock(all_once=stop)
    with pytest.raises(Stop):
        recovery.measure(recovery.FULL, range(100, 110), journal, quick=False)
    assert sum(unit.startswith("ceiling") for unit in requested) == 7
    assert sum(unit.startswith(("clean, ", "easy, ", "medium, ", "hard, ")) for unit in requested) == 40
    assert sum("interspersed, world" in unit for unit in requested) == 10
    assert sum("segmented, world" in unit for unit in requested) == 5
    assert sum("alone" in unit for unit in requested) == 3 * 4 + 3 * 3 + 4
    requested.clear()
    with pytest.raises(Stop):
        recovery.measure(recovery.FULL, range(100, 102), journal, ("medium",), quick=False)
    assert requested == ["ceiling, medium", "medium, world 100", "medium, world 101"]


def test_tiers_are_named_by_commas_and_one_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(recovery, "measure", lambda plan, seeds, journal, tiers, *, quick: seen.append((tiers, quick)))
    monkeypatch.setattr(recovery, "write", lambda *_: None)
    questions: list[dict[str, Any]] = []
    monkeypatch.setattr(recovery, "Journal", lambda path, question: questions.append(question) or Mock(path=path))
    monkeypatch.setattr("sys.argv", ["recovery", "--out", str(tmp_path), "--tiers", "null,clean"])
    recovery.main()
    assert seen == [(("clean", "null"), False)]
    assert questions[0]["tiers"] == ["clean", "null"]
    monkeypatch.setattr("sys.argv", ["recovery", "--out", str(tmp_path), "--tiers", "clear"])
    with pytest.raises(SystemExit):
        recovery.main()


@pytest.mark.slow
def test_one_world_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_world, "BASELINES", {FIXED_POLAR: BASELINES[FIXED_POLAR]})
    found = one_world.recover("clean", 0, PLAIN)
    assert found["types"] == 6
    assert 0 < found["mean"] <= found["best"] <= 1
    assert found["regardless"]["ari"] == found["candidates"][found["chosen"]]["ari"] <= found["best"]
    assert found["baselines"][FIXED_POLAR]["ari"] > 0.2
    assert found["paper"] == {rule: {"chosen": None, "ari": 0.0, "ari_coarse": 0.0} for rule in paper_rule.RULES}  # no VAE
    assert 0 < found["regardless"]["ari_coarse"] <= found["best_coarse"] <= 1
    if found["outcome"] == "types_found":
        assert found["pick"]["ari"] == found["regardless"]["ari"]
        assert found["pick"]["purity"] > found["pick"]["ari"] > 0


@pytest.mark.slow
def test_the_papers_rule_is_one_seeds_smallest_criterion_over_models_and_k(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper_rule, "BAYESIAN_MODELS", 0)
    monkeypatch.setattr(
        paper_rule, "_bayesian", lambda candidates: (few[0], Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None]))
    )
    stripes = scan_world("stripes", 0, PLAIN)
    rng = np.random.default_rng(0)
    rc = stripes.points_rc
    four = 10 * rng.integers(2, size=(len(rc), 2)) + rng.normal(size=(len(rc), 2))  # BIC says 4: two bits apart
    spread, tight = rng.normal(size=(len(rc), 2)), 0.05 * four
    smaller = [candidate("r", 1, 1e-3 * four, rc), candidate("polar", 0, 1e-3 * four, rc)]  # of another seed, and not a VAE
    few = [candidate("v", 0, spread, rc), candidate("r", 0, tight, rc)]
    rules = paper_rule.paper_rules(stripes, [*few, *smaller])
    assert {(rules[rule]["chosen"], rules[rule]["clusters"]) for rule in paper_rule.GAUSSIAN} == {("r-w15-s0", 4)}
    assert (rules[paper_rule.BAYESIAN]["chosen"], rules[paper_rule.BAYESIAN]["clusters"]) == ("v-w15-s0", 1)


@pytest.mark.slow
def test_bayesian_mixtures_are_fitted_to_the_models_of_smallest_bic_and_the_smallest_elbo_and_entropy_wins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    rc = np.zeros((300, 2), int)
    widths = {"v": 0.1, "r": 0.3, "rt": 3.0}
    candidates = [candidate(name, 0, width * rng.normal(size=(300, 2)), rc) for name, width in widths.items()]
    fits = [(c, fit) for c in candidates for fit in paper_rule._mixtures(c)]
    monkeypatch.setattr(paper_rule, "BAYESIAN_MODELS", 2)
    least = paper_rule._smallest_bic(fits)
    assert [c.spec.invariance for c in least] == ["v", "r"]
    values = {0.1: -2.0, 0.3: -1.0}

    def fitted(representation: Representation, *, rng: np.random.Generator) -> Score:
        nearest = min(values, key=lambda width: abs(width - float(representation.z.std())))
        return Score(values[nearest], {}, Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None]))

    monkeypatch.setattr(paper_rule, "bgmm", fitted)
    assert paper_rule._bayesian(least)[0].spec.invariance == "r"


@pytest.mark.slow
def test_a_decision_without_clusters_counts_as_one_cluster() -> None:
    stripes = scan_world("stripes", 0, PLAIN)
    scores = one_world.evaluate_decision(stripes, Decision(Mock(), {}))
    assert (scores["ari"], scores["clusters"], scores["coverage"], scores["types_off"]) == (1.0, 1.0, 1.0, 0.0)
    assert "purity" not in scores
