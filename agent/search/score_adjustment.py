"""Adjusts scores: combines several criteria in place of the reward, and blends in the evidence of measured results."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from agent.config.decision_rule import RuleSettings
from agent.errors import ConfigError
from agent.search.candidates import Candidate
from rewards.base import MeasuredResults, Score
from rewards.composite import criteria_table, pareto_ranks, rank_sum, weighted_sum
from rewards.evidence import EvidenceSettings, blended, evidence_weight, predicted_share


def with_criteria(candidates: Sequence[Candidate], rule: RuleSettings) -> list[Candidate]:
    """Candidates whose value is the combination of `rule.criteria`; the metric "reward" keeps the reward's own value.

    Raises
    ------
    ConfigError
        If no candidate has one of the metrics, or if it is unknown whether larger or smaller is better.
    """
    scored = [c for c in candidates if c.score is not None]
    if not rule.criteria or not scored:
        return list(candidates)
    metrics = [dict(c.score.metrics) | {"value": c.score.value} for c in scored if c.score]
    try:
        combined = combined_criteria(metrics, rule)
    except ValueError as error:
        raise ConfigError(f"'rule.criteria': {error}") from error
    values = {id(c): float(value) for c, value in zip(scored, combined, strict=True)}
    return [_with_value(c, values[id(c)]) if id(c) in values else c for c in candidates]


def combined_criteria(metrics: Sequence[Mapping[str, float]], rule: RuleSettings) -> Float[np.ndarray, " n"]:
    """Combination of each candidate's criteria by `rule.combine`.

    - "rank_sum": weighted mean over criteria of the candidate's rank, as a share of the number of candidates.
    - "weighted_sum": weighted mean of the standardised criteria.
    - "pareto": minus the index of its layer of the Pareto front (0 for the front itself), plus the rank sum, which is at most 1
      and so only orders candidates within a layer. Weights do not change the front.
    """
    names = ["+value" if name == "value" else name for name in rule.criteria]
    weights = np.array(list(rule.criteria.values())) / sum(rule.criteria.values())
    table = criteria_table(metrics, names)
    if rule.combine == "weighted_sum":
        return weighted_sum(table, weights.tolist())
    ranks = np.stack([rank_sum(table[:, [j]]) for j in range(len(names))], axis=1) / len(table)
    rank_sums = np.asarray(ranks @ weights)
    return rank_sums if rule.combine == "rank_sum" else rank_sums - pareto_ranks(table)


def _with_value(candidate: Candidate, value: float) -> Candidate:
    assert candidate.score is not None
    metrics = dict(candidate.score.metrics) | {"reward": candidate.score.value}
    return replace(candidate, score=replace(candidate.score, value=value, metrics=metrics))


def with_evidence(
    candidates: Sequence[Candidate], results: MeasuredResults | None, settings: EvidenceSettings
) -> list[Candidate]:
    """Candidates whose value blends the reward with how well their clusters predict the results.

    Each model or resample is tested by itself, so that the scatter over the seeds of a configuration includes that of the
    prediction. The metrics keep the value before blending ("intrinsic"), the leave-one-out R² ("R2_results"), the number of
    results ("results_used") and their weight ("evidence_weight").

    Parameters
    ----------
    candidates
        All candidates that are compared; those without a score are unchanged.
    results
        Results near key points; without any, nothing changes.
    settings
        Smallest number of results that count, and their weight.
    """
    scored = [(i, c.score, c.score.mixture) for i, c in enumerate(candidates) if c.score is not None]
    if results is None or not len(results.values) or not scored:
        return list(candidates)
    count = len(results.values)
    weight = evidence_weight(count, settings)
    r2 = [predicted_share(candidates[i].representation, mixture, results) if mixture else 0.0 for i, _, mixture in scored]
    values = blended(np.array([score.value for _, score, _ in scored]), np.array(r2), weight)
    out = list(candidates)
    for (i, score, _), own_r2, value in zip(scored, r2, values, strict=True):
        evidence = {"intrinsic": score.value, "R2_results": own_r2, "results_used": float(count), "evidence_weight": weight}
        out[i] = replace(out[i], score=Score(float(value), {**score.metrics, **evidence}, score.mixture))
    return out
