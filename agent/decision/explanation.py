"""Explains a decision in sentences that a microscopist can check."""

from agent.config.decision_rule import DEFAULT_RULE, RuleSettings
from agent.config.scan import DEFAULT_WALLS, WallSection
from agent.recommendation.place_selection import Recommended
from agent.schema.decision import AnalysedRecord, ConfigurationRecord, DriftRecord, Outcome, QualityRecord
from agent.schema.model_kinds import GEOMETRIC_LATENTS, label
from agent.schema.wording import analysed_sentence
from agent.search.search import SearchResult
from instrument_adapters.geometry import Frame

_TIES_NAMED = 3
_NOTHING_IN_TIME = (
    "Nothing to recommend: the deadline passed before any candidate was finished. Allow more time (search.deadline_s) or fewer "
    "candidates."
)
NO_PROBLEMS = QualityRecord()
UNKNOWN_DRIFT = DriftRecord()
AS_RECORDED = AnalysedRecord()
_PREVENT_DECISION = ("skip", "rescan")
_MASKED = "; these lines were masked"


def explain(
    found: SearchResult | None,
    recommended: Recommended | None,
    unusable: str | None,
    rule: RuleSettings = DEFAULT_RULE,
    walls: WallSection = DEFAULT_WALLS,
    quality: QualityRecord = NO_PROBLEMS,
    drift: DriftRecord = UNKNOWN_DRIFT,
    analysed: AnalysedRecord = AS_RECORDED,
    frame: Frame | None = None,
) -> tuple[Outcome, str]:
    """The outcome of a search and its explanation, with warnings about the scan."""
    if any(p.action in _PREVENT_DECISION for p in quality.problems):
        return "bad_scan", _bad_scan(quality)
    outcome, result = _explain(found, recommended, unusable, rule, walls)
    warnings = " ".join(f"Warning: {p.sentence}{_MASKED if p.action == 'mask' else ''}." for p in quality.problems)
    return outcome, " ".join(part for part in (result, _drift(drift), analysed_sentence(analysed, frame), warnings) if part)


def _explain(
    found: SearchResult | None,
    recommended: Recommended | None,
    unusable: str | None,
    rule: RuleSettings,
    walls: WallSection,
) -> tuple[Outcome, str]:
    if unusable is not None:
        return "not_resolvable", f"Nothing to recommend: {unusable}."
    if found is None or found.chosen is None or recommended is None:
        reasons = sorted({c.guarded_out.split(":")[0] for c in found.candidates if c.guarded_out}) if found else []
        if found and found.ended_early and not found.candidates:
            return "not_resolvable", _NOTHING_IN_TIME
        if found and found.finding == "continuum":
            return "not_resolvable", " ".join([*found.faults, _continuum(found)])
        faults = " ".join(found.faults) if found else ""
        ineligible = f"no candidate is eligible ({', '.join(reasons) or 'none was trained'})."
        return "not_resolvable", f"{faults} Nothing to recommend: {ineligible}".strip()
    chosen = next(c for c in found.configurations if c.name == found.chosen.configuration.name)
    sentences = [
        *found.faults,
        _one_type(chosen, found, rule, walls) if found.finding == "one_type" else _chosen(chosen, found),
        _ties(chosen, found, rule),
        _next_best(found),
        _without_types(found, rule),
        _results(chosen, found),
        _rejected(found),
        _effort(found),
        _recommended_line(recommended),
    ]
    types = found.chosen.score.mixture.n_components if found.chosen.score and found.chosen.score.mixture else 0
    outcome: Outcome = "one_type_only" if types == 1 or found.finding == "one_type" else "types_found"
    return outcome, " ".join(s for s in sentences if s)


def _drift(drift: DriftRecord) -> str:
    """Speed of the drift, if known."""
    if drift.nm_per_min is None:
        return ""
    return f"The tip drifts by {drift.nm_per_min:.1f} nm/min; the targets are corrected for it."


