"""A decision in words that a microscopist can check."""

from agent.comparison import TIE_SIGMAS
from agent.decision import ConfigurationRecord, Outcome
from agent.recommend import Recommended
from agent.search import SearchResult
from agent.workflow.kinds import GEOMETRIC_LATENTS, label

_TIES_NAMED = 3
_NOTHING_IN_TIME = (
    "Nothing to recommend: the deadline passed before anything was represented; allow more time, or fewer candidates."
)


def explain(found: SearchResult | None, places: Recommended | None, unusable: str | None) -> tuple[Outcome, str]:
    """The outcome and its explanation."""
    if unusable is not None:
        return "not_resolvable", f"Nothing to recommend: {unusable}."
    if found is None or found.chosen is None or places is None:
        reasons = sorted({c.guarded_out.split(":")[0] for c in found.candidates if c.guarded_out}) if found else []
        if found and found.ended_early and not found.candidates:
            return "not_resolvable", _NOTHING_IN_TIME
        return (
            "not_resolvable",
            f"Nothing to recommend: no candidate can be trusted ({', '.join(reasons) or 'none was trained'}).",
        )
    chosen = next(c for c in found.configurations if c.name == found.chosen.configuration.name)
    sentences = [
        _chosen(chosen, found),
        _ties(chosen, found),
        _next_best(found),
        _guarded(found),
        _effort(found),
        _places(places),
    ]
    types = found.chosen.score.mixture.n_components if found.chosen.score and found.chosen.score.mixture else 0
    outcome: Outcome = "one_type_only" if types == 1 else "types_found"
    return outcome, " ".join(s for s in sentences if s)


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


def _ties(chosen: ConfigurationRecord, found: SearchResult) -> str:
    others = [c for c in found.configurations if c.in_tie_set and c is not chosen]
    if not others:
        return "It stands alone: no other configuration lies within noise of it."
    named = "; ".join(f"{_name(c)} ({c.mean:.3f})" for c in others[:_TIES_NAMED])
    more = f" and {len(others) - _TIES_NAMED} more" if len(others) > _TIES_NAMED else ""
    return f"It ties, within {TIE_SIGMAS:g} σ of the best, with {named}{more}, and is the most parsimonious of them."


def _next_best(found: SearchResult) -> str:
    rest = [c for c in found.configurations if not c.in_tie_set]
    if not rest:
        return ""
    below = rest[0].sigmas_below_best
    unknown = "noise unknown with one seed" if all(c.seeds == 1 for c in found.configurations) else "with no spread over seeds"
    distance = unknown if below is None else f"{below:.1f} σ below the best"
    return f"Next best is {_name(rest[0])}, {distance}."


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
        parts.append(f"Training went on from the models of decision {found.warm_from}.")
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
    return f"{_plural(len(places.requests), 'place')} in {_plural(clusters, 'cluster')} recommended, the most typical first."
