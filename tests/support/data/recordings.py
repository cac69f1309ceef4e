"""Small recorded data sets, in the formats that can be replayed."""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from instrument_adapters.geometry import Frame
from instrument_adapters.replay.mexpsimu import FILMS
from instrument_adapters.scan import Scan
from simulators.controller.ibw import write_ibw

STEPS = np.arange(48)
BIAS_V = 12 * np.interp(STEPS % 16, [0, 4, 12, 16], [0, 1, -1, 0])  # three cycles of 16 steps, from 0 up
SIDE = 24
NOTE: Mapping[str, object] = {
    "FastScanSize": 2e-6,
    "SlowScanSize": 1e-6,
    "XOffset": -3e-6,
    "YOffset": 4e-6,
    "ScanAngle": 0,
    "ScanRate": 2.0,
    "ScanDown": 1,
}


def spectra(side: int = SIDE) -> np.ndarray:
    """Loops (side, side, 48): square, of a height that grows with the pixel's raster number; the first cycle ten times higher."""
    height = 1 + np.arange(side**2).reshape(side, side, 1) / side**2
    up = np.interp(STEPS % 16, [0, 1.9, 2.1, 9.9, 10.1, 16], [-1, -1, 1, 1, -1, -1])  # up at 6 V, down at -6 V
    return height * up * np.where(STEPS < 16, 10.0, 1.0)


def write_films(folder: Path, values: np.ndarray | None = None, bias_V: np.ndarray = BIAS_V) -> Path:
    """The three files of mexpsimu, small."""
    for name in FILMS:
        np.savez(
            folder / f"PTO_BEPS_{name}.npz", spectra=spectra() if values is None else values, vstep=bias_V, image=np.zeros(2)
        )
    return folder


def write_scan(path: Path, seconds: float, value: float = 0.0, **note: object) -> Path:
    """An .ibw of 3 x 5 pixels, saved at so many seconds after the epoch of Igor."""
    frame = Frame(size_fast_m=2e-6, size_slow_m=1e-6, x_offset_m=-3e-6, y_offset_m=4e-6, rows=3, cols=5)
    image = np.arange(15, dtype=np.float32).reshape(3, 5) + np.float32(value)
    full = {"ScanRate": 2.0, "ScanDown": 1.0, "Seconds": seconds} | note
    write_ibw(path, Scan({"AmplitudeRetrace": image}, {"AmplitudeRetrace": "m"}, frame, path.stem, metadata=full))
    return path


def write_nsid(path: Path, **note: object) -> Path:
    """An NSID file of 3 rows and 5 columns."""
    with h5py.File(path, "w") as file:
        group = file.create_group("Measurement_000/Channel_0/Channel_0")
        data = group.create_dataset("Channel_0", data=np.arange(15, dtype=np.float32).reshape(5, 3))
        data.attrs.update({"quantity": "AmplitudeRetrace", "units": "m"})
        data.attrs["DIMENSION_LABELS"] = ["x", "y"]
        group.create_group("original_metadata").attrs.update({**NOTE, **note})
    return path
