"""Builds the record of a decision and the arrays that are stored with it."""

from typing import Any

import numpy as np

from agent.config.model import Config
from agent.decision.clusters import Clusters
from agent.decision.explanation import AS_RECORDED, NO_PROBLEMS, UNKNOWN_DRIFT, explain
from agent.preprocessing.scan_quality import Quality
from agent.recommendation.place_selection import Recommended
from agent.schema.decision import (
    AnalysedRecord,
    CandidateRecord,
    Decision,
    DecisionRecord,
    DriftRecord,
    ProblemRecord,
    QualityRecord,
    versions,
)
from agent.search.candidates import Candidate
from agent.search.search import SearchResult
from agent.search.warm_start import WEIGHTS, worth_trying
from instrument_adapters.scan import Scan


def as_decision(
    decision_id: str,
    scan: Scan,
    channel: str,
    config: Config,
    *,
    found: SearchResult | None = None,
    clusters: Clusters | None = None,
    recommended: Recommended | None = None,
    unusable: str | None = None,
    quality: QualityRecord = NO_PROBLEMS,
    drift: DriftRecord = UNKNOWN_DRIFT,
    analysed: AnalysedRecord = AS_RECORDED,
    arrays: dict[str, np.ndarray] | None = None,
    **facts: Any,
) -> Decision:
    """A decision with its record and arrays; `facts` are further fields of the record."""
    outcome, explanation = explain(found, recommended, unusable, config.rule, config.walls, quality, drift, analysed, scan.frame)
    found = found or SearchResult()
    record = DecisionRecord(
        decision_id=decision_id,
        scan_id=scan.scan_id,
        sample_id=scan.sample_id,
        channel=channel,
        unit=scan.units.get(channel, ""),
        frame=scan.frame,
        outcome=outcome,
        explanation=explanation,
        chosen=found.chosen.candidate_id if found.chosen else None,
        config=config.model_dump(mode="json"),
        versions=versions(),
        common_points=found.common_points,
        rungs=list(found.rungs),
        ended_early=found.ended_early,
        warm_from=found.warm_from,
        warm_scans=found.warm_scans,
        cold_because=found.cold_because,
        verified=list(found.verified),
        faults=list(found.faults),
        configurations=list(found.configurations),
        candidates=[_candidate_record(c) for c in found.candidates],
        clusters=clusters.records if clusters else [],
        requests=list(recommended.requests) if recommended else [],
        quality=quality,
        drift=drift,
        analysed=analysed,
        **(_NO_POINTS | facts),
    )
    return Decision(record, arrays or {})


_NO_POINTS: dict[str, Any] = {
    "keypoints_found": 0,
    "keypoints_used": 0,
    "keypoints_dropped": {},
    "points_measured_before": 0,
}


def quality_record(quality: Quality | None) -> QualityRecord:
    """Record of a quality inspection; without problems if none was made."""
    if quality is None:
        return QualityRecord()
    problems = [ProblemRecord(name=p.name, action=p.action, sentence=p.sentence) for p in quality.problems]
    return QualityRecord(problems=problems, sharpness=quality.sharpness, content=quality.content)


def _candidate_record(candidate: Candidate) -> CandidateRecord:
    r = candidate.representation
    return CandidateRecord(
        candidate_id=candidate.candidate_id,
        window_px=r.window_px,
        invariance=r.invariance,
        variant=candidate.configuration.variant,
        keypoints=candidate.configuration.keypoints,
        channels=candidate.configuration.channels,
        steps=candidate.steps,
        points=len(r.z),
        latent_dim=r.z.shape[1],
        beta=candidate.spec.kl_weight,
        seed=candidate.seed,
        elbo_per_px=r.elbo_per_px,
        reconstruction_per_px=r.reconstruction_per_px,
        survivors=int(candidate.kept.sum()),
        guarded_out=candidate.guarded_out,
        value=candidate.score.value if candidate.score else None,
        metrics=dict(candidate.score.metrics) if candidate.score else {},
    )


def kept_arrays(points_rc: np.ndarray, found: SearchResult, clusters: Clusters | None, config: Config) -> dict[str, np.ndarray]:
    """Arrays stored with a decision: points, latents of all candidates, clusters, and weights for the next warm start."""
    arrays = {"points_rc": points_rc.astype(np.int32), "latents": _padded([c.representation.z for c in found.candidates])}
    if clusters is not None:
        core = np.zeros(len(points_rc), dtype=np.int32)
        core[np.concatenate(clusters.cores)] = 1
        arrays |= {
            "z": clusters.z.astype(np.float32),
            "labels": clusters.labels.astype(np.int32),
            "core": core,
            "core_distance": clusters.distance.astype(np.float64),
        }
    wanted = {c.name for c in worth_trying(list(found.configurations), config)} if config.warm.enabled else set()
    for c in found.candidates:
        if c.configuration.name in wanted and c.guarded_out is None and c.state is not None:
            arrays[f"{WEIGHTS}{c.candidate_id}"] = c.state
    return arrays


def _padded(latents: list[np.ndarray]) -> np.ndarray:
    """Latents in one array, shape (candidates, largest n, largest d), padded with zeros."""
    points, dims = max((len(z) for z in latents), default=0), max((z.shape[1] for z in latents), default=0)
    out = np.zeros((len(latents), points, dims), dtype=np.float32)
    for padded, z in zip(out, latents, strict=True):
        padded[: len(z), : z.shape[1]] = z
    return out
