"""A decision in words that a microscopist can check."""

from agent.config.decision_rule import DEFAULT_RULE, RuleSettings
from agent.recommendation.place_selection import Recommended
from agent.schema.decision import ConfigurationRecord, DriftRecord, Outcome, QualityRecord
from agent.schema.model_kinds import GEOMETRIC_LATENTS, label
from agent.search.search import SearchResult

_TIES_NAMED = 3
_NOTHING_IN_TIME = (
    "Nothing to recommend: the deadline passed before anything was represented; allow more time, or fewer candidates."
)


SOUND = QualityRecord()
UNKNOWN = DriftRecord()
_FORBIDDING = ("skip", "rescan")
_LEFT_OUT = "; they were left out"


def explain(
    found: SearchResult | None,
    places: Recommended | None,
    unusable: str | None,
    rule: RuleSettings = DEFAULT_RULE,
    quality: QualityRecord = SOUND,
    drift: DriftRecord = UNKNOWN,
) -> tuple[Outcome, str]:
    """The outcome and its explanation."""
    if any(p.action in _FORBIDDING for p in quality.problems):
        return "bad_scan", _bad_scan(quality)
    outcome, said = _explain(found, places, unusable, rule)
    warnings = " ".join(f"Mind: {p.sentence}{_LEFT_OUT if p.action == 'mask' else ''}." for p in quality.problems)
    return outcome, " ".join(part for part in (said, _drift(drift), warnings) if part)


def _explain(
    found: SearchResult | None, places: Recommended | None, unusable: str | None, rule: RuleSettings
) -> tuple[Outcome, str]:
    if unusable is not None:
        return "not_resolvable", f"Nothing to recommend: {unusable}."
    if found is None or found.chosen is None or places is None:
        reasons = sorted({c.guarded_out.split(":")[0] for c in found.candidates if c.guarded_out}) if found else []
        if found and found.ended_early and not found.candidates:
            return "not_resolvable", _NOTHING_IN_TIME
        if found and found.finding == "continuum":
            return "not_resolvable", " ".join([*found.faults, _continuum(found)])
        faults = " ".join(found.faults) if found else ""
        trusted = f"no candidate can be trusted ({', '.join(reasons) or 'none was trained'})."
        return "not_resolvable", f"{faults} Nothing to recommend: {trusted}".strip()
    chosen = next(c for c in found.configurations if c.name == found.chosen.configuration.name)
    sentences = [
        *found.faults,
        _one_type(chosen, found, rule) if found.finding == "one_type" else _chosen(chosen, found),
        _ties(chosen, found, rule),
        _next_best(found),
        _unresolving(found),
        _results(chosen, found),
        _guarded(found),
        _effort(found),
        _places(places),
    ]
    types = found.chosen.score.mixture.n_components if found.chosen.score and found.chosen.score.mixture else 0
    outcome: Outcome = "one_type_only" if types == 1 or found.finding == "one_type" else "types_found"
    return outcome, " ".join(s for s in sentences if s)


def _drift(drift: DriftRecord) -> str:
    """How fast, where it is known; places were moved accordingly."""
    if drift.nm_per_min is None:
        return ""
    return f"The tip drifts by {drift.nm_per_min:.1f} nm/min; places are moved ahead accordingly."


def _bad_scan(quality: QualityRecord) -> str:
    """Why nothing is recommended, and what is to be done."""
    said = "; ".join(p.sentence for p in quality.problems if p.action in _FORBIDDING)
    look = any(p.action == "skip" for p in quality.problems)
    todo = "Look at the instrument before the next scan." if look else "Scan again."
    return f"Nothing to recommend, the scan is not fit for a decision: {said}. {todo}"


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


def _one_type(chosen: ConfigurationRecord, found: SearchResult, rule: RuleSettings) -> str:
    """The evidence against more than one type."""
    best = _most_informative(found)
    why = (
        f"what clusters say of their neighbourhood, orientation aside, is at most {best.information or 0.0:.3f} nats "
        f"({_name(best)}); types are claimed from {rule.least_information:g} on"
    )
    split = f" A mixture splits the latents of {_name(chosen)} into {chosen.types} clusters, but that is no evidence of types."
    return f"One type only: {why}.{split if chosen.types > 1 else ''}"


def _continuum(found: SearchResult) -> str:
    best = _most_informative(found)
    return (
        f"Nothing to recommend: the scan varies from place to place ({best.information or 0.0:.3f} nats of spatial information, "
        f"{_name(best)}), but as a continuum and not in groups: ICL prefers one Gaussian to several. Where to cut it is a choice "
        "that the data do not make; rule.groups = false makes it all the same."
    )


