"""Figure of the measured hysteresis loops by type: single loops thin, the mean of each type thick."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agent.errors import FigureError
from agent.history.measured_curves import Measured
from agent.reporting.figures.style import DARK, SMALL, colour, label_axes, new_figure, title

X, Y = "bias_V", "response"
_COLUMNS, _PANEL_IN = 4, 1.75


def loops_of(results: Sequence[Measured]) -> list[Measured]:
    """The results that contain a hysteresis loop."""
    return [r for r in results if r.status == "ok" and {X, Y} <= r.curves.keys()]


def loops_figure(results: Sequence[Measured], heading: str = "") -> Figure:
    """One panel for each type with the loops measured at its points, all with the same axis limits.

    Loops with the same number of points are averaged point by point; otherwise no mean is drawn.

    Raises
    ------
    FigureError
        If there are no loops.
    """
    loops = loops_of(results)
    if not loops:
        raise FigureError(
            "no loops have been measured for this decision, so there is nothing to draw; use the scan figure instead"
        )
    clusters = sorted({r.cluster for r in loops})
    columns = min(_COLUMNS, len(clusters))
    lines = -(-len(clusters) // columns)
    figure = new_figure(height_in=_PANEL_IN * lines + 0.55)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(clusters) :]:
        axes.set_axis_off()
    for axes, cluster in zip(panels.flat, clusters, strict=False):
        _draw(axes, cluster, [r for r in loops if r.cluster == cluster])
    figure.supxlabel("bias (V)", fontsize=SMALL)
    figure.supylabel("response (as measured)", fontsize=SMALL)
    if heading:
        figure.suptitle(heading, fontsize=SMALL + 1)
    return figure


def mean_loop(loops: Sequence[Measured]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]] | None:
    """Bias and mean response of loops of equal length, ignoring NaN; None if their lengths differ."""
    if len({r.curves[Y].shape for r in loops}) != 1:
        return None
    responses = np.stack([np.asarray(r.curves[Y], dtype=np.float64) for r in loops])
    known = np.isfinite(responses)
    count = known.sum(axis=0)
    total = np.where(known, responses, 0.0).sum(axis=0)
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.asarray(loops[0].curves[X], dtype=np.float64), mean


def _draw(axes: Axes, cluster: int, loops: Sequence[Measured]) -> None:
    for loop in loops:
        axes.plot(loop.curves[X], loop.curves[Y], color=colour(cluster), alpha=0.35, linewidth=0.7, gid=f"loop-{cluster}")
    mean = mean_loop(loops)
    if mean is not None:
        axes.plot(*mean, color=DARK, linewidth=1.4, gid=f"mean-{cluster}")
    title(axes, f"cluster {cluster}: {len(loops)} loop{'' if len(loops) == 1 else 's'}")
    label_axes(axes, "", "")
    axes.axhline(0.0, color="0.9", linewidth=0.6, zorder=0)
    axes.axvline(0.0, color="0.9", linewidth=0.6, zorder=0)
