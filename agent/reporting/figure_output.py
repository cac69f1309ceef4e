"""Figures of a decision by name, for notebooks, reports and the command line."""

import base64
import importlib
import sys
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal, get_args

from matplotlib.figure import Figure

from agent.history.measured_curves import Measured
from agent.reporting.figures import (
    FigureError,
    latent_figure,
    latent_grid_figure,
    loops_figure,
    loops_of,
    pareto_figure,
    patch_figure,
    reward_figure,
    scan_figure,
)
from agent.reporting.figures.pareto import has_front
from agent.reporting.figures.style import figure_factory
from agent.schema.decision import Decision
from instrument_adapters.plain_text import as_html
from instrument_adapters.scan import Scan

FigureKind = Literal["scan", "latent", "reward", "latent_grid", "patches", "pareto", "loops"]
KINDS: tuple[FigureKind, ...] = get_args(FigureKind)


def available_figures(decision: Decision, measured: Sequence[Measured]) -> list[FigureKind]:
    """Kinds of figures that a decision can show, in reading order."""
    chosen = decision.record.chosen is not None
    possible = {
        "scan": True,
        "latent": chosen,
        "patches": chosen,
        "reward": chosen,
        "latent_grid": "latents" in decision.arrays,
        "pareto": has_front(decision.record),
        "loops": bool(loops_of(measured)),
    }
    return [kind for kind in ("scan", "patches", "loops", "latent", "reward", "latent_grid", "pareto") if possible[kind]]


def figure_of(scan: Scan, decision: Decision, measured: Sequence[Measured], kind: str) -> Figure:
    """One figure of a decision.

    Raises
    ------
    FigureError
        If there is no figure of this kind, or the decision cannot show it.
    """
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
    figure.savefig(content, format=form, dpi="figure", metadata=undated[form])
    return content.getvalue()


def png_tag(figure: Figure, alt: str) -> str:
    """The figure as an HTML image with embedded data; `alt` says what it shows."""
    return f'<img alt="{as_html(alt)}" src="data:image/png;base64,{base64.b64encode(figure_bytes(figure, "png")).decode()}">'
