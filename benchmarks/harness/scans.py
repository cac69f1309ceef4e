"""Scans for benchmarks: recorded, simulated, enlarged, or without structure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.commandline import REPOSITORY
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

RECORDED = REPOSITORY.parent / "shared" / "data"
PITCH_M = 20e-9
SHUFFLED_BLOCK_PX = 2  # far smaller than any window, so that a window keeps nothing of the scan but its histogram


@dataclass(frozen=True, eq=False)
class Material:
    """A scan, the next scan of the same sample if there is one, and a description of their source."""

    scan: Scan
    again: Scan | None
    source: str


def material(path: Path | None) -> Material:
    """The scan in `path`; by default a real MFP-3D scan of 256 x 256 pixels if available, else a simulated one."""
    path = path or RECORDED / "scan_0001.ibw"
    if path.exists():
        return Material(read_scan(path), None, f"recorded scan {path.name}")
    first, second = _simulated()
    return Material(first, second, "simulated MFP-3D, seed 0")


def rescans() -> Material:
    """Two consecutive scans of one sample: recorded ones, 256 s apart, if available, else simulated ones."""
    paths = [RECORDED / f"PZT_final000{i}.h5" for i in (1, 2)]
    if all(path.exists() for path in paths):
        first, second = (read_scan(path) for path in paths)
        return Material(first, second, "recorded scans PZT_final0001.h5 and PZT_final0002.h5")
    first, second = _simulated()
    return Material(first, second, "simulated MFP-3D, seed 0, two scans")


def _simulated() -> tuple[Scan, Scan]:
    from simulators.clock import SimulatedClock
    from simulators.config import MFP3DConfig
    from simulators.mfp3d import SimulatedMFP3D

    instrument = SimulatedMFP3D(MFP3DConfig(seed=0), clock=SimulatedClock(None))
    return instrument.scan(), instrument.scan()


def enlarged(scan: Scan, side_px: int, seed: int) -> Scan:
    """A square scan of `side_px` made of the main channel: mirrored tiles, or a corner of it, with added noise."""
    image = scan.channels[scan.find_channel()]
    tiled = np.pad(image, [(0, max(0, side_px - n)) for n in image.shape], mode="symmetric")[:side_px, :side_px]
    noise = np.random.default_rng(seed).normal(scale=0.05 * image.std(), size=tiled.shape)
    return as_scan(tiled + noise, f"enlarged-{side_px}-{seed}")


def as_scan(image: np.ndarray, scan_id: str) -> Scan:
    """A scan with `image` as its amplitude."""
    rows, cols = image.shape
    frame = Frame(size_fast_m=PITCH_M * (cols - 1), size_slow_m=PITCH_M * (rows - 1), rows=rows, cols=cols)
    name = "Amplitude1Retrace"
    return Scan({name: image.astype(np.float32)}, {name: ""}, frame, scan_id, sample_id=scan_id)


def structureless(scan: Scan) -> Mapping[str, Callable[[int], Scan]]:
    """Kind -> function of a seed that returns a scan without types, of 256 x 256 pixels or the size of `scan`."""
    image = scan.channels[scan.find_channel()].astype(np.float64)

    def noise(seed: int) -> Scan:
        return as_scan(np.random.default_rng(seed).normal(size=(256, 256)), f"noise-{seed}")

    def ramp(seed: int) -> Scan:
        rng = np.random.default_rng(seed)
        down, right = np.mgrid[:256, :256] / 255
        angle = rng.uniform(0, 2 * np.pi)
        return as_scan(np.cos(angle) * down + np.sin(angle) * right + rng.normal(scale=0.3, size=(256, 256)), f"ramp-{seed}")

    def periodic(seed: int) -> Scan:
        rng = np.random.default_rng(seed)
        down, right = np.mgrid[:256, :256]
        angle, period = rng.uniform(0, np.pi), rng.uniform(8, 16)
        phase = 2 * np.pi * (np.cos(angle) * down + np.sin(angle) * right) / period
        return as_scan(np.sin(phase) + rng.normal(scale=0.1, size=(256, 256)), f"periodic-{seed}")

    def shuffled(seed: int) -> Scan:
        return as_scan(shuffle_blocks(image, SHUFFLED_BLOCK_PX, np.random.default_rng(seed)), f"shuffled-{seed}")

    return {"white noise": noise, "noisy ramp": ramp, "periodic texture": periodic, "shuffled scan": shuffled}


def shuffle_blocks(image: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """The image with its blocks in random order; incomplete blocks at the edges are left out."""
    rows, cols = (n // side_px for n in image.shape)
    blocks = image[: rows * side_px, : cols * side_px].reshape(rows, side_px, cols, side_px).swapaxes(1, 2)
    permuted = rng.permutation(blocks.reshape(rows * cols, side_px, side_px))
    return permuted.reshape(rows, cols, side_px, side_px).swapaxes(1, 2).reshape(rows * side_px, cols * side_px)