def _bad_scan(quality: QualityRecord) -> str:
    """Why nothing is recommended on a bad scan, and what the operator should do."""
    problems = "; ".join(p.sentence for p in quality.problems if p.action in _PREVENT_DECISION)
    check = any(p.action == "skip" for p in quality.problems)
    advice = "Check the instrument before the next scan." if check else "Record a new scan."
    return f"Nothing to recommend: the scan failed the quality gate ({problems}). {advice}"


def _name(configuration: ConfigurationRecord) -> str:
    return f"{label(configuration.invariance, configuration.variant)}, window {configuration.window_px} px"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _chosen(chosen: ConfigurationRecord, found: SearchResult) -> str:
    mixture = found.chosen.score.mixture if found.chosen and found.chosen.score else None
    types = mixture.n_components if mixture else 0
    spread = "" if chosen.std is None else f" ± {chosen.std:.3f}"
    seeds = _plural(chosen.seeds, "resample" if chosen.invariance not in GEOMETRIC_LATENTS else "seed")
    return f"{_name(chosen)}: {_plural(types, 'type')}; reward {chosen.mean:.3f}{spread} over {seeds}."


def _one_type(chosen: ConfigurationRecord, found: SearchResult, rule: RuleSettings, walls: WallSection) -> str:
    """Why no configuration shows evidence for more than one type."""
    best = _most_informative(found)
    why = (
        f"too little spatial structure for several types. MI_rot is at most {best.information or 0.0:.3f} nats "
        f"({_name(best)}); types require at least {rule.least_information:g} nats"
    )
    if (constant := _most_constant(found)) is not None:
        why = (
            f"the clusters are no types. Along walls they carry at most {constant.along_walls or 0.0:.2f} nats of information "
            f"({_name(constant)}), where types require at least {walls.least_information:g} nats, and separate groups (a gain in "
            f"ICL of {walls.least_separation:g} nats per point, half of it if MI_rot is at least {rule.least_information:g} nats)"
        )
    split = f" The mixture of {_name(chosen)} has {chosen.types} clusters, but clusters alone are no evidence for types."
    return f"One type only: {why}.{split if chosen.types > 1 else ''}"


def _continuum(found: SearchResult) -> str:
    best = _most_informative(found)
    return (
        f"Nothing to recommend: the scan has spatial structure (MI_rot {best.information or 0.0:.3f} nats, {_name(best)}), but "
        f"varies as a continuum without separate groups: {_unseparated(best)}, so any boundary between types would "
        "be arbitrary. Set rule.groups = false to divide it all the same."
    )


def _unseparated(best: ConfigurationRecord) -> str:
    """What ICL says of clusters that are no separate groups; on walls, it may prefer several Gaussians by a little."""
    gain = best.icl_gain or 0.0
    if gain > 0:
        return f"ICL gains only {gain:.1f} nats per point by several Gaussians"
    return "ICL prefers one Gaussian to several"


def _most_constant(found: SearchResult) -> ConfigurationRecord | None:
    """The configuration with the most information along walls; None without walls."""
    known = [c for c in found.configurations if c.along_walls is not None and c.along_walls == c.along_walls]
    return max(known, key=lambda c: c.along_walls or 0.0, default=None)


def _most_informative(found: SearchResult) -> ConfigurationRecord:
    return max(found.configurations, key=lambda c: c.information or 0.0)


def _ties(chosen: ConfigurationRecord, found: SearchResult, rule: RuleSettings) -> str:
    if found.finding == "one_type":
        return ""
    others = [c for c in found.configurations if c.in_tie_set and c is not chosen]
    if not others:
        return "No other configuration ties with it."
    named = "; ".join(f"{_name(c)} ({c.mean:.3f})" for c in others[:_TIES_NAMED])
    more = f" and {len(others) - _TIES_NAMED} more" if len(others) > _TIES_NAMED else ""
    which = "has the largest reward of them" if rule.pick == "best" else "is the most parsimonious of them"
    tied = f"{len(others) + 1} of {_plural(len(found.configurations), 'configuration')}"
    return f"{tied} tie for best (within {rule.tie_sigmas:g} σ), and it {which}; the others are {named}{more}."


