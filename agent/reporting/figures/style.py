"""Common style of all figures: page width, font sizes, and colours and markers of the clusters."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from agent.reporting.figures.units import prefixed as prefixed
from agent.schema.decision import DecisionRecord

WIDTH_IN = 180 / 25.4  # width of a two-column page
DPI = 160
SMALL, MEDIUM = 7.0, 8.0
CHOSEN_COLOUR = "#D55E00"
GREY, DARK = "0.8", "0.25"

#: The eight colours of M. Okabe and K. Ito, and two more that remain distinct under all three colour-vision deficiencies.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000", "#7A1F5C", "#9EF0C8")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", "h")


def colour(cluster: int) -> str:
    """Colour of a cluster; the ten colours repeat after cluster 9."""
    return COLOURS[cluster % len(COLOURS)]


def marker(cluster: int) -> str:
    """Marker of a cluster; shifted after cluster 9, so that colour and marker together are unique for 100 clusters."""
    return MARKERS[(cluster + cluster // len(COLOURS)) % len(MARKERS)]


def halo(foreground: str = "black", width_pt: float = 2.0) -> list[Any]:
    """Path effect that keeps lines and text readable on any background."""
    return [withStroke(linewidth=width_pt, foreground=foreground)]


@contextmanager
def own_style() -> Iterator[None]:
    """Draw with matplotlib's defaults in this context, whatever the user's matplotlibrc or style sheets say.

    Names of scans and rewards are not formulas, so `$` is an ordinary character unless a text asks for mathematics. A character
    that the font lacks is drawn as a box, without a warning.
    """
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        mpl.rcdefaults()
        mpl.rcParams.update({"text.parse_math": False, "svg.hashsalt": "vaestar"})  # without a salt, ids in SVG are random
        yield
        interactive = mpl.is_interactive()
    mpl.interactive(interactive)  # a notebook's backend, loaded with the first figure, has switched it on


_FACTORY: ContextVar[Callable[..., Figure]] = ContextVar("factory", default=Figure)


@contextmanager
def figure_factory(factory: Callable[..., Figure]) -> Iterator[None]:
    """Create figures with another function in this context, such as `matplotlib.pyplot.figure`, which notebooks display."""
    before = _FACTORY.set(factory)
    try:
        yield
    finally:
        _FACTORY.reset(before)


def new_figure(height_in: float, *, by_hand: bool = False) -> Figure:
    """An empty figure of page width, made without pyplot, so that no global state is touched; see `figure_factory`.

    Parameters
    ----------
    height_in
        Height of the figure in inches.
    by_hand
        The caller places all axes; otherwise matplotlib's constrained layout does.
    """
    return _FACTORY.get()(figsize=(WIDTH_IN, height_in), dpi=DPI, layout=None if by_hand else "constrained")


def label_axes(axes: Axes, x: str, y: str) -> None:
    """Set axis labels and ticks in the figures' font sizes."""
    axes.set_xlabel(x, fontsize=MEDIUM)
    axes.set_ylabel(y, fontsize=MEDIUM)
    axes.tick_params(labelsize=SMALL)


def title(axes: Axes, text: str) -> None:
    """A title over the axes, so that it cannot overlap a legend beside them."""
    axes.set_title(text, fontsize=MEDIUM, loc="left")


def cluster_handles(record: DecisionRecord) -> list[Line2D]:
    """Legend entry of each cluster: marker, number, share of the key points, and number of core points."""
    handles = []
    for c in record.clusters:
        share = c.points / max(record.keypoints_used, 1)
        label = f"cluster {c.cluster}: {share:.0%}\n{c.core_points} core point{'' if c.core_points == 1 else 's'}"
        handles.append(Line2D([], [], ls="", marker=marker(c.cluster), color=colour(c.cluster), label=label))
    return handles
