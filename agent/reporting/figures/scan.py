"""Figure of the scan in real space, with the core points of each cluster and the recommended points."""

import textwrap

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Affine2D

from agent.reporting.figures.chosen_candidate import Chosen, chosen_of, has_latent_space
from agent.reporting.figures.style import (
    DARK,
    MEDIUM,
    SMALL,
    WIDTH_IN,
    cluster_handles,
    colour,
    halo,
    label_axes,
    marker,
    new_figure,
    prefixed,
    title,
)
from agent.reporting.figures.units import grey_range as grey_range
from agent.schema.decision import Decision
from agent.schema.model_kinds import label
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

MICROMETRES = 1e6
_LABEL_REACH = 0.032  # of the frame's longer side
_TITLE_CHARACTERS = 90

# The page, from left to right: label of the y axis, image, colour bar with its label, legend.
_LEFT_IN, _WIDEST_IN, _BAR_IN, _LEGEND_LEFT_IN = 0.62, 4.35, 0.16, 5.76
_TALLEST_IN, _BELOW_IN, _TITLE_LINE_IN, _ENTRY_IN = 6.5, 0.5, 0.14, 0.35


def scan_figure(scan: Scan, decision: Decision) -> Figure:
    """The analysed channel in stage coordinates, with core points by cluster and the recommended points, numbered.

    A scan taken at an angle is drawn rotated, so that all positions can be read off in stage coordinates. For a decision that
    resolved nothing, the explanation is the title.

    Parameters
    ----------
    scan
        Scan that was analysed.
    decision
        Decision on it.
    """
    record = decision.record
    text = f"{record.scan_id}: {record.explanation}"
    chosen = chosen_of(decision) if has_latent_space(decision) else None
    if chosen is not None:
        c = chosen.candidate
        text = f"{record.scan_id}: {label(c.invariance, c.variant)}, window {c.window_px} px"
        if record.analysed.frame is not None:
            text += f"; analysed in {record.analysed_frame.cols} x {record.analysed_frame.rows} square pixels"
    text = textwrap.fill(text, _TITLE_CHARACTERS)
    figure, axes, bar_axes = _page(record.frame, entries=len(record.clusters), title_lines=text.count("\n") + 1)
    _draw_image(axes, bar_axes, scan, decision)
    title(axes, text)
    if chosen is not None:
        _draw_core(axes, record.analysed_frame, chosen, len(record.clusters))
        if record.requests:
            _draw_recommended(axes, decision)
        corner = (_LEGEND_LEFT_IN / WIDTH_IN, axes.get_position().y1)
        place = {"loc": "upper left", "bbox_to_anchor": corner, "borderaxespad": 0}
        figure.legend(handles=_legend(decision), fontsize=SMALL, frameon=False, labelspacing=0.9, **place)
    return figure


def corners_um(frame: Frame) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, " 2"]]:
    """Lower left and upper right corner of the bounding box of the scan, in micrometres."""
    last = np.array([frame.rows, frame.cols]) - 0.5
    xy = frame.to_metres(np.array([[-0.5, -0.5], [-0.5, last[1]], [last[0], -0.5], last])) * MICROMETRES
    return xy.min(axis=0), xy.max(axis=0)


def image_to_micrometres(frame: Frame) -> Affine2D:
    """The transform from image coordinates (col, row) to stage coordinates (x, y) in micrometres."""
    origin, along_col, along_row = frame.to_metres(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])) * MICROMETRES
    (a, b), (c, d) = along_col - origin, along_row - origin
    return Affine2D.from_values(a, b, c, d, *origin)


def place_labels(
    points: Float[np.ndarray, "n 2"], reach: float, low: Float[np.ndarray, " 2"], high: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "n 2"]:
    """Position of a label beside each point, away from other points and labels; shape (n, 2).

    Parameters
    ----------
    points
        Points, shape (n, 2).
    reach
        Distance of a label from its point.
    low, high
        Corners of the area in which labels may lie, shape (2,).
    """
    angles = np.pi / 4 + np.arange(8) * np.pi / 4
    around = reach * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels: list[np.ndarray] = []
    for i, point in enumerate(points):
        positions = point + around
        occupied = np.array([*np.delete(points, i, axis=0), *labels])
        room = np.full(len(positions), np.inf)
        if len(occupied):
            room = np.hypot(*(positions[:, None] - occupied[None]).transpose(2, 0, 1)).min(axis=1)
        room = np.round(np.minimum(room / reach, 1.5), 6)  # more room than this is no better; the first such place is taken
        outside = ((positions < low + reach / 2) | (positions > high - reach / 2)).any(axis=1)
        labels.append(positions[np.argmax(room - 10 * outside)])
    return np.array(labels)


