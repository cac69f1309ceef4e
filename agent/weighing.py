"""Measured results weighed against the reward: what a candidate is worth once its clusters can be held against loops."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from agent.candidates import Candidate
from rewards.base import MeasuredResults, Score
from rewards.evidence import EvidenceSettings, blended, evidence_weight, predicted_share


def weighed(candidates: Sequence[Candidate], results: MeasuredResults | None, settings: EvidenceSettings) -> list[Candidate]:
    """The candidates, those with a score worth what reward and results together say of them.

    Each trained model or resample is held against the results by itself, so that a configuration's spread over seeds is one of
    both. The value becomes the blend; the metrics keep what it was worth before ("intrinsic"), the leave-one-out R²
    ("R2_results"), on how many results it rests ("results_used") and what it weighs ("evidence_weight").

    Parameters
    ----------
    candidates
        All that are compared with each other; those without a score stay as they are.
    results
        Near to key points; without any, nothing changes.
    settings
        From how many results on they count, and how much.
    """
    scored = [(i, c.score, c.score.mixture) for i, c in enumerate(candidates) if c.score is not None]
    if results is None or not len(results.values) or not scored:
        return list(candidates)
    count = len(results.values)
    weight = evidence_weight(count, settings)
    r2 = [predicted_share(candidates[i].representation, mixture, results) if mixture else 0.0 for i, _, mixture in scored]
    values = blended(np.array([score.value for _, score, _ in scored]), np.array(r2), weight)
    out = list(candidates)
    for (i, score, _), one, value in zip(scored, r2, values, strict=True):
        said = {"intrinsic": score.value, "R2_results": one, "results_used": float(count), "evidence_weight": weight}
        out[i] = replace(out[i], score=Score(float(value), {**score.metrics, **said}, score.mixture))
    return out
