"""Figure of the simulated worlds: one frame of each tier above the true types of its walls.

`python -m benchmarks.realism.tier_pictures --out docs/images` draws `tiers.png`.
"""

import argparse
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from agent.reporting.figures.style import COLOURS, MEDIUM, SMALL
from simulators.clock import SimulatedClock
from simulators.mfp3d import SimulatedMFP3D
from simulators.sample.domains import WALL_TYPES, DomainState, WallType
from simulators.tiers import GRADED, HARD, INTERSPERSED, SHUFFLED, SINGLE_TYPE, tier

SHOWN = (*GRADED, HARD, *INTERSPERSED, SINGLE_TYPE[0], SHUFFLED)
_SEED = 1
_LINE_M = 8e-9  # half of the drawn width of walls
_GROUND = ("#ffffff", "#d9d9d9", "#f2f2f2")  # c+, c-, a
_NAMES = ("stripe", "needle at c+", "needle at c-", "herringbone", "180° c-c", "boundary")
_COLUMNS, _SIDE_IN = 4, 2.0
_DPI = 105
_COLOURS_KEPT = 40  # colours of the file: enough for grey scales and a dozen colours


def main() -> None:
    """Draw `tiers.png`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the figure")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    save(picture(_SEED), out / "tiers.png")


def picture(seed: int) -> Figure:
    """Figure of amplitude and truth of world `seed` of each tier."""
    rows = -(-len(SHOWN) // _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * _SIDE_IN, 2 * rows * _SIDE_IN + 0.55), dpi=_DPI, layout="constrained")
    axes = figure.subplots(2 * rows, _COLUMNS, squeeze=False)
    for number, name in enumerate(SHOWN):
        row, column = divmod(number, _COLUMNS)
        _show(name, seed, axes[2 * row, column], axes[2 * row + 1, column])
    handles = [Patch(color=colour, label=label) for colour, label in zip(COLOURS, _NAMES, strict=False)]
    handles += [Patch(facecolor=_GROUND[1], label="c- domain")]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=SMALL, frameon=False)
    return figure


def types_seen(distance_m: Float[np.ndarray, "*shape"], wall: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """`WallType` of pixels that lie on a wall, `NONE` elsewhere."""
    return np.where(distance_m <= _LINE_M, wall, WallType.NONE)


def save(figure: Figure, path: Path) -> None:
    """Save the figure as a small PNG with few colours."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    drawn.quantize(_COLOURS_KEPT, dither=Image.Dither.NONE).save(path, optimize=True)


def _show(name: str, seed: int, above: Axes, below: Axes) -> None:
    instrument = SimulatedMFP3D(tier(name, seed), clock=SimulatedClock(None))
    amplitude = instrument.scan().channels["Amplitude1Retrace"]
    assert instrument.last_recording is not None
    truth = instrument.surface.truth_at(instrument.last_recording.true_xy_m.reshape(-1, 2))
    ground = np.where(truth.state == DomainState.C_MINUS, 1, np.where(truth.state >= DomainState.A_FIRST, 2, 0))
    seen = types_seen(truth.distance_m, truth.wall.astype(int))
    drawn = np.where(seen == WallType.NONE, ground, len(_GROUND) - 1 + seen).reshape(amplitude.shape)
    above.imshow(amplitude, cmap="gray", origin="lower", vmin=0, vmax=float(np.quantile(amplitude, 0.995)))
    colours = ListedColormap([*_GROUND, *COLOURS[: len(WALL_TYPES)]])
    below.imshow(drawn, cmap=colours, origin="lower", vmin=0, vmax=colours.N - 1, interpolation="nearest")
    above.set_title(name, fontsize=MEDIUM)
    for axes in (above, below):
        axes.set_xticks([])
        axes.set_yticks([])


if __name__ == "__main__":
    main()
