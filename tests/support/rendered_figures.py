"""What a figure shows, read back from it."""

from io import BytesIO

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure


def render(figure: Figure) -> bytes:
    png = BytesIO()
    figure.savefig(png, format="png", dpi=60, metadata={"Software": None})
    return png.getvalue()


def offsets(figure: Figure, gid: str) -> np.ndarray:
    (found,) = (c for axes in figure.axes for c in axes.collections if c.get_gid() == gid)
    return np.asarray(found.get_offsets())


def texts(figure: Figure) -> str:
    figure.draw_without_rendering()
    return " ".join(t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_text())
