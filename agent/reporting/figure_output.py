"""Figures of a decision by name, for notebooks, reports and the command line."""

import importlib
import sys
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

from agent.history.measured_curves import Measured
from agent.reporting.figure_kinds import KINDS, FigureKind
from agent.reporting.figures import (
    FigureError,
    has_front,
    has_latent_space,
    has_latents,
    latent_figure,
    latent_grid_figure,
    loops_figure,
    loops_of,
    pareto_figure,
    patch_figure,
    reward_figure,
    scan_figure,
)
from agent.reporting.figures.style import figure_factory, own_style
from agent.schema.decision import Decision
from instrument_adapters.scan import Scan

# Named, since a backend that the environment or pyplot has registered for a format would otherwise be used.
_BACKENDS = {"png": "agg", "svg": "svg", "pdf": "pdf"}


def available_figures(decision: Decision, measured: Sequence[Measured]) -> list[FigureKind]:
    """Kinds of figures that a decision can show, in reading order."""
    chosen = has_latent_space(decision)
    possible = {
        "scan": True,
        "latent": chosen,
        "patches": chosen,
        "reward": chosen,
        "latent_grid": has_latents(decision),
        "pareto": has_front(decision.record),
        "loops": bool(loops_of(measured)),
    }
    return [kind for kind in KINDS if possible[kind]]


def figure_of(scan: Scan, decision: Decision, measured: Sequence[Measured], kind: str) -> Figure:
    """One figure of a decision, in a style that does not depend on the user's settings of matplotlib.

    Raises
    ------
    FigureError
        If there is no figure of this kind, or the decision cannot show it.
    """
    with own_style():
        match kind:
            case "scan":
                return scan_figure(scan, decision)
            case "latent":
                return latent_figure(decision)
            case "reward":
                return reward_figure(decision)
            case "latent_grid":
                return latent_grid_figure(decision)
            case "patches":
                return patch_figure(scan, decision)
            case "pareto":
                return pareto_figure(decision.record)
            case "loops":
                return loops_figure(measured, f"{decision.record.scan_id}: loops by type, the mean of each in black")
    raise FigureError(f"there is no figure {kind!r}; choose one of {', '.join(KINDS)}")


def axes_of(scan: Scan, decision: Decision, measured: Sequence[Measured], kind: FigureKind) -> Any:
    """The first axes of a figure; registered with pyplot if pyplot is in use, so that a notebook displays it.

    Raises
    ------
    FigureError
        As for `figure_of`.
    """
    if "ipykernel" in sys.modules:
        importlib.import_module("matplotlib.pyplot")
    pyplot = sys.modules.get("matplotlib.pyplot")
    with figure_factory(Figure if pyplot is None else pyplot.figure):
        return figure_of(scan, decision, measured, kind).axes[0]


def figure_bytes(figure: Figure, form: str) -> bytes:
    """The figure as "png", "svg" or "pdf" without a date, so that the same decision gives the same file."""
    content = BytesIO()
    undated = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}, "pdf": {"CreationDate": None, "Producer": None}}
    with own_style():
        figure.savefig(content, format=form, dpi="figure", metadata=undated[form], backend=_BACKENDS[form])
    return content.getvalue()
