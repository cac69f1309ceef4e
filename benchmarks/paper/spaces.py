"""The paper's figures of latent spaces: all spaces (2), and chosen ones with mixtures and core points on the scan (5, 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from agent.recommendation.core_points import core_order
from agent.reporting.figures.latent import SIGMAS, ellipse
from agent.reporting.figures.latent_grid import density
from agent.reporting.figures.scan import MICROMETRES, corners_um, grey_range, image_to_micrometres
from agent.reporting.figures.style import DARK, GREY, MEDIUM, SMALL, WIDTH_IN, colour, label_axes, marker, new_figure
from agent.schema.model_kinds import label
from benchmarks.paper.models import INVARIANCES, Arrays
from instrument_adapters.scan import Scan
from rewards.base import Mixture

Row = Mapping[str, Any]
CORE_FRACTION = 0.25
_MAX_COLUMNS = 9
_MAX_LEGEND_COLUMNS = 11
_REACH_PERCENTILE = 99.8  # of all latents, since a few outliers must not shrink every panel
_PERCENTILES = 1.0, 95.0


@dataclass(frozen=True, eq=False)
class Chosen:
    """A model that a reward chose, with the mixture of its latent space.

    Parameters
    ----------
    reward
        Name of the reward as shown in the figure.
    row
        Row of the model.
    points_rc, z
        Shapes (n, 2), (n, d): key points to which the mixture was fitted, and their latents.
    mixture
        Mixture of the latent space.
    """

    reward: str
    row: Row
    points_rc: np.ndarray
    z: np.ndarray
    mixture: Mixture

    @property
    def labels(self) -> np.ndarray:
        """Shape (n,): component of each point."""
        return self.mixture.labels(self.z)

    @property
    def cores(self) -> list[np.ndarray]:
        """Rows of the core points of each component."""
        return core_order(self.mixture.mahalanobis(self.z), self.labels, CORE_FRACTION)


def best_seed(models: Sequence[Row], configuration: str) -> Row | None:
    """Model that represents a configuration: the one with the best ELBO among those that passed the guards, or among all."""
    own = [row for row in models if row["configuration"] == configuration and row["elbo_per_px"] is not None]
    trusted = [row for row in own if not row["left_out"]]
    return max(trusted or own, key=lambda row: row["elbo_per_px"], default=None)


def grid_figure(models: Sequence[Row], arrays: Arrays, title: str) -> Figure:
    """Figure 2: latent distributions of all windows and invariances, shaded by their density."""
    windows = sorted({row["window_px"] for row in models})
    blocks = [windows[i : i + _MAX_COLUMNS] for i in range(0, len(windows), _MAX_COLUMNS)]
    columns = max(len(block) for block in blocks)
    kinds = [kind for kind in INVARIANCES if any(row["invariance"] == kind for row in models)]
    side = (WIDTH_IN - 0.55) / max(columns, 4)
    figure = new_figure(height_in=len(blocks) * (len(kinds) * side + 0.3) + 0.45)
    figure.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    panels = figure.subplots(len(blocks) * len(kinds), columns, sharex=True, sharey=True, squeeze=False)
    reach = _reach(arrays)
    for axes in panels.ravel():
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        axes.tick_params(labelsize=SMALL - 1, length=2)
    for b, block in enumerate(blocks):
        for k, kind in enumerate(kinds):
            line = panels[b * len(kinds) + k]
            line[0].set_ylabel(f"{label(kind)}\nz₂", fontsize=MEDIUM)
            for axes, window in zip(line, block, strict=False):
                _draw_latents(axes, best_seed(models, f"{kind}-w{window}"), arrays, reach)
            for axes in line[len(block) :]:
                axes.set_visible(False)
        for axes, window in zip(panels[b * len(kinds)], block, strict=False):
            axes.set_title(f"{window} px", fontsize=SMALL, pad=3)
    figure.supxlabel("z₁", fontsize=MEDIUM)
    figure.suptitle(title, fontsize=MEDIUM)
    return figure


def chosen_figure(scan: Scan, chosen: Sequence[Chosen], title: str) -> Figure:
    """Figures 5 and 7: for each choice, the latent space with 2σ ellipses and core points, and the core points on the scan."""
    figure = new_figure(height_in=3.3 * len(chosen) + 0.6)
    panels = figure.subplots(len(chosen), 2, squeeze=False)
    for i, (one, (left, right)) in enumerate(zip(chosen, panels, strict=True)):
        _draw_space(left, one)
        _draw_on_scan(right, scan, one)
        description = f"{one.reward}: {label(one.row['invariance'])}, {one.row['window_px']} px, K = {one.mixture.n_components}"
        left.set_title(f"({'ac'[i]}) {description}", fontsize=MEDIUM, loc="left")
        right.set_title(f"({'bd'[i]}) core points on the amplitude", fontsize=MEDIUM, loc="left")
    most = max(one.mixture.n_components for one in chosen)
    handles = [Line2D([], [], ls="", marker=marker(k), color=colour(k), ms=4.5, label=f"{k + 1}") for k in range(most)]
    handles.append(Line2D([], [], ls="", marker="o", color=GREY, ms=4, label="other points of the fit"))
    columns = min(len(handles), _MAX_LEGEND_COLUMNS)
    handles = [handle for first in range(columns) for handle in handles[first::columns]]  # a legend is filled column by column
    legend = figure.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=SMALL, frameon=False, title=title)
    legend.get_title().set_fontsize(MEDIUM)
    return figure


def _reach(arrays: Arrays) -> float:
    finite = [np.abs(z[np.isfinite(z)]) for z in arrays.z.values()]
    values = np.concatenate([part.ravel() for part in finite]) if finite else np.empty(0)
    return (float(np.percentile(values, _REACH_PERCENTILE)) if values.size else 0.0) or 1.0


def _draw_latents(axes: Axes, row: Row | None, arrays: Arrays, reach: float) -> None:
    if row is None:
        axes.text(0.5, 0.5, "no model", transform=axes.transAxes, fontsize=SMALL - 1, ha="center", va="center", color=DARK)
        return
    z = arrays.z[row["model"]]
    z = z[np.isfinite(z).all(axis=1)].astype(np.float64)
    if not len(z):
        return
    shade = density(z, reach)
    order = np.argsort(shade, kind="stable")
    colours = {"c": GREY} if row["left_out"] else {"c": shade[order], "cmap": "viridis", "vmin": 0.0, "vmax": 1.0}
    axes.scatter(z[order, 0], z[order, 1], s=1.4, linewidths=0, rasterized=True, gid="latents", **colours)
    if row["left_out"]:
        reason = row["left_out"].split(":")[0]
        axes.text(0.5, 0.03, reason, transform=axes.transAxes, fontsize=SMALL - 1, ha="center", va="bottom", color=DARK)


def _draw_space(axes: Axes, one: Chosen) -> None:
    axes.scatter(one.z[:, 0], one.z[:, 1], s=4, c=GREY, linewidths=0, zorder=1, rasterized=True, gid="all")
    for k, rows in enumerate(one.cores):
        x, y = one.z[rows].T
        axes.scatter(x, y, s=10, c=colour(k), marker=marker(k), edgecolors="white", linewidths=0.25, zorder=2, gid=f"core-{k}")
        outline = ellipse(one.mixture.means[k], one.mixture.covariances[k], SIGMAS)
        outline.set(fill=False, edgecolor=colour(k), linewidth=1.3, zorder=3)
        axes.add_patch(outline)
    axes.set_aspect("equal", adjustable="datalim")
    label_axes(axes, "z₁", "z₂")


def _draw_on_scan(axes: Axes, scan: Scan, one: Chosen) -> None:
    image = scan.channels[scan.find_channel()]
    low, high = grey_range(image, *_PERCENTILES)
    drawn = axes.imshow(image, cmap="gray", origin="lower", interpolation="nearest", vmin=low, vmax=high)
    drawn.set_transform(image_to_micrometres(scan.frame) + axes.transData)
    (left, bottom), (right, top) = corners_um(scan.frame)
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    xy = scan.frame.to_metres(one.points_rc.astype(np.float64)) * MICROMETRES
    for k, rows in enumerate(one.cores):
        x, y = xy[rows].T
        axes.scatter(x, y, s=9, c=colour(k), marker=marker(k), edgecolors="white", linewidths=0.3, zorder=2, gid=f"core-{k}")
    label_axes(axes, "x (µm)", "y (µm)")
