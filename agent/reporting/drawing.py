"""Figures as files whose failure ends nothing: what cannot be drawn becomes a sentence.

A figure is decoration. Matplotlib raises exceptions of any kind, some of them when it is imported (an unknown backend in the
environment, a settings file that is not UTF-8, no folder for its cache), so it is loaded inside the guard.
"""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.reporting.figure_kinds import FigureKind
from agent.schema.decision import Decision
from instrument_adapters.plain_text import as_html
from instrument_adapters.scan import Scan

if TYPE_CHECKING:
    from agent.history.measured_curves import Measured

_MAX_REASON = 300


@dataclass(frozen=True)
class Drawing:
    """A figure as the content of a file, or why there is none.

    Parameters
    ----------
    kind
        Kind of the figure; None if no figure at all can be drawn.
    content
        Content of the file; None if it could not be drawn.
    problem
        Sentence on why it could not be drawn; otherwise empty.
    """

    kind: FigureKind | None
    content: bytes | None
    problem: str = ""


def drawings(
    scan: Scan, decision: Decision, measured: "Sequence[Measured]" = (), form: str = "png", only: FigureKind | None = None
) -> Iterator[Drawing]:
    """Each figure that the decision can show, in reading order. Raises nothing: what fails is named in its drawing.

    Parameters
    ----------
    scan
        Scan that was decided on.
    decision
        Decision on it.
    measured
        Results at its points so far.
    form
        Format of the files: "png", "svg" or "pdf".
    only
        The one kind that is wanted; None: all.
    """
    try:
        from agent.reporting.figure_output import available_figures

        kinds = [kind for kind in available_figures(decision, measured) if only in (None, kind)]
    except Exception as error:  # noqa: BLE001 - see the module
        yield Drawing(None, None, f"no figure of decision {decision.record.decision_id} could be drawn: {_reason(error)}")
        return
    for kind in kinds:
        yield _drawing(scan, decision, measured, kind, form)


def png_tag(png: bytes, alt: str) -> str:
    """A PNG as an HTML image with embedded data; `alt` says what it shows."""
    return f'<img alt="{as_html(alt)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _drawing(scan: Scan, decision: Decision, measured: "Sequence[Measured]", kind: FigureKind, form: str) -> Drawing:
    from agent.reporting.figure_output import figure_bytes, figure_of

    try:
        return Drawing(kind, figure_bytes(figure_of(scan, decision, measured, kind), form))
    except Exception as error:  # noqa: BLE001 - see the module
        name = f"figure '{kind}' of decision {decision.record.decision_id}"
        return Drawing(kind, None, f"{name} could not be drawn: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What was raised, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:_MAX_REASON]}" if text else type(error).__name__
