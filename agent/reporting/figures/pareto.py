"""Trade-offs (Pareto front): all configurations by two criteria, with the front of those that no other beats in both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agent.errors import FigureError
from agent.reporting.figures.style import DARK, MEDIUM, SMALL, colour, halo, label_axes, marker, new_figure, title
from agent.reporting.figures.units import CRITERIA as CRITERIA
from agent.schema.decision import CandidateRecord, DecisionRecord, configuration_name
from agent.schema.model_kinds import label
from rewards.composite import criteria_table, pareto_front
from rewards.metrics import bare, higher_is_better

_NAMES = {
    "bic": "BIC (per point)",
    "icl": "ICL (per point)",
    "log_likelihood": "log-likelihood (nats per point)",
    "bic_gain_per_d": "BIC gain over one Gaussian per latent (nats per point)",
    "bic_gain": "BIC gain over one Gaussian (nats per point)",
    "icl_gain": "ICL gain over one Gaussian (nats per point)",
    "NMI_rot": "NMI$_{rot}$, information about the neighbourhood",
    "rotation_consistency": "rotation consistency of the clusters",
    "stability": "stability, mean ARI over resamples",
}
_MOST_LISTED = 14


@dataclass(frozen=True, eq=False)
class _Point:
    """A configuration with the values of both criteria for each seed, shape (seeds, 2)."""

    name: str
    kind: tuple[str, str]
    window_px: int
    seeds: Float[np.ndarray, "s 2"]

    @property
    def mean(self) -> Float[np.ndarray, " 2"]:
        return np.asarray(self.seeds.mean(axis=0))


def has_front(record: DecisionRecord, criteria: Sequence[str] = CRITERIA) -> bool:
    """Whether at least two configurations of the record have both criteria."""
    return len(_points(record, criteria)) > 1


def pareto_figure(record: DecisionRecord, criteria: Sequence[str] = CRITERIA) -> Figure:
    """Two criteria of each configuration (mean and seeds), the Pareto front of the means, and the chosen configuration.

    Better is always up and to the right: the axis of a criterion that is minimised is inverted. The configurations on the front
    are numbered and named.

    Parameters
    ----------
    record
        Decision whose candidates have the criteria among their metrics.
    criteria
        Names of two metrics, horizontal first; a metric unknown to `rewards.metrics` needs a sign for its direction ("-mine").

    Raises
    ------
    FigureError
        If fewer than two configurations have both criteria.
    UnknownMetricError
        If the direction of a criterion is neither known nor given.
    """
    points = _points(record, criteria)
    if len(points) < 2:
        raise FigureError(
            f"decision {record.decision_id} has {' and '.join(map(bare, criteria))} for {len(points)} configurations; "
            "a front needs at least two, scored by a reward that reports both; use scan_figure instead"
        )
    means = np.array([p.mean for p in points])
    order = _front_rows(means, criteria)
    kinds = list(dict.fromkeys((c.invariance, c.variant) for c in record.candidates))
    figure = new_figure(height_in=4.0)
    axes = figure.add_subplot()
    _draw(axes, points, kinds)
    axes.plot(*means[order].T, color=DARK, lw=1.0, ls="--", zorder=3, gid="front")
    for number, at in enumerate(means[order], start=1):  # no configuration lies beyond the front, so labels there cover none
        text = axes.annotate(str(number), at, xytext=(4, 4), textcoords="offset points", fontsize=MEDIUM, zorder=6)
        text.set_path_effects(halo("white"))
    chosen = _mark_chosen(axes, record, points, kinds)
    _set_up_axes(axes, criteria)
    title(axes, f"{record.scan_id}: {len(order)} of {len(points)} configurations are on the front{chosen}")
    used = [(i, kind) for i, kind in enumerate(kinds) if any(p.kind == kind for p in points)]
    handles = [*_legend(used), *_front_entries([points[i] for i in order])]
    figure.legend(handles=handles, loc="outside right upper", fontsize=SMALL, frameon=False)
    return figure


def _points(record: DecisionRecord, criteria: Sequence[str]) -> list[_Point]:
    """Configurations with at least one candidate that passed the guards and has both criteria."""
    x, y = (bare(c) for c in criteria)
    groups: dict[tuple[str, str, int], list[tuple[float, float]]] = {}
    for c in record.candidates:
        across, up = c.metrics.get(x), c.metrics.get(y)
        if c.guarded_out is None and across is not None and up is not None:
            groups.setdefault((c.invariance, c.variant, c.window_px), []).append((across, up))
    return [
        _Point(configuration_name(invariance, window, variant), (invariance, variant), window, np.array(seeds))
        for (invariance, variant, window), seeds in groups.items()
    ]


def _front_rows(means: Float[np.ndarray, "n 2"], criteria: Sequence[str]) -> list[int]:
    """Rows of the means on the front, from left to right as drawn."""
    names = [bare(c) for c in criteria]
    rightwards = 1 if higher_is_better(criteria[0]) else -1
    members = np.flatnonzero(pareto_front(criteria_table([dict(zip(names, m.tolist(), strict=True)) for m in means], criteria)))
    return [int(i) for i in members[np.argsort(rightwards * means[members, 0], kind="stable")]]


def _draw(axes: Axes, points: Sequence[_Point], kinds: Sequence[tuple[str, str]]) -> None:
    for p in points:
        i = kinds.index(p.kind)
        axes.scatter(p.seeds[:, 0], p.seeds[:, 1], s=7, color=colour(i), alpha=0.4, linewidths=0, zorder=2, gid=f"seeds-{p.name}")
        axes.scatter(
            [p.mean[0]], [p.mean[1]], s=34, color=colour(i), marker=marker(i), edgecolor="white", linewidths=0.5, zorder=4
        )


def _set_up_axes(axes: Axes, criteria: Sequence[str]) -> None:
    """Label the axes, and invert them where needed so that better is up and to the right."""
    label_axes(axes, *(_NAMES.get(bare(c), bare(c)) for c in criteria))
    for criterion, axis in zip(criteria, (axes.xaxis, axes.yaxis), strict=True):
        axis.label.set_parse_math(bare(criterion) in _NAMES)
    axes.margins(0.08)
    if not higher_is_better(criteria[0]):
        axes.invert_xaxis()
    if not higher_is_better(criteria[1]):
        axes.invert_yaxis()
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def _mark_chosen(axes: Axes, record: DecisionRecord, points: Sequence[_Point], kinds: Sequence[tuple[str, str]]) -> str:
    """Mark the chosen configuration with a star; returns a note for the title if it cannot be marked, else ""."""
    candidate = next((c for c in record.candidates if c.candidate_id == record.chosen), None)
    matching = [p for p in points if candidate and (*p.kind, p.window_px) == _key(candidate)]
    if not matching:
        return "; nothing was chosen" if candidate is None else "; the chosen one lacks a criterion"
    star = axes.scatter([matching[0].mean[0]], [matching[0].mean[1]], s=190, marker="*", linewidths=0.9, zorder=5)
    star.set(facecolor=colour(kinds.index(matching[0].kind)), edgecolor="black", gid="chosen")
    return ""


def _key(candidate: CandidateRecord) -> tuple[str, str, int]:
    return candidate.invariance, candidate.variant, candidate.window_px


def _legend(kinds: Sequence[tuple[int, tuple[str, str]]]) -> list[Line2D]:
    return [
        *(Line2D([], [], ls="", color=colour(i), marker=marker(i), ms=5, label=f"{label(*kind)}, mean") for i, kind in kinds),
        Line2D([], [], ls="", marker="o", ms=3, color="0.6", label="one seed"),
        Line2D([], [], ls="", marker="*", ms=11, color="0.6", mec="black", label="chosen"),
        Line2D([], [], ls="--", lw=1.0, color=DARK, label="Pareto front:"),
    ]


def _front_entries(front: Sequence[_Point]) -> list[Line2D]:
    lines = [f"{i}  {label(*p.kind)}, window {p.window_px} px" for i, p in enumerate(front, start=1)]
    if len(lines) > _MOST_LISTED:
        lines = [*lines[: _MOST_LISTED - 1], f"... and {len(lines) - _MOST_LISTED + 1} more"]
    return [Line2D([], [], ls="", label=line) for line in lines]
