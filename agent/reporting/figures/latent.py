"""Figure of the chosen latent space: its points, the fitted Gaussians, core points, and recommended points."""

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from agent.reporting.figures.chosen_candidate import Chosen, Projection, chosen_of
from agent.reporting.figures.style import DARK, GREY, SMALL, cluster_handles, colour, label_axes, marker, new_figure, title
from agent.schema.decision import Decision
from agent.schema.model_kinds import label

SIGMAS = 2.0
_BINS = 60


def latent_figure(decision: Decision) -> Figure:
    """The chosen latent space; more than two latents are projected onto their first two principal axes.

    Raises
    ------
    FigureError
        If nothing was chosen.
    """
    chosen, record = chosen_of(decision), decision.record
    projection = Projection.of(chosen.z)
    figure = new_figure(height_in=4.6)
    axes = figure.add_subplot()
    draw = _draw_plane if len(projection.labels) == 2 else _draw_line
    draw(axes, decision, chosen, projection)
    c = chosen.candidate
    name = label(c.invariance, c.variant)
    title(axes, f"{record.scan_id}: latent space of {name}, window {c.window_px} px, seed {c.seed}")
    figure.legend(handles=_legend(decision), loc="outside right upper", fontsize=SMALL, frameon=False, labelspacing=0.9)
    return figure


def ellipse(mean: Float[np.ndarray, " 2"], covariance: Float[np.ndarray, "2 2"], sigmas: float) -> Ellipse:
    """The ellipse at a Mahalanobis distance of `sigmas` from the mean of a Gaussian."""
    variances, axes = np.linalg.eigh(covariance)
    width, height = 2 * sigmas * np.sqrt(np.maximum(variances, 0.0))
    return Ellipse(tuple(mean), width, height, angle=float(np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))))


def recommended_rows(decision: Decision, chosen: Chosen) -> Int[np.ndarray, " m"]:
    """Rows of the recommended key points, in the order of the requests."""
    row_of = {(int(r), int(c)): i for i, (r, c) in enumerate(chosen.points_rc)}
    return np.array([row_of[decision.record.analysed_rc(r)] for r in decision.record.requests], dtype=np.int64)


def _draw_plane(axes: Axes, decision: Decision, chosen: Chosen, projection: Projection) -> None:
    xy = projection.points(chosen.z)
    axes.scatter(xy[:, 0], xy[:, 1], s=5, c=GREY, linewidths=0, zorder=1, gid="all")
    for cluster in decision.record.clusters:
        k = cluster.cluster
        x, y = xy[chosen.core_of(k)].T
        axes.scatter(x, y, s=14, c=colour(k), marker=marker(k), edgecolors="white", linewidths=0.3, zorder=2, gid=f"core-{k}")
        outline = ellipse(*projection.gaussian(cluster), SIGMAS)
        outline.set(fill=False, edgecolor=colour(k), linewidth=1.6, zorder=3)
        axes.add_patch(outline)
    x, y = xy[recommended_rows(decision, chosen)].T
    axes.scatter(x, y, s=34, facecolors="none", edgecolors="black", linewidths=0.9, zorder=4, gid="recommended")
    axes.set_aspect("equal", adjustable="datalim")
    label_axes(axes, *projection.labels)


def _draw_line(axes: Axes, decision: Decision, chosen: Chosen, projection: Projection) -> None:
    z = projection.points(chosen.z)[:, 0]
    edges = np.histogram_bin_edges(z, bins=_BINS).tolist()
    step = edges[1] - edges[0]
    axes.hist(z, bins=edges, color=GREY, zorder=1)
    clusters = range(len(decision.record.clusters))
    cores = [z[chosen.core_of(k)] for k in clusters]
    axes.hist(cores, bins=edges, stacked=True, color=[colour(k) for k in clusters], zorder=2)
    at = np.linspace(edges[0], edges[-1], 400)
    for cluster in decision.record.clusters:
        k = cluster.cluster
        mean, covariance = projection.gaussian(cluster)
        sigma = float(np.sqrt(covariance[0, 0]))
        height = cluster.weight * len(z) * step / (sigma * np.sqrt(2 * np.pi))
        near = np.abs(at - mean[0]) <= SIGMAS * sigma
        bell = height * np.exp(-0.5 * ((at[near] - mean[0]) / sigma) ** 2)
        axes.plot(at[near], bell, color=colour(k), linewidth=1.6, zorder=3, gid=f"gaussian-{k}")
    recommended = z[recommended_rows(decision, chosen)]
    axes.scatter(recommended, np.zeros_like(recommended), s=30, marker="|", c="black", zorder=4, gid="recommended", clip_on=False)
    label_axes(axes, projection.labels[0], "key points")


def _legend(decision: Decision) -> list[Line2D]:
    record = decision.record
    one_latent = len(record.clusters[0].mean) == 1
    return [
        *cluster_handles(record),
        Line2D([], [], color=DARK, lw=1.6, label=f"Gaussian, within {SIGMAS:g} σ"),
        Line2D([], [], ls="", marker="s" if one_latent else "o", color=GREY, label="all key points"),
        Line2D([], [], ls="", marker="|" if one_latent else "o", mfc="none", mec="black", ms=6, label="recommended"),
    ]