def _next_best(found: SearchResult) -> str:
    rest = [c for c in found.configurations if not c.in_tie_set and c.resolves]
    if not rest or found.finding == "one_type":
        return ""
    below = rest[0].sigmas_below_best
    single = all(c.seeds == 1 for c in found.configurations)
    unknown = "the noise is unknown with a single seed" if single else "the rewards do not vary between seeds"
    return f"Next best is {_name(rest[0])}{f'; {unknown}' if below is None else f', {below:.1f} σ below the best'}."


def _without_types(found: SearchResult, rule: RuleSettings) -> str:
    """Configurations that were rejected for lack of evidence for types, while others show types."""
    out = [c for c in found.configurations if not c.resolves]
    if found.finding == "one_type" or not out:
        return ""
    weak = sum(not c.informs for c in out)
    reasons = [
        f"{weak} with too little spatial structure (MI_rot below {rule.least_information:g} nats)" if weak else "",
        f"{len(out) - weak} without separate groups (ICL prefers one Gaussian)" if weak < len(out) else "",
    ]
    if _most_constant(found) is not None:
        reasons = ["too little information along walls, or no separate groups"]
    named = ", ".join(r for r in reasons if r)
    rejected = "was rejected" if len(out) == 1 else "were rejected"
    return f"{len(out)} of {_plural(len(found.configurations), 'configuration')} {rejected}: {named}."


def _results(chosen: ConfigurationRecord, found: SearchResult) -> str:
    """Weight of the measured results in the choice, and how well the clusters predict them."""
    metrics = next((c.score.metrics for c in found.candidates if c.score and c.configuration.name == chosen.name), {})
    weight = metrics.get("evidence_weight", 0.0)
    if not weight or chosen.explained is None:
        return ""
    n = round(metrics["results_used"])
    return (
        f"{_plural(n, 'measured result')} had a weight of {weight:.0%} in the choice; the clusters predict "
        f"{max(chosen.explained, 0):.0%} of their variance."
    )


def _rejected(found: SearchResult) -> str:
    out = [c for c in found.candidates if c.guarded_out]
    if not out:
        return ""
    reasons = sorted({str(c.guarded_out).split(":")[0] for c in out})
    rejected = "was rejected" if len(out) == 1 else "were rejected"
    return f"{len(out)} of {_plural(len(found.candidates), 'candidate')} {rejected} by the guards ({', '.join(reasons)})."


def _effort(found: SearchResult) -> str:
    """Early end, warm start and verification of the search."""
    parts = []
    if found.ended_early:
        parts.append(f"The deadline ended the search; completed rungs: {', '.join(found.rungs)}.")
    if found.warm_from:
        deeper = ", a deeper search made while no scan waited" if found.warm_deep else ""
        parts.append(f"Warm start from the models of decision {found.warm_from}{deeper}.")
    for v in found.verified:
        if v.elbo_per_px is not None and v.exact_elbo_per_px is not None:
            agree = "" if v.agreement is None else f"; the clusters agree with an adjusted Rand index of {v.agreement:.2f}"
            gain = v.exact_elbo_per_px - v.elbo_per_px
            parts.append(f"With the exact decoder, the held-out ELBO of {v.configuration} changes by {gain:+.4f} nats/px{agree}.")
    return " ".join(parts)


def _recommended_line(recommended: Recommended) -> str:
    if not recommended.requests:
        why = ", ".join(f"{n} {reason}" for reason, n in recommended.passed_over.items() if n) or "no core points"
        return f"No target is left to recommend: {why}."
    clusters = len({r.cluster for r in recommended.requests})
    beyond = f", {recommended.beyond_core} of them beyond the core points" if recommended.beyond_core else ""
    passed = ", ".join(f"{n} {reason}" for reason, n in recommended.passed_over.items() if n)
    what = f"{_plural(len(recommended.requests), 'target')} in {_plural(clusters, 'cluster')} recommended{beyond}."
    return f"{what} Core points passed over: {passed}." if passed else what