def _page(frame: Frame, entries: int, title_lines: int) -> tuple[Figure, Axes, Axes]:
    """A figure with axes in the shape of the frame, and axes for the colour bar beside it.

    The layout is computed here because matplotlib's layout engines cut off the left label of axes with a fixed shape.
    """
    low, high = corners_um(frame)
    aspect = float((high - low)[1] / (high - low)[0])
    width = min(_WIDEST_IN, _TALLEST_IN / aspect)
    height = width * aspect
    inside = max(height, _ENTRY_IN * (entries + 2) if entries else 0.0)
    page = _BELOW_IN + inside + _TITLE_LINE_IN * (title_lines + 1)
    figure = new_figure(page, by_hand=True)
    bottom = _BELOW_IN + inside - height
    axes = figure.add_axes((_LEFT_IN / WIDTH_IN, bottom / page, width / WIDTH_IN, height / page))
    bar_left = _LEFT_IN + width + _BAR_IN / 2
    return figure, axes, figure.add_axes((bar_left / WIDTH_IN, bottom / page, _BAR_IN / WIDTH_IN, height / page))


def _draw_image(axes: Axes, bar_axes: Axes, scan: Scan, decision: Decision) -> None:
    record = decision.record
    channel = record.channel if record.channel in scan.channels else next(iter(scan.channels))
    settings = record.config["scan"]
    image = scan.channels[channel]
    low, high = grey_range(image, settings["low_percentile"], settings["high_percentile"])
    factor, unit = prefixed(scan.units.get(channel, ""), max(abs(low), abs(high)))
    drawn = axes.imshow(image * factor, cmap="gray", origin="lower", interpolation="nearest", aspect="equal")
    drawn.set_clim(low * factor, high * factor)
    drawn.set_transform(image_to_micrometres(record.frame) + axes.transData)
    low_um, high_um = corners_um(record.frame)
    axes.set(xlim=(low_um[0], high_um[0]), ylim=(low_um[1], high_um[1]))
    label_axes(axes, "x (µm)", "y (µm)")
    bar = bar_axes.figure.colorbar(drawn, cax=bar_axes, extend="both")
    bar.set_label(f"{channel} ({unit})" if unit else channel, fontsize=MEDIUM)
    bar.ax.tick_params(labelsize=SMALL)


def _draw_core(axes: Axes, frame: Frame, chosen: Chosen, clusters: int) -> None:
    xy = frame.to_metres(chosen.points_rc.astype(np.float64)) * MICROMETRES
    for k in range(clusters):
        x, y = xy[chosen.core_of(k)].T
        axes.scatter(x, y, s=11, c=colour(k), marker=marker(k), edgecolors="white", linewidths=0.35, zorder=2, gid=f"core-{k}")


def _draw_recommended(axes: Axes, decision: Decision) -> None:
    requests = decision.record.requests
    xy = np.array([[r.x_m, r.y_m] for r in requests]) * MICROMETRES
    edges = [colour(r.cluster) for r in requests]
    rings = axes.scatter(xy[:, 0], xy[:, 1], s=62, facecolors="none", edgecolors=edges, linewidths=1.4, zorder=3)
    rings.set_gid("recommended")
    rings.set_path_effects(halo("white", 3.0))
    low, high = corners_um(decision.record.frame)
    places = place_labels(xy, _LABEL_REACH * float((high - low).max()), low, high)
    for i, (x, y) in enumerate(places):
        axes.text(
            x, y, str(i + 1), color="white", fontsize=SMALL, fontweight="bold", ha="center", va="center", zorder=4
        ).set_path_effects(halo("black", 1.8))


def _legend(decision: Decision) -> list[Line2D]:
    record = decision.record
    handles = cluster_handles(record)
    if record.requests:
        ring = Line2D([], [], ls="", marker="o", mfc="none", mec=DARK, ms=8, label="recommended,\nnumbered in\nmeasuring order")
        handles.append(ring)
    return handles