def _most_informative(found: SearchResult) -> ConfigurationRecord:
    return max(found.configurations, key=lambda c: c.information or 0.0)


def _ties(chosen: ConfigurationRecord, found: SearchResult, rule: RuleSettings) -> str:
    if found.finding == "one_type":
        return ""
    others = [c for c in found.configurations if c.in_tie_set and c is not chosen]
    if not others:
        return "It stands alone: no other configuration lies within noise of it."
    named = "; ".join(f"{_name(c)} ({c.mean:.3f})" for c in others[:_TIES_NAMED])
    more = f" and {len(others) - _TIES_NAMED} more" if len(others) > _TIES_NAMED else ""
    which = "the best of them" if rule.pick == "best" else "the most parsimonious of them"
    return f"It ties, within {rule.tie_sigmas:g} σ of the best, with {named}{more}, and is {which}."


def _next_best(found: SearchResult) -> str:
    rest = [c for c in found.configurations if not c.in_tie_set and c.resolves]
    if not rest or found.finding == "one_type":
        return ""
    below = rest[0].sigmas_below_best
    unknown = "noise unknown with one seed" if all(c.seeds == 1 for c in found.configurations) else "with no spread over seeds"
    distance = unknown if below is None else f"{below:.1f} σ below the best"
    return f"Next best is {_name(rest[0])}, {distance}."


def _unresolving(found: SearchResult) -> str:
    """Configurations that stood back, where others show types."""
    out = [c for c in found.configurations if not c.resolves]
    if found.finding == "one_type" or not out:
        return ""
    silent = sum(not c.informs for c in out)
    reasons = [
        f"{silent} because their clusters say too little of their neighbourhood" if silent else "",
        f"{len(out) - silent} because their clusters are no groups" if silent < len(out) else "",
    ]
    named = ", ".join(r for r in reasons if r)
    return f"{_plural(len(out), 'configuration')} of {len(found.configurations)} stood back: {named}."


def _results(chosen: ConfigurationRecord, found: SearchResult) -> str:
    """What measured results said, where they weighed."""
    metrics = next((c.score.metrics for c in found.candidates if c.score and c.configuration.name == chosen.name), {})
    weight = metrics.get("evidence_weight", 0.0)
    if not weight or chosen.explained is None:
        return ""
    n = round(metrics["results_used"])
    return (
        f"{n} results weighed {weight:.0%} in the choice: its clusters predict {max(chosen.explained, 0):.0%} of their variance."
    )


def _guarded(found: SearchResult) -> str:
    out = [c for c in found.candidates if c.guarded_out]
    if not out:
        return ""
    reasons = sorted({str(c.guarded_out).split(":")[0] for c in out})
    return f"{len(out)} of {len(found.candidates)} candidates were left out ({', '.join(reasons)})."


def _effort(found: SearchResult) -> str:
    """What was not done in full."""
    parts = []
    if found.ended_early:
        parts.append(f"The deadline ended the search; this is the state after: {', '.join(found.rungs)}.")
    if found.warm_from:
        deeper = ", a deeper search made while nothing waited" if found.warm_deep else ""
        parts.append(f"Training went on from the models of decision {found.warm_from}{deeper}.")
    for v in found.verified:
        if v.elbo_per_px is not None and v.exact_elbo_per_px is not None:
            agree = "" if v.agreement is None else f", and its clusters agree to {v.agreement:.2f} (adjusted Rand index)"
            gain = v.exact_elbo_per_px - v.elbo_per_px
            parts.append(f"The exact decoder, on {v.configuration}, differs by {gain:+.4f} nats a pixel in held-out ELBO{agree}.")
    return " ".join(parts)


def _places(places: Recommended) -> str:
    if not places.requests:
        why = ", ".join(f"{n} {reason}" for reason, n in places.passed_over.items() if n) or "no core points"
        return f"No place is left to recommend: {why}."
    clusters = len({r.cluster for r in places.requests})
    beyond = f", {places.beyond_core} of them beyond the core points" if places.beyond_core else ""
    passed = ", ".join(f"{n} {reason}" for reason, n in places.passed_over.items() if n)
    what = f"{_plural(len(places.requests), 'place')} in {_plural(clusters, 'cluster')} recommended{beyond}."
    return f"{what} Core points passed over: {passed}." if passed else what
