"""Reads back what a figure shows: pixels, point positions, texts."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure


def render(figure: Figure) -> bytes:
    """The figure as PNG."""
    png = BytesIO()
    figure.savefig(png, format="png", dpi=60, metadata={"Software": None})
    return png.getvalue()


def offsets(figure: Figure, gid: str) -> np.ndarray:
    """Positions of the points of the one collection with this gid."""
    (collection,) = (c for axes in figure.axes for c in axes.collections if c.get_gid() == gid)
    return np.asarray(collection.get_offsets())


def texts(figure: Figure) -> str:
    """All texts in the figure, joined by spaces."""
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text())
