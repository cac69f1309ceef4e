"""Ranks configurations by mean reward, finds those that tie with the best, and chooses the most parsimonious of them.

Configurations are compared by their mean reward over seeds. If any configuration shows evidence for types
(`agent.search.type_evidence`), those that show none are not eligible. Configurations within two standard errors of the best tie
with it. Of these the most parsimonious is chosen: plain families before VAEs, then fewest types, fewest geometric latents, and
the smallest window. Of the seeds of a VAE, the one with the best held-out ELBO is used, since the reward of a single seed is
mostly training noise. Resamples of a plain family have no ELBO and no such noise; the one with the largest reward is used.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from agent.config.decision_rule import DEFAULT_RULE, RuleSettings
from agent.config.scan import DEFAULT_WALLS, WallSection
from agent.schema.decision import ConfigurationRecord
from agent.schema.model_kinds import GEOMETRIC_LATENTS, WALL_COHERENT
from agent.search.candidates import Candidate, Configuration
from agent.search.type_evidence import evidence


def compare(
    candidates: Sequence[Candidate], rule: RuleSettings = DEFAULT_RULE, walls: WallSection = DEFAULT_WALLS
) -> list[ConfigurationRecord]:
    """Mean reward of each configuration over its seeds, and whether it ties with the best; best first.

    The standard deviation over seeds is pooled over configurations, since three seeds are too few to estimate it. It is pooled
    separately over VAEs and over plain families, which scatter much less. σ of a difference of means is
    sqrt(s_a²/n_a + s_b²/n_b); with one seed everywhere the standard deviation is unknown, and only equal means tie.
    """
    groups: dict[Configuration, list[Candidate]] = {}
    for c in candidates:
        if c.score is not None:
            groups.setdefault(c.configuration, []).append(c)
    if not groups:
        return []
    values = {key: np.array([c.score.value for c in group if c.score]) for key, group in groups.items()}
    found = {
        key: evidence([c.score for c in group if c.score], rule, walls, projected=key.spec.invariance in WALL_COHERENT)
        for key, group in groups.items()
    }
    eligible = [key for key in groups if found[key].resolves] or list(groups)
    best = max(eligible, key=lambda key: (values[key].mean(), key.spec.window_px, key.name))
    error = _standard_errors(values)
    records = []
    for key, v in values.items():
        below = _sigmas_below(float(values[best].mean() - v.mean()), math.hypot(error[key], error[best]))
        records.append(
            ConfigurationRecord(
                window_px=key.spec.window_px,
                invariance=key.spec.invariance,
                variant=key.variant,
                mean=float(v.mean()),
                std=float(v.std(ddof=1)) if len(v) > 1 else float("nan"),
                seeds=len(v),
                types=int(np.median([c.score.mixture.n_components for c in groups[key] if c.score and c.score.mixture])),
                sigmas_below_best=0.0 if key == best else below,
                in_tie_set=key == best or (key in eligible and below <= rule.tie_sigmas),
                information=found[key].information,
                icl_gain=found[key].icl_gain,
                explained=found[key].explained,
                along_walls=found[key].along_walls,
                informs=found[key].informs,
                resolves=found[key].resolves,
            )
        )
    return sorted(records, key=lambda r: (-r.mean, r.window_px, r.invariance, r.variant))


def choose(
    candidates: Sequence[Candidate], configurations: Sequence[ConfigurationRecord], rule: RuleSettings = DEFAULT_RULE
) -> Candidate | None:
    """The chosen candidate: a seed of the configuration that `rule.pick` selects from the tie set; None without scores."""
    tied = [c for c in configurations if c.in_tie_set]
    if not tied:
        return None
    picked = tied[0] if rule.pick == "best" else min(tied, key=_parsimony)
    seeds = [c for c in candidates if c.score and c.configuration.name == picked.name]
    return max(seeds, key=lambda c: (c.representation.elbo_per_px if c.representation.trained else _value(c), -c.seed))


def _value(c: Candidate) -> float:
    return c.score.value if c.score else -math.inf


def _parsimony(c: ConfigurationRecord) -> tuple[object, ...]:
    # A plain family has no weights to train, so it counts as simpler than any VAE, even one with fewer types: with few seeds the
    # standard error is large, and a VAE with a coarse partition easily ties.
    trained = c.invariance in GEOMETRIC_LATENTS
    return trained, c.types, GEOMETRIC_LATENTS.get(c.invariance, 0), c.window_px, c.invariance, c.variant


def _standard_errors(values: Mapping[Configuration, np.ndarray]) -> dict[Configuration, float]:
    pooled = {trained: _pooled([v for k, v in values.items() if k.trained == trained]) for trained in (True, False)}
    return {key: pooled[key.trained] / math.sqrt(len(v)) for key, v in values.items()}


def _sigmas_below(gap: float, sigma: float) -> float:
    """Distance from the best in standard errors; negative for a configuration that scores higher but shows no types."""
    if sigma > 0:
        return gap / sigma
    return math.copysign(math.inf, gap) if gap else 0.0


def _pooled(values: Sequence[np.ndarray]) -> float:
    """Pooled standard deviation within groups; 0 if no group has two values."""
    freedom = sum(len(v) - 1 for v in values)
    return float(np.sqrt(sum(((v - v.mean()) ** 2).sum() for v in values) / freedom)) if freedom else 0.0
