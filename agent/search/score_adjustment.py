"""Adjusts scores: several criteria in place of the reward, and measured results weighed against it."""

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
    """The candidates with what `rule` makes of their metrics in place of the reward's own value, which stays as "reward".

    Raises
    ------
    ConfigError
        If a criterion is a metric that no candidate has, or whose direction is not known.
    """
    scored = [c for c in candidates if c.score is not None]
    if not rule.criteria or not scored:
        return list(candidates)
    metrics = [dict(c.score.metrics) | {"value": c.score.value} for c in scored if c.score]
    try:
        worth = combined(metrics, rule)
    except ValueError as error:
        raise ConfigError(f"'rule.criteria': {error}") from error
    values = {id(c): float(value) for c, value in zip(scored, worth, strict=True)}
    return [_valued(c, values[id(c)]) if id(c) in values else c for c in candidates]


def combined(metrics: Sequence[Mapping[str, float]], rule: RuleSettings) -> Float[np.ndarray, " n"]:
    """What each candidate is worth by `rule.combine` of its criteria.

    - "rank_sum": the weighted mean over criteria of the candidate's rank, as a share of the number of candidates.
    - "weighted_sum": the weighted mean of the standardised criteria.
    - "pareto": minus the number of its layer of the front (0 for the front itself), plus the rank sum, which is at most 1 and so
      only orders the members of a layer. Weights do not move the front.
    """
    names = ["+value" if name == "value" else name for name in rule.criteria]
    weights = np.array(list(rule.criteria.values())) / sum(rule.criteria.values())
    table = criteria_table(metrics, names)
    if rule.combine == "weighted_sum":
        return weighted_sum(table, weights.tolist())
    ranks = np.stack([rank_sum(table[:, [j]]) for j in range(len(names))], axis=1) / len(table)
    ordered = np.asarray(ranks @ weights)
    return ordered if rule.combine == "rank_sum" else ordered - pareto_ranks(table)


def _valued(candidate: Candidate, value: float) -> Candidate:
    assert candidate.score is not None
    metrics = dict(candidate.score.metrics) | {"reward": candidate.score.value}
    return replace(candidate, score=replace(candidate.score, value=value, metrics=metrics))


def with_evidence(
    candidates: Sequence[Candidate], results: MeasuredResults | None, settings: EvidenceSettings
) -> list[Candidate]:
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
