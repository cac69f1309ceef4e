"""The candidates of a decision: a table of configurations, every seed, and the Pareto front of two criteria."""

import numpy as np

from agent.dashboard.models import ConfigurationView, FrontView, SeedView
from agent.reporting.figures.units import CRITERIA
from agent.schema.decision import CandidateRecord, ConfigurationRecord, DecisionRecord, configuration_name
from agent.schema.model_kinds import label
from rewards.composite import criteria_table, pareto_front
from rewards.metrics import bare, higher_is_better

Kind = tuple[str, str]
_LABELS = {
    "bic_gain_per_d": "BIC gain over one Gaussian, per latent (nats per point)",
    "NMI_rot": "NMI with the neighbourhood",
}


def kinds_of(record: DecisionRecord) -> list[Kind]:
    """Return the kinds of representation in the order in which the figures colour them."""
    return list(dict.fromkeys((c.invariance, c.variant) for c in record.candidates))


def board(record: DecisionRecord) -> list[ConfigurationView]:
    """Return the compared configurations, best first, then those without an eligible candidate, with the reasons."""
    kinds, chosen = kinds_of(record), _chosen_configuration(record)
    rows = [_compared(c, record, kinds, chosen) for c in record.configurations]
    compared = {row.name for row in rows}
    groups: dict[str, list[CandidateRecord]] = {}
    for c in record.candidates:
        if (name := _name(c)) not in compared:
            groups.setdefault(name, []).append(c)
    return rows + [_rejected(name, group, kinds) for name, group in groups.items()]


def seeds(record: DecisionRecord) -> list[SeedView]:
    """Return the reward of every candidate; None where a guard rejected it."""
    kinds = kinds_of(record)
    return [
        SeedView(
            kind=kinds.index((c.invariance, c.variant)),
            window_px=c.window_px,
            value=None if c.guarded_out else c.value,
        )
        for c in record.candidates
    ]


def front(record: DecisionRecord) -> FrontView | None:
    """Return the mean criteria of each configuration and their Pareto front; None with fewer than two configurations."""
    names = [bare(c) for c in CRITERIA]
    kinds, kind_of = kinds_of(record), {}
    groups: dict[str, list[list[float]]] = {}
    for c in record.candidates:
        values = [value for name in names if (value := c.metrics.get(name)) is not None]
        if not c.guarded_out and len(values) == len(names):
            groups.setdefault(_name(c), []).append(values)
            kind_of[_name(c)] = kinds.index((c.invariance, c.variant))
    if len(groups) < 2:
        return None
    means = np.array([np.mean(group, axis=0) for group in groups.values()])
    table = criteria_table([dict(zip(names, m.tolist(), strict=True)) for m in means], CRITERIA)
    members = np.flatnonzero(pareto_front(table))
    order = members[np.argsort(means[members, 0], kind="stable")]
    return FrontView(
        x_label=_LABELS.get(names[0], names[0]),
        y_label=_LABELS.get(names[1], names[1]),
        x_up=higher_is_better(CRITERIA[0]),
        y_up=higher_is_better(CRITERIA[1]),
        names=list(groups),
        kinds=[kind_of[name] for name in groups],
        x=means[:, 0].tolist(),
        y=means[:, 1].tolist(),
        front=[int(i) for i in order],
    )


def _name(c: CandidateRecord) -> str:
    return configuration_name(c.invariance, c.window_px, c.variant)


def _chosen_configuration(record: DecisionRecord) -> str:
    return next((_name(c) for c in record.candidates if c.candidate_id == record.chosen), "")


def _compared(c: ConfigurationRecord, record: DecisionRecord, kinds: list[Kind], chosen: str) -> ConfigurationView:
    reason = "" if c.resolves else "clusters not separated" if c.informs else "too little spatial structure"
    rejected = [s.guarded_out for s in record.candidates if _name(s) == c.name and s.guarded_out]
    if not reason and rejected:
        reason = f"{len(rejected)} seed{'s' if len(rejected) > 1 else ''} rejected: {_short(rejected[0])}"
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


def _rejected(name: str, group: list[CandidateRecord], kinds: list[Kind]) -> ConfigurationView:
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
        left_out=", ".join(reasons) or "dropped at an early rung",
    )


def _short(reason: str) -> str:
    return reason.split(":")[0]
