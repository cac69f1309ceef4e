"""Figure of the latent distributions of all windows and kinds of representation, as figure 2 of the paper."""

import math
import textwrap

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from agent.errors import FigureError
from agent.reporting.figures.chosen_candidate import Projection, has_latents
from agent.reporting.figures.style import CHOSEN_COLOUR, DARK, GREY, MEDIUM, SMALL, WIDTH_IN, new_figure
from agent.schema.decision import CandidateRecord, Decision, DecisionRecord, configuration_name
from agent.schema.model_kinds import label

_CELLS = 80
_SMOOTH_CELLS = 1.5
_AXES = {1: ("z₁", "key points, relative to the fullest bin"), 2: ("z₁", "z₂")}
_TEXT, _SMALL_TEXT, _NARROW_IN = SMALL - 1, SMALL - 2, 0.8  # panels narrower than this have the smaller text
_CHARACTERS_PER_IN = 125  # at a font size of 1 pt


def latent_grid_figure(decision: Decision) -> Figure:
    """Grid of panels: a row for each kind of representation, a column for each window, with the chosen one framed.

    Each panel shows the seed with the best held-out ELBO among those that passed the guards, with points shaded by density. If
    none passed, it shows the best one in grey, with the reason above. All panels have the same limits.

    Raises
    ------
    FigureError
        If no model was trained.
    """
    record = decision.record
    if not has_latents(decision):
        raise FigureError(
            f"decision {record.decision_id} trained no model, so there is no latent space to draw; use scan_figure instead"
        )
    kinds = list(dict.fromkeys((c.invariance, c.variant) for c in record.candidates))
    windows = sorted({c.window_px for c in record.candidates})
    side = (WIDTH_IN - 0.6) / max(len(windows), 3)
    narrow = side <= _NARROW_IN
    size, above = (_SMALL_TEXT, 0.2) if narrow else (_TEXT, 0.14)
    line = int(side * _CHARACTERS_PER_IN / size)
    figure = new_figure(height_in=len(kinds) * (side + above) + 0.7)
    panels = figure.subplots(len(kinds), len(windows), sharex=True, sharey=True, squeeze=False)
    shown = {(window, kind): _representative(record, window, kind) for window in windows for kind in kinds}
    drawn = {place: _drawn_points(decision, index) for place, index in shown.items()}
    limit = max((float(np.abs(xy).max(initial=0.0)) for xy in drawn.values()), default=0.0) * 1.05 or 1.0
    for (window, kind), index in shown.items():
        axes = panels[kinds.index(kind), windows.index(window)]
        axes.tick_params(labelsize=size, length=2)
        axes.set_title("not trained", fontsize=size, color=DARK, pad=3)
        if index is None:
            continue
        candidate = record.candidates[index]
        _draw_points(axes, drawn[window, kind], limit, accepted=candidate.guarded_out is None, narrow=narrow)
        axes.set_title(textwrap.fill(_panel_title(record, candidate), line), fontsize=size, color=DARK, pad=3)
        if candidate.candidate_id == record.chosen:
            _frame(axes)
    for axes, window in zip(panels[0], windows, strict=True):
        name = f"{window} px" if narrow else f"window {window} px"
        axes.set_title(f"{name}\n{axes.get_title()}", fontsize=size, color=DARK, pad=3)
    for axes, kind in zip(panels[:, 0], kinds, strict=True):
        axes.set_ylabel(label(*kind), fontsize=MEDIUM)
    _title(figure, record)
    return figure


def density(xy: Float[np.ndarray, "n 2"], limit: float) -> Float[np.ndarray, " n"]:
    """Density at each point relative to the maximum, from a smoothed histogram over ±limit."""
    cell = np.clip(((xy / limit + 1) / 2 * _CELLS).astype(np.int64), 0, _CELLS - 1)
    counts = np.zeros((_CELLS, _CELLS))
    np.add.at(counts, (cell[:, 0], cell[:, 1]), 1.0)
    smooth = gaussian_filter(counts, _SMOOTH_CELLS)
    return np.asarray(smooth[cell[:, 0], cell[:, 1]] / smooth.max())


