"""The candidates of a decision: a board of configurations, every seed, and the front of two criteria."""

import numpy as np

from agent.dashboard.models import ConfigurationView, FrontView, SeedView
from agent.reporting.figures.units import CRITERIA
from agent.schema.decision import CandidateRecord, ConfigurationRecord, DecisionRecord, configuration_name
from agent.schema.model_kinds import label
from rewards.composite import criteria_table, pareto_front
from rewards.metrics import bare, higher_is_better

Kind = tuple[str, str]
_LABELS = {
    "bic_gain_per_d": "BIC gain over one Gaussian per latent (nats a point)",
    "NMI_rot": "NMI, information on the neighbourhood",
}


def kinds_of(record: DecisionRecord) -> list[Kind]:
    """Kinds of representation, in the order in which the figures colour them."""
    return list(dict.fromkeys((c.invariance, c.variant) for c in record.candidates))


def board(record: DecisionRecord) -> list[ConfigurationView]:
    """Compared configurations, the best first, then those of which nothing was trusted, with the reasons."""
    kinds, chosen = kinds_of(record), _chosen_name(record)
    lines = [_compared(c, record, kinds, chosen) for c in record.configurations]
    compared = {line.name for line in lines}
    groups: dict[str, list[CandidateRecord]] = {}
    for c in record.candidates:
        if (name := _name(c)) not in compared:
            groups.setdefault(name, []).append(c)
    return lines + [_left_out(name, group, kinds) for name, group in groups.items()]


def seeds(record: DecisionRecord) -> list[SeedView]:
    """Every trained model that was not guarded out."""
    kinds = kinds_of(record)
    x, y = (bare(c) for c in CRITERIA)
    out = []
    for c in record.candidates:
        across, up = c.metrics.get(x), c.metrics.get(y)
        out.append(
            SeedView(
                name=_name(c),
                kind=kinds.index((c.invariance, c.variant)),
                window_px=c.window_px,
                seed=c.seed,
                value=None if c.guarded_out else c.value,
                criteria=(across, up) if across is not None and up is not None and not c.guarded_out else None,
            )
        )
    return out


def front(record: DecisionRecord) -> FrontView | None:
    """Means of the two criteria by configuration, and the front that none of them beats in both; None with fewer than two."""
    groups: dict[str, list[SeedView]] = {}
    for seed in seeds(record):
        if seed.criteria is not None:
            groups.setdefault(seed.name, []).append(seed)
    if len(groups) < 2:
        return None
    names = [bare(c) for c in CRITERIA]
    means = np.array([np.mean([s.criteria for s in group if s.criteria], axis=0) for group in groups.values()])
    table = criteria_table([dict(zip(names, m.tolist(), strict=True)) for m in means], CRITERIA)
    members = np.flatnonzero(pareto_front(table))
    order = members[np.argsort(means[members, 0], kind="stable")]
    return FrontView(
        x_label=_LABELS.get(names[0], names[0]),
        y_label=_LABELS.get(names[1], names[1]),
        x_up=higher_is_better(CRITERIA[0]),
        y_up=higher_is_better(CRITERIA[1]),
        names=list(groups),
        kinds=[group[0].kind for group in groups.values()],
        x=means[:, 0].tolist(),
        y=means[:, 1].tolist(),
        front=[int(i) for i in order],
    )


def _name(c: CandidateRecord) -> str:
    return configuration_name(c.invariance, c.window_px, c.variant)


def _chosen_name(record: DecisionRecord) -> str:
    return next((_name(c) for c in record.candidates if c.candidate_id == record.chosen), "")


def _compared(c: ConfigurationRecord, record: DecisionRecord, kinds: list[Kind], chosen: str) -> ConfigurationView:
    reason = "" if c.resolves else "its clusters are no groups" if c.informs else "says too little of its neighbourhood"
    out = [s.guarded_out for s in record.candidates if _name(s) == c.name and s.guarded_out]
    if not reason and out:
        reason = f"{len(out)} of its seeds: {_short(out[0])}"
    return ConfigurationView(
        name=c.name,
        label=label(c.invariance, c.variant),
        window_px=c.window_px,
        kind=kinds.index((c.invariance, c.variant)) if (c.invariance, c.variant) in kinds else 0,
        mean=c.mean,
        std=c.std,
        seeds=c.seeds,
        types=c.types,
        sigmas_below_best=c.sigmas_below_best,
        in_tie_set=c.in_tie_set,
        chosen=c.name == chosen,
        left_out=reason,
    )


def _left_out(name: str, group: list[CandidateRecord], kinds: list[Kind]) -> ConfigurationView:
    reasons = sorted({_short(c.guarded_out) for c in group if c.guarded_out})
    first = group[0]
    return ConfigurationView(
        name=name,
        label=label(first.invariance, first.variant),
        window_px=first.window_px,
        kind=kinds.index((first.invariance, first.variant)),
        mean=None,
        std=None,
        seeds=len(group),
        types=0,
        sigmas_below_best=None,
        in_tie_set=False,
        chosen=False,
        left_out=", ".join(reasons) or "dropped early",
    )


def _short(reason: str) -> str:
    return reason.split(":")[0]
