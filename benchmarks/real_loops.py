"""Three PbTiO3 films with a hysteresis loop at every pixel: real ground truth for where to measure.

They come with the PyPI package mexpsimu (Oak Ridge, MIT). Its images are means of the loops, so a choice made from them would
know the answer. The image used here is causal: the magnitude of the first point of each loop, at 0 V, before any bias was
applied. What is to be predicted is the loop of the second and later cycles.
"""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from benchmarks.commandline import CannotRunError
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

NAMES = ("1d3um", "1d7um", "3um")
SIDE_M = {"1d3um": 1.3e-6, "1d7um": 1.7e-6, "3um": 3e-6}
LOOP_COMPONENTS, PARAMETER_COMPONENTS = 8, 4
REFERENCE = Path(sys.prefix) / "reference"  # where `make reference` puts it, beside the packages


@dataclass(frozen=True, eq=False)
class RealLoops:
    """An image and what a loop at each of its pixels would say.

    Parameters
    ----------
    name
        One of `NAMES`.
    image
        Shape (rows, cols): |response| at 0 V before any bias.
    loops
        Shape (rows * cols, c), pixels in raster order: the mean loop of the second and later cycles, as its first principal
        components.
    parameters
        Shape (rows * cols, p): numbers that one draws from a loop, each of mean 0 and variance 1: its first principal
        components, area, span, and the mean biases of switching down and up.
    kept
        Share of the loops' variance that the components hold.
    """

    name: str
    image: Float[np.ndarray, "rows cols"]
    loops: Float[np.ndarray, "n c"]
    parameters: Float[np.ndarray, "n p"]
    kept: float

    @property
    def pixels(self) -> Float[np.ndarray, "n 2"]:
        """Shape (n, 2): (row, col) of all pixels in raster order."""
        return np.stack(np.unravel_index(np.arange(self.image.size), self.image.shape), axis=1)

    def scan(self) -> Scan:
        """The image as the scan that the agent is given."""
        rows, cols = self.image.shape
        side = SIDE_M[self.name]
        frame = Frame(size_fast_m=side, size_slow_m=side, rows=rows, cols=cols)
        channel = "Amplitude"
        return Scan({channel: self.image.astype(np.float32)}, {channel: "m"}, frame, f"PTO-{self.name}", sample_id="PTO")


def read_real_loops(name: str, folder: Path | None = None) -> RealLoops:
    """The data set `name`, from `folder` or from where mexpsimu is installed.

    Raises
    ------
    CannotRunError
        If it is not there.
    """
    folder = _folder() if folder is None else folder
    path = folder / f"PTO_BEPS_{name}.npz"
    if not path.is_file():
        raise CannotRunError(f"{path} is missing; fetch mexpsimu with: make reference")
    with np.load(path, allow_pickle=False) as data:
        spectra, bias_V = data["spectra"], data["vstep"]
    loops, bias_V = mean_loops(spectra.reshape(-1, spectra.shape[2]), bias_V)
    components = _components(loops)
    kept = float((components[:, :LOOP_COMPONENTS] ** 2).sum() / (components**2).sum())
    return RealLoops(
        name, np.abs(spectra[:, :, 0]), components[:, :LOOP_COMPONENTS], loop_parameters(loops, components, bias_V), kept
    )


def _folder() -> Path:
    if REFERENCE.is_dir() and str(REFERENCE) not in sys.path:
        sys.path.append(str(REFERENCE))
    spec = importlib.util.find_spec("mexpsimu")
    if spec is None or spec.origin is None:
        raise CannotRunError("this benchmark needs the loops of mexpsimu, which is not installed; fetch it with: make reference")
    return Path(spec.origin).parent / "data"


def mean_loops(
    spectra: Float[np.ndarray, "n steps"], bias_V: Float[np.ndarray, " steps"]
) -> tuple[Float[np.ndarray, "n period"], Float[np.ndarray, " period"]]:
    """The mean over all cycles but the first, and the bias of one cycle."""
    period = _period(bias_V)
    return spectra.reshape(len(spectra), -1, period)[:, 1:].mean(axis=1), bias_V[:period]


def loop_parameters(
    loops: Float[np.ndarray, "n period"], components: Float[np.ndarray, "n c"], bias_V: Float[np.ndarray, " period"]
) -> Float[np.ndarray, "n p"]:
    """Standardised numbers drawn from loops; see `RealLoops.parameters`."""
    area = 0.5 * (loops * (np.roll(bias_V, -1) - np.roll(bias_V, 1))).sum(axis=1)
    top, bottom = int(bias_V.argmax()), int(bias_V.argmin())
    falling = np.arange(top, bottom + 1)
    rising = np.arange(bottom, top + len(bias_V) + 1) % len(bias_V)
    switching = [_switching(loops[:, branch], bias_V[branch]) for branch in (falling, rising)]
    parameters = np.column_stack([components[:, :PARAMETER_COMPONENTS], area, np.ptp(loops, axis=1), *switching])
    return np.asarray((parameters - parameters.mean(axis=0)) / parameters.std(axis=0))


def _components(loops: np.ndarray) -> np.ndarray:
    left, scale, _ = np.linalg.svd(loops - loops.mean(axis=0), full_matrices=False)
    return np.asarray(left * scale)


def _period(bias_V: np.ndarray) -> int:
    peaks = np.flatnonzero(np.isclose(bias_V, bias_V.max()))
    return int(peaks[1] - peaks[0])


def _switching(branch: np.ndarray, bias_V: np.ndarray) -> np.ndarray:
    """Mean bias of the steps weighted by how much the response changes there: where it switches, without a root to find."""
    change = np.abs(np.diff(branch, axis=1))
    return np.asarray((change * (bias_V[1:] + bias_V[:-1]) / 2).sum(axis=1) / change.sum(axis=1))
