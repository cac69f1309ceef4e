"""Figure of the reward against window size, for each kind of representation."""

from collections import Counter

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agent.reporting.figures.chosen_candidate import chosen_of
from agent.reporting.figures.style import DARK, SMALL, colour, label_axes, marker, new_figure, title
from agent.schema.decision import CandidateRecord, ConfigurationRecord, Decision, DecisionRecord
from agent.schema.model_kinds import label

Kind = tuple[str, str]
_SPREAD = 0.2  # of the smallest distance between windows: the range over which the kinds of one window are spread


def reward_figure(decision: Decision) -> Figure:
    """Mean and standard deviation of the reward over seeds, with single seeds, the tie set, and the chosen configuration.

    Kinds of representation are shifted slightly against each other, so that their error bars do not overlap. Candidates rejected
    by the guards have no reward; a note counts them.

    Raises
    ------
    FigureError
        If nothing was chosen.
    """
    record, chosen = decision.record, chosen_of(decision).candidate
    figure = new_figure(height_in=3.7)
    axes = figure.add_subplot()
    shifts = _shifts(record)
    for i, kind in enumerate(shifts):
        _draw_kind(axes, record, kind, i, shifts[kind])
    best = next(c for c in record.configurations if (c.window_px, *_kind(c)) == (chosen.window_px, *_kind(chosen)))
    star = axes.scatter([best.window_px + shifts[_kind(best)]], [best.mean], s=190, marker="*", linewidths=0.9, zorder=5)
    star.set(facecolor=colour(list(shifts).index(_kind(best))), edgecolor="black", gid="chosen")
    axes.set_xticks(sorted({c.window_px for c in record.candidates}))
    label_axes(axes, "window side (px)", f"reward {record.config['reward']}")
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.legend(handles=_legend(list(shifts)), loc="outside right upper", fontsize=SMALL, frameon=False)
    title(axes, f"{record.scan_id}: chosen is {label(*_kind(best))}, window {best.window_px} px")
    figure.supxlabel(rejection_note(record), fontsize=SMALL, color=DARK)
    return figure


def rejection_note(record: DecisionRecord) -> str:
    """Number of candidates that the guards rejected, by reason; empty if there are none."""
    reasons = Counter(c.guarded_out.split(":")[0] for c in record.candidates if c.guarded_out)
    if not reasons:
        return ""
    named = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
    return f"Not shown: {reasons.total()} of {len(record.candidates)} candidates, rejected by the guards ({named})."


def _kind(of: CandidateRecord | ConfigurationRecord) -> Kind:
    """Kind of representation that a line shows: invariance or plain family, and variant."""
    return of.invariance, of.variant


def _shifts(record: DecisionRecord) -> dict[Kind, float]:
    """Horizontal shift of each kind from its window, in pixels."""
    kinds = list(dict.fromkeys(_kind(c) for c in record.candidates))
    windows = sorted({c.window_px for c in record.candidates})
    room = _SPREAD * float(np.diff(windows).min()) if len(windows) > 1 else _SPREAD
    places = np.linspace(-room / 2, room / 2, len(kinds)) if len(kinds) > 1 else np.zeros(1)
    return dict(zip(kinds, places.tolist(), strict=True))


def _draw_kind(axes: Axes, record: DecisionRecord, kind: Kind, i: int, shift: float) -> None:
    candidates = [c for c in record.candidates if _kind(c) == kind and not c.guarded_out]
    seeds = np.array([(c.window_px + shift, c.value) for c in candidates if c.value is not None]).reshape(-1, 2)
    axes.scatter(seeds[:, 0], seeds[:, 1], s=9, color=colour(i), alpha=0.45, linewidths=0, zorder=2, gid=f"seeds-{kind[0]}")
    line = {c.window_px: c for c in record.configurations if _kind(c) == kind}
    windows = sorted({c.window_px for c in record.candidates})
    x = [w + shift for w in windows]
    mean = [line[w].mean if w in line else np.nan for w in windows]  # a gap in the line if all seeds were rejected
    std = [line[w].std if w in line else None for w in windows]
    spread = [np.nan if s is None else s for s in std]
    axes.errorbar(x, mean, yerr=spread, color=colour(i), marker=marker(i), ms=4.5, lw=1.2, elinewidth=0.9, capsize=2, zorder=3)
    _draw_ties(axes, list(line.values()), shift)


def _draw_ties(axes: Axes, line: list[ConfigurationRecord], shift: float) -> None:
    ties = [c for c in line if c.in_tie_set]
    x, y = [c.window_px + shift for c in ties], [c.mean for c in ties]
    axes.scatter(x, y, s=110, facecolors="none", edgecolors="black", linewidths=0.8, zorder=4, gid="ties")


def _legend(kinds: list[Kind]) -> list[Line2D]:
    return [
        *(
            Line2D([], [], color=colour(i), marker=marker(i), ms=4.5, lw=1.2, label=f"{label(*kind)}, mean ± std")
            for i, kind in enumerate(kinds)
        ),
        Line2D([], [], ls="", marker="o", ms=3, color="0.6", label="one seed"),
        Line2D([], [], ls="", marker="o", ms=9, mfc="none", mec="black", label="ties with the best"),
        Line2D([], [], ls="", marker="*", ms=11, color="0.6", mec="black", label="chosen"),
    ]
