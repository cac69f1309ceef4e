"""Evaluation on one simulated world: the decision of the agent, its candidates, the rules of the paper, and the baselines."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.schema.decision import CandidateRecord, ConfigurationRecord, Decision
from agent.search.candidates import Candidate
from agent.search.search import search
from agent.search.task_cache import TaskCache
from agent.workers.factory import workers_for
from benchmarks.harness.agreement import core_purity, coverage
from benchmarks.harness.worlds import World, scan_world
from benchmarks.recovery.baselines import BASELINES, BEFORE, Baseline
from benchmarks.recovery.paper_rule import paper_rules
from rewards.mixture.wall_field import wall_labels


def recover(name: str, seed: int, config: Config) -> dict[str, Any]:
    """Evaluate one world with types.

    The agent decides, and the same search is then repeated for all of its candidates; trained models come from the task cache.

    Returns
    -------
    dict
        `outcome`; `pick`, the agreement of the decision with the truth, where "one type only" and "not resolvable" count as one
        cluster; `regardless`, the agreement of the chosen clusters even if they are not called types; `candidates`, name -> ARI
        and reward; the `best` and the `mean` of these ARIs; `information`, the largest MI_rot of a configuration; `paper`, rule
        -> agreement; `baselines`, name -> agreement.
    """
    started = time.process_time()
    world = scan_world(name, seed, config)
    with tempfile.TemporaryDirectory() as folder, workers_for(config.search.workers) as workers:
        cache = TaskCache(Path(folder))
        decision = Agent(config, workers).decide(DecisionInputs(world.scan), cache=cache)
        candidates = [c for c in search(world.prepared, config, workers, cache=cache).candidates if c.score and c.score.mixture]
    agreements = {c.candidate_id: world.agreement(c.representation.points_rc, _labels(c, config)) for c in candidates}
    searched_s = time.process_time() - started
    aris = [one["ari"] for one in agreements.values()]
    truth = world.types(world.points_rc)
    return {
        "seed": seed,
        "points": len(truth),
        "types": len(np.unique(truth)),
        "pure_share": float(world.pure(world.points_rc).mean()),
        "outcome": decision.record.outcome,
        "chosen": decision.record.chosen,
        "pick": evaluate_decision(world, decision),
        "regardless": agreements.get(decision.record.chosen or ""),
        "best": max(aris, default=0.0),
        "best_candidate": max(agreements, key=lambda c: agreements[c]["ari"], default=None),
        "best_coarse": max((one["ari_coarse"] for one in agreements.values()), default=0.0),
        "mean": float(np.mean(aris)) if aris else 0.0,
        "information": information(decision.record.configurations),
        "paper": paper_rules(world, candidates),
        "baselines": {
            label: world.agreement(world.points_rc, method(world, config)) for label, method in _baselines(config).items()
        }
        | {BEFORE: before_walls(name, seed, config)},
        "candidates": {
            c.candidate_id: {"ari": agreements[c.candidate_id]["ari"], "value": c.score.value if c.score else None}
            for c in candidates
        },
        "searched_cpu_s": searched_s,
        "cpu_s": time.process_time() - started,
    }


def evaluate_decision(world: World, decision: Decision) -> dict[str, float]:
    """Agreement of the decision with the truth; without clusters, all points count as one cluster without core points."""
    points_rc = decision.arrays.get("points_rc", world.points_rc)
    labels = decision.arrays.get("labels", np.zeros(len(points_rc), int))
    core = decision.arrays.get("core", np.zeros(len(points_rc), int)).astype(bool)
    truth = world.types(points_rc)
    scores = world.agreement(points_rc, labels) | {"clusters": float(len(np.unique(labels))), "coverage": coverage(labels, truth)}
    return scores | ({"purity": core_purity(labels, core, truth)} if core.any() else {})


def null(name: str, seed: int, config: Config) -> dict[str, Any]:
    """Evaluate one world without distinct types: the outcome of the decision, and the number of types that BIC finds."""
    started = time.process_time()
    world = scan_world(name, seed, config)
    with workers_for(config.search.workers) as workers:
        record = Agent(config, workers).decide(DecisionInputs(world.scan)).record
    return {
        "kind": name,
        "seed": seed,
        "points": record.keypoints_used,
        "outcome": record.outcome,
        "chosen": record.chosen,
        "explanation": record.explanation,
        "information": information(record.configurations),
        "bic_types": bic_types(record.candidates),
        "cpu_s": time.process_time() - started,
    }


def information(configurations: Sequence[ConfigurationRecord]) -> float | None:
    """Largest MI_rot of a configuration; None without configurations."""
    return max((c.information or 0.0 for c in configurations), default=None)


def bic_types(candidates: Sequence[CandidateRecord]) -> Mapping[str, float | None]:
    """Median, minimum and maximum over the scored candidates of the K that BIC prefers."""
    k = [one for c in candidates if (one := c.metrics.get("K_bic")) is not None]
    return {"median": float(np.median(k)), "least": min(k), "most": max(k)} if k else {}


def _labels(candidate: Candidate, config: Config) -> np.ndarray:
    """Labels as a decision for this candidate would have them."""
    assert candidate.score is not None
    assert candidate.score.mixture is not None
    representation = candidate.representation
    return wall_labels(candidate.score.mixture, representation.z, representation.walls, config.walls.smoothing)


def _baselines(config: Config) -> Mapping[str, Baseline]:
    """The baselines; without those that train a VAE if the search trains none."""
    return {name: method for name, method in BASELINES.items() if "vae" in config.search.families or "VAE" not in name}


def before_walls(name: str, seed: int, config: Config) -> dict[str, float]:
    """Agreement of the decision of the search as it was before it knew walls: Canny's edges of the amplitude, polar PCA."""
    earlier = config.model_copy(update={"keypoints": ("canny_walls",)})
    earlier = earlier.with_search(families=("polar",), windows_px=(7, 11, 15, 21))
    world = scan_world(name, seed, earlier)
    with workers_for(config.search.workers) as workers:
        return evaluate_decision(world, Agent(earlier, workers).decide(DecisionInputs(world.scan)))