def _representative(record: DecisionRecord, window_px: int, kind: tuple[str, str]) -> int | None:
    """Index of the candidate that represents a configuration in its panel, or None."""
    group = [i for i, c in enumerate(record.candidates) if (c.window_px, c.invariance, c.variant) == (window_px, *kind)]
    chosen = [i for i in group if record.candidates[i].candidate_id == record.chosen]
    accepted = [i for i in group if record.candidates[i].guarded_out is None]
    return max(chosen or accepted or group, key=lambda i: _elbo(record.candidates[i]), default=None)


def _elbo(candidate: CandidateRecord) -> float:
    return -np.inf if candidate.elbo_per_px is None else candidate.elbo_per_px


def _drawn_points(decision: Decision, index: int | None) -> Float[np.ndarray, "n k"]:
    """Finite latents of a candidate on at most two axes; empty if it diverged or was not trained."""
    if index is None:
        return np.empty((0, 2))
    z = decision.latents_of(index)
    z = z[np.isfinite(z).all(axis=1)]
    return Projection.of(z).points(z) if len(z) > 1 else np.empty((0, 2))


def _draw_points(axes: Axes, xy: Float[np.ndarray, "n k"], limit: float, *, accepted: bool, narrow: bool) -> None:
    far = max(1, int(0.75 * limit))
    ticks = [-far, 0, far]
    along = [0] if narrow else ticks  # three numbers would overlap
    if xy.shape[1] == 1:
        heights, edges = np.histogram(xy[:, 0], bins=_CELLS, range=(-limit, limit))
        axes.stairs(heights / heights.max(), edges, fill=True, color=DARK if accepted else GREY)
        axes.set(xlim=(-limit, limit), ylim=(0, 1.1), xticks=along, yticks=[0, 0.5, 1])
        return
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xticks=along, yticks=ticks)
    if not len(xy):
        return
    shade = density(xy, limit)
    order = np.argsort(shade, kind="stable")
    colours = {"c": shade[order], "cmap": "viridis", "vmin": 0.0, "vmax": 1.0} if accepted else {"c": GREY}
    axes.scatter(xy[order, 0], xy[order, 1], s=2.2, linewidths=0, gid="latents", **colours)


def _panel_title(record: DecisionRecord, candidate: CandidateRecord) -> str:
    """Text above a panel: the reward over all seeds, or why the candidate was rejected."""
    if candidate.guarded_out is not None:
        return f"rejected: {candidate.guarded_out.split(':')[0]}"
    name = configuration_name(candidate.invariance, candidate.window_px, candidate.variant)
    found = next((c for c in record.configurations if c.name == name), None)
    if found is None:
        return ""
    digits = _decimals(max(abs(c.mean) for c in record.configurations))
    return f"{found.mean:.{digits}f}" + ("" if found.std is None else f" ± {found.std:.{digits}f}")


def _decimals(largest: float) -> int:
    """Number of decimals that shows two digits of the largest reward."""
    return max(0, 2 - math.ceil(math.log10(largest))) if largest > 0 else 2


def _frame(axes: Axes) -> None:
    for spine in axes.spines.values():
        spine.set(color=CHOSEN_COLOUR, linewidth=2.2)
    axes.set_gid("chosen")


def _title(figure: Figure, record: DecisionRecord) -> None:
    dims = sorted({c.latent_dim for c in record.candidates})
    axes = (f"first principal axis of {dims[-1]} latents", "second principal axis")
    mixed = ("z₁, or first principal axis where there are more than two latents", "z₂, or second principal axis")
    below, beside = _AXES.get(dims[0], axes) if len(dims) == 1 else mixed
    figure.supxlabel(below, fontsize=MEDIUM)
    figure.supylabel(beside, fontsize=MEDIUM)
    framed = "" if record.chosen is None else "; framed: the chosen one"
    text = f"{record.scan_id}: latent distributions{framed}; above each: reward {record.config['reward']} over its seeds"
    figure.suptitle(text, fontsize=MEDIUM)
