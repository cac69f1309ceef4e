"""The paper's figures against the window: losses and variances (3), mixture rewards (4), Bayesian rewards (6), winners."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agent.reporting.figures.style import DARK, MEDIUM, SMALL, colour, label_axes, marker, new_figure
from agent.schema.model_kinds import label
from benchmarks.paper.findings import OF_MIXTURES, higher_is_better, scored, winners
from benchmarks.paper.models import INVARIANCES

Row = Mapping[str, Any]
_SPREAD = 0.28  # share of the distance between windows over which the invariances of one window are spread
_LEFT_OUT_COLOUR = "0.55"

NAMES = {
    "log_likelihood": "log-likelihood",
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "icl_2": "ICL$_{1/2}$",
    "icl_4": "ICL$_{1/4}$",
    "neg_elbo": "−ELBO",
    "entropy": "H",
    "neg_elbo_plus_entropy": "−ELBO + H",
}


def losses_figure(models: Sequence[Row], title: str) -> Figure:
    """Figure 3: (a) reconstruction loss, (b) total variance, (c) product of the variances, against the window."""
    figure = new_figure(height_in=2.75)
    panels = figure.subplots(1, 3)
    losses = [row | {"loss": -row["reconstruction"]} for row in models if row["reconstruction"] is not None]
    _draw_kinds(panels[0], losses, "loss", "reconstruction loss (nats per pixel)")
    finite = [row for row in models if row["total_variance"] is not None]
    _draw_kinds(panels[1], finite, "total_variance", "total variance of the latents")
    _draw_kinds(panels[2], finite, "variance_product", "product of the latent variances")
    panels[1].axhline(2, color=DARK, lw=0.8, ls=":", zorder=1)
    panels[2].axhline(1, color=DARK, lw=0.8, ls=":", zorder=1)
    for axes in panels[1:]:
        axes.set_ylim(bottom=0)
    prior = Line2D([], [], color=DARK, lw=0.8, ls=":", label="prior")
    _finish(figure, panels, title, [*_handles(models), prior])
    return figure


def rewards_figure(models: Sequence[Row], title: str) -> Figure:
    """Figure 4: (left) each mixture reward and (right) the number of components at it, against the window.

    The star is the best mean over seeds; each triangle is the choice among the models of a single seed.
    """
    return _rewards(models, tuple(OF_MIXTURES), title, "nats per point", "components K")


def bayesian_figure(models: Sequence[Row], title: str) -> Figure:
    """Figure 6: (a) effective components, (b) -ELBO, (c) H and (d) -ELBO + H, against the window."""
    figure = new_figure(height_in=4.4)
    panels = figure.subplots(2, 2).ravel()
    _draw_kinds(panels[0], models, "K_effective", "effective components")
    for axes, criterion in zip(panels[1:], ("neg_elbo", "entropy", "neg_elbo_plus_entropy"), strict=True):
        _draw_reward(axes, scored(models, criterion), criterion, f"{NAMES[criterion]} (nats per point)")
    _finish(figure, panels, title, [*_handles(models), *_winner_handles()])
    return figure


def winners_figure(found: Mapping[str, Mapping[str, Mapping[str, Any]]], windows_px: Sequence[int], title: str) -> Figure:
    """Windows that each criterion chooses on each scan: by each seed alone, and by the mean, with its tie set.

    Parameters
    ----------
    found
        Scan -> criterion -> result of `findings.winners`.
    windows_px
        Windows of the sweep.
    title
        Title of the figure.
    """
    criteria = list(next(iter(found.values())))
    figure = new_figure(height_in=0.55 + 2.0 * -(-len(criteria) // 3))
    panels = figure.subplots(-(-len(criteria) // 3), 3, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in panels[len(criteria) :]:
        axes.set_visible(False)
    for axes, criterion in zip(panels, criteria, strict=False):
        for i, of_scan in enumerate(found.values()):
            _draw_winners(axes, i, of_scan[criterion])
        label_axes(axes, "", "")
        axes.set_title(NAMES[criterion], fontsize=MEDIUM, loc="left", pad=3)
        axes.set_xticks(range(len(found)), list(found), rotation=40, ha="right", rotation_mode="anchor")
        axes.set(xlim=(-0.6, len(found) - 0.4), ylim=(min(windows_px) - 1.5, max(windows_px) + 1.5))
        axes.grid(axis="y", color="0.92", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.supylabel("window side (px)", fontsize=MEDIUM)
    handles = [
        *(
            Line2D([], [], ls="", marker=marker(i), color=colour(i), ms=5, label=label(kind))
            for i, kind in enumerate(INVARIANCES)
        ),
        Line2D([], [], ls="", marker="_", color="0.6", ms=12, label="ties with the best mean"),
        Line2D([], [], ls="", marker="o", color="0.4", ms=4, label="filled: one seed's choice"),
        Line2D([], [], ls="", marker="o", mfc="none", mec="black", ms=8, label="ring: best mean"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=6, fontsize=SMALL, frameon=False, title=title)
    figure.legends[0].get_title().set_fontsize(MEDIUM)
    return figure


def _draw_winners(axes: Axes, place: int, found: Mapping[str, Any]) -> None:
    for name in found["tie_set"]:
        kind, window = _parts(name)
        shift = 0.26 * (INVARIANCES.index(kind) - 1)
        axes.scatter([place + shift], [window], s=40, marker="_", color="0.65", linewidths=1.2, zorder=2, gid="ties")
    seen: dict[str, int] = {}
    for name in filter(None, found["single_seed"]):
        kind, window = _parts(name)
        i = INVARIANCES.index(kind)
        size = 26 + 22 * seen.setdefault(name, 0)  # a repeated choice has a larger mark
        seen[name] += 1
        axes.scatter([place + 0.26 * (i - 1)], [window], s=size, marker=marker(i), color=colour(i), linewidths=0, zorder=3)
    if found["best"] is not None:
        kind, window = _parts(found["best"])
        i = INVARIANCES.index(kind)
        axes.scatter(
            [place + 0.26 * (i - 1)], [window], s=105, facecolors="none", edgecolors="black", linewidths=1.0, zorder=4, gid="best"
        )


def _parts(name: str) -> tuple[str, int]:
    kind, _, window = name.partition("-w")
    return kind, int(window)


def _rewards(models: Sequence[Row], criteria: Sequence[str], title: str, unit: str, components: str) -> Figure:
    figure = new_figure(height_in=0.6 + 1.38 * len(criteria))
    panels = figure.subplots(len(criteria), 2, sharex=True, width_ratios=(3, 2))
    for (left, right), criterion in zip(panels, criteria, strict=True):
        scores = scored(models, criterion)
        _draw_reward(left, scores, criterion, f"{NAMES[criterion]}\n({unit})")
        _draw_kinds(right, scores, "types", components)
        right.set_ylim(1, 11)
        right.set_yticks([2, 4, 6, 8, 10])
    for axes in panels[:-1].ravel():
        axes.set_xlabel("")
    _finish(figure, panels.ravel(), title, [*_handles(models), *_winner_handles()])
    return figure


def _draw_reward(axes: Axes, scores: Sequence[Row], criterion: str, text: str) -> None:
    """Draw a criterion against the window, with a star at the best mean and a triangle at the best of each seed."""
    _draw_kinds(axes, scores, "raw", text)
    found = winners(scores, criterion)
    trusted = [row for row in scores if not row["left_out"]]
    windows = sorted({row["window_px"] for row in scores})
    shifts = _shifts(windows)
    for seed in sorted({row["seed"] for row in trusted}):
        own = [row for row in trusted if row["seed"] == seed]
        best = max(own, key=lambda row: higher_is_better(criterion) * row["raw"])
        x = best["window_px"] + shifts[best["invariance"]]
        axes.scatter([x], [best["raw"]], s=34, marker="^", facecolors="none", edgecolors="black", linewidths=0.8, zorder=5)
    if found["best"] is None:
        return
    group = [row for row in trusted if row["configuration"] == found["best"]]
    kind, window = group[0]["invariance"], group[0]["window_px"]
    star = axes.scatter([window + shifts[kind]], [np.mean([row["raw"] for row in group])], s=130, marker="*", zorder=6)
    star.set(facecolor=colour(INVARIANCES.index(kind)), edgecolor="black", linewidth=0.8, gid="best")


def _draw_kinds(axes: Axes, rows: Sequence[Row], key: str, text: str) -> None:
    """Draw mean ± standard deviation over seeds for each invariance, single seeds, and crosses for rejected models."""
    windows = sorted({row["window_px"] for row in rows})
    shifts = _shifts(windows)
    trusted = [row for row in rows if not row["left_out"]]
    for kind in INVARIANCES:
        i, own = INVARIANCES.index(kind), [row for row in trusted if row["invariance"] == kind]
        if not own:
            continue
        groups = [[row[key] for row in own if row["window_px"] == w] for w in windows]
        x = [w + shifts[kind] for w in windows]
        mean = [np.mean(g) if g else np.nan for g in groups]  # a gap in the line if all seeds were left out
        std = [np.std(g, ddof=1) if len(g) > 1 else np.nan for g in groups]
        seeds = np.array([(row["window_px"] + shifts[kind], row[key]) for row in own])
        axes.scatter(seeds[:, 0], seeds[:, 1], s=5, color=colour(i), alpha=0.4, linewidths=0, zorder=2, gid=f"seeds-{kind}")
        axes.errorbar(x, mean, yerr=std, color=colour(i), marker=marker(i), ms=3, lw=1.0, elinewidth=0.7, capsize=1.5, zorder=3)
    out = np.array([(row["window_px"] + shifts[row["invariance"]], row[key]) for row in rows if row["left_out"]])
    if len(out):
        axes.scatter(out[:, 0], out[:, 1], s=14, marker="x", color=_LEFT_OUT_COLOUR, linewidths=0.8, zorder=4, gid="left-out")
    ticks = windows if len(windows) <= 6 else [w for w in windows if w % 5 == 0] or windows[::4]
    axes.set_xticks(ticks)
    axes.set_xticks(windows, minor=True)
    axes.set_xlim(windows[0] - 1, windows[-1] + 1)
    label_axes(axes, "window side (px)", text)
    axes.grid(axis="y", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def _shifts(windows: Sequence[int]) -> dict[str, float]:
    room = _SPREAD * (float(np.diff(windows).min()) if len(windows) > 1 else 1.0)
    places = np.linspace(-room, room, len(INVARIANCES))
    return dict(zip(INVARIANCES, places.tolist(), strict=True))


def _handles(rows: Sequence[Row]) -> list[Line2D]:
    shown = {row["invariance"] for row in rows}
    handles = [
        Line2D([], [], color=colour(i), marker=marker(i), ms=3.5, lw=1.0, label=label(kind))
        for i, kind in enumerate(INVARIANCES)
        if kind in shown
    ]
    if any(row["left_out"] for row in rows):
        cross = {"marker": "x", "color": _LEFT_OUT_COLOUR, "ms": 4, "label": "left out by the guards"}
        handles.append(Line2D([], [], ls="", **cross))
    return handles


def _winner_handles() -> list[Line2D]:
    return [
        Line2D([], [], ls="", marker="*", ms=9, color="0.6", mec="black", label="best mean over seeds"),
        Line2D([], [], ls="", marker="^", ms=5.5, mfc="none", mec="black", label="best of one seed alone"),
    ]


def _finish(figure: Figure, panels: Sequence[Axes], title: str, handles: Sequence[Line2D]) -> None:
    for letter, axes in zip("abcdefghijklmnopqrstuvwxyz", panels, strict=False):
        axes.set_title(f"({letter})", fontsize=MEDIUM, loc="left", pad=3)
    legend = figure.legend(handles=list(handles), loc="outside upper center", ncols=6, fontsize=SMALL, frameon=False, title=title)
    legend.get_title().set_fontsize(MEDIUM)
    figure.align_ylabels()
