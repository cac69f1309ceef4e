"""Figures that compare real and simulated scans, for the documentation.

`python -m benchmarks.realism.pictures --out docs/images` draws all six channels of a real DART scan above those of a world of the
medium tier, and the amplitudes of five real scans above those of five worlds. Both rows share the grey scale of each channel.
Only development seeds are shown.
"""

import argparse
import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.harness.commandline import CannotRunError, run
from benchmarks.harness.scans import RECORDED
from benchmarks.realism.study import SCANS, TIER
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.mfp3d import SimulatedMFP3D
from simulators.tiers import tier

CHANNEL_WORLD = 1
AMPLITUDE_WORLDS = (0, 1, 2, 3, 6)
_SHOWN: Mapping[str, tuple[str, float, bool]] = {  # channel -> unit, size of the unit, whether the median is subtracted
    "Height": ("nm", 1e-9, True),
    "Amplitude1": ("pm", 1e-12, False),
    "Amplitude2": ("pm", 1e-12, False),
    "Phase1": ("°", 1.0, False),
    "Phase2": ("°", 1.0, False),
    "Frequency": ("kHz", 1e3, True),
}
_PANEL_IN, _DPI, _COLOURS = 1.75, 110, 64
_PERCENTILES = (1, 99)


def main() -> None:
    """Draw `sim-channels.png` and `sim-amplitude.png`."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True, help="directory for the figures")
    out = arguments.parse_args().out
    if not RECORDED.is_dir():
        raise CannotRunError(f"the recorded scans are missing: {RECORDED} does not exist")
    scans = [read_scan(RECORDED / name) for name in SCANS]
    worlds = {seed: simulated(seed) for seed in {CHANNEL_WORLD, *AMPLITUDE_WORLDS}}
    out.mkdir(parents=True, exist_ok=True)
    save(channels(scans[0], worlds[CHANNEL_WORLD]), out / "sim-channels.png")
    save(amplitudes(scans, [worlds[seed] for seed in AMPLITUDE_WORLDS]), out / "sim-amplitude.png")


def simulated(seed: int) -> Scan:
    """First frame of a world of the medium tier."""
    return SimulatedMFP3D(tier(TIER, seed), clock=SimulatedClock(None)).scan()


def channels(real: Scan, simulated_scan: Scan) -> Figure:
    """Figure of all channels of both scans."""
    figure = Figure(figsize=(_PANEL_IN * len(_SHOWN), 2.5 * _PANEL_IN), layout="constrained")
    axes = figure.subplots(2, len(_SHOWN))
    for column, (name, (unit, size, relative)) in enumerate(_SHOWN.items()):
        images = [np.asarray(scan.channels[scan.find_channel(name)], np.float64) / size for scan in (real, simulated_scan)]
        if relative:
            images = [image - np.median(image) for image in images]
        low, high = (-90, 270) if unit == "°" else np.percentile(np.stack(images), _PERCENTILES)
        for axis, image in zip(axes[:, column], images, strict=True):
            drawn = axis.imshow(image, cmap="gray", vmin=low, vmax=high, origin="lower", interpolation="antialiased")
            axis.set(xticks=[], yticks=[])
        axes[0, column].set_title(f"{name} ({unit})", fontsize=8)
        figure.colorbar(drawn, ax=axes[:, column], location="bottom", shrink=0.9).ax.tick_params(labelsize=6)
    for axis, scan, label in zip(axes[:, 0], (real, simulated_scan), ("real", "simulated"), strict=True):
        axis.set_ylabel(f"{label}, {_side_um(scan):g} µm", fontsize=8)
    return figure


def amplitudes(scans: list[Scan], worlds: list[Scan]) -> Figure:
    """Figure of all amplitudes relative to their means, on one grey scale."""
    figure = Figure(figsize=(_PANEL_IN * len(scans) + 0.6, 2.2 * _PANEL_IN), layout="constrained")
    axes = figure.subplots(2, len(scans))
    for row, label, shown in zip(axes, ("real", "simulated"), (scans, worlds), strict=True):
        for axis, scan in zip(row, shown, strict=True):
            image = scan.channels[scan.find_channel()]
            drawn = axis.imshow(image / image.mean(), cmap="gray", vmin=0, vmax=3, origin="lower", interpolation="antialiased")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{label}, {_side_um(scan):g} µm", fontsize=8)
    figure.colorbar(drawn, ax=axes, shrink=0.8, label="amplitude / mean of the frame")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Save the figure as a PNG with few colours, a third of the full size."""
    raw = io.BytesIO()
    with mpl.rc_context({"font.size": 8}):
        figure.savefig(raw, format="png", dpi=_DPI)
    Image.open(raw).convert("L").quantize(_COLOURS).save(path, optimize=True)


def _side_um(scan: Scan) -> float:
    return round(scan.frame.size_fast_m * 1e6, 1)


if __name__ == "__main__":
    run(main)
