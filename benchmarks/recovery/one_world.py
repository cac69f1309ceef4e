"""What is measured on one simulated world: the agent's decision, its candidates, the paper's rule and the baselines."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.schema.decision import CandidateRecord, ConfigurationRecord, Decision
from agent.search.candidates import Candidate
from agent.search.search import search
from agent.search.task_cache import TaskCache
from agent.workers.factory import workers_for
from benchmarks.harness.agreement import core_purity, coverage
from benchmarks.harness.worlds import World, visit
from benchmarks.recovery.baselines import BASELINES
from benchmarks.recovery.paper_rule import paper_rules


def recover(name: str, seed: int, config: Config) -> dict[str, Any]:
    """One graded world.

    The agent decides, and the same search is then asked for all of its candidates; what was trained is not trained again.

    Returns
    -------
    dict
        `outcome`; `pick`, the agreement of what the agent says with the truth, also where it says one type or none; `regardless`,
        that of its pick's clusters, even if it does not call them types; `candidates`, name -> ARI and reward; the `best` and the
        `mean` of these ARIs; `information`, the MI_rot of the most informative configuration; `paper`, rule -> agreement;
        `baselines`, name -> agreement.
    """
    started = time.process_time()
    world = visit(name, seed, config)
    with tempfile.TemporaryDirectory() as folder, workers_for(config.search.workers) as workers:
        kept = TaskCache(Path(folder))
        decision = Agent(config, workers).on_scan(world.scan, store=kept)
        candidates = [c for c in search(world.scene, config, workers, store=kept).candidates if c.score and c.score.mixture]
    reached = {c.candidate_id: world.agreement(c.representation.points_rc, _labels(c)) for c in candidates}
    searched_s = time.process_time() - started
    aris = [one["ari"] for one in reached.values()]
    truth = world.types(world.points_rc)
    return {
        "seed": seed,
        "points": len(truth),
        "types": len(np.unique(truth)),
        "pure_share": float(world.pure(world.points_rc).mean()),
        "outcome": decision.record.outcome,
        "chosen": decision.record.chosen,
        "pick": judged(world, decision),
        "regardless": reached.get(decision.record.chosen or ""),
        "best": max(aris, default=0.0),
        "best_candidate": max(reached, key=lambda c: reached[c]["ari"], default=None),
        "best_coarse": max((one["ari_coarse"] for one in reached.values()), default=0.0),
        "mean": float(np.mean(aris)) if aris else 0.0,
        "information": information(decision.record.configurations),
        "paper": paper_rules(world, candidates),
        "baselines": {what: world.agreement(world.points_rc, found(world, config)) for what, found in BASELINES.items()},
        "candidates": {
            c.candidate_id: {"ari": reached[c.candidate_id]["ari"], "value": c.score.value if c.score else None}
            for c in candidates
        },
        "searched_cpu_s": searched_s,
        "cpu_s": time.process_time() - started,
    }


def judged(world: World, decision: Decision) -> dict[str, float]:
    """What the decision says against the truth; one without clusters says that all points are alike, and has no core."""
    points_rc = decision.arrays.get("points_rc", world.points_rc)
    labels = decision.arrays.get("labels", np.zeros(len(points_rc), int))
    core = decision.arrays.get("core", np.zeros(len(points_rc), int)).astype(bool)
    truth = world.types(points_rc)
    scores = world.agreement(points_rc, labels) | {"clusters": float(len(np.unique(labels))), "coverage": coverage(labels, truth)}
    return scores | ({"purity": core_purity(labels, core, truth)} if core.any() else {})


def null(name: str, seed: int, config: Config) -> dict[str, Any]:
    """One world without types to tell apart: the agent's answer, and how many types BIC finds there."""
    started = time.process_time()
    world = visit(name, seed, config)
    with workers_for(config.search.workers) as workers:
        record = Agent(config, workers).on_scan(world.scan).record
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
    """MI_rot of the most informative configuration; None without any."""
    return max((c.information or 0.0 for c in configurations), default=None)


def bic_types(candidates: Sequence[CandidateRecord]) -> Mapping[str, float | None]:
    """Median of the K that BIC prefers, over all judged candidates, and the smallest and the largest of them."""
    k = [one for c in candidates if (one := c.metrics.get("K_bic")) is not None]
    return {"median": float(np.median(k)), "least": min(k), "most": max(k)} if k else {}


def _labels(candidate: Candidate) -> np.ndarray:
    assert candidate.score is not None
    assert candidate.score.mixture is not None
    return candidate.score.mixture.labels(candidate.representation.z)
