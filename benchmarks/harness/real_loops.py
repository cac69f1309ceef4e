"""Three PbTiO3 films with a hysteresis loop at every pixel: real ground truth for the choice of points.

`instrument_adapters.replay.mexpsimu` defines the image that is available before any loop, and what a loop is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from benchmarks.harness.commandline import CannotRunError
from instrument_adapters.errors import ScanFileError
from instrument_adapters.geometry import Frame
from instrument_adapters.replay.mexpsimu import FILMS, loop_numbers, read_film
from instrument_adapters.scan import Scan

NAMES = FILMS
LOOP_COMPONENTS, PARAMETER_COMPONENTS = 8, 4
_PARAMETERS = ("area_auV", "span_au", "switching_down_V", "switching_up_V")


@dataclass(frozen=True, eq=False)
class RealLoops:
    """An image and the result of a loop at each of its pixels.

    Parameters
    ----------
    name
        Name of the film, one of `NAMES`.
    image
        Shape (rows, cols): |response| at 0 V before any bias is applied.
    loops
        Shape (rows * cols, c), pixels in raster order: first principal components of the mean loop of the second and later
        cycles.
    parameters
        Shape (rows * cols, p): loop parameters with mean 0 and variance 1: first principal components, area, span, and mean
        switching biases downwards and upwards.
    numbers
        Shape (rows * cols, q): the parameters that an instrument derives from a loop by itself, in its own units.
    number_names
        Names of the q parameters.
    kept
        Share of the variance of the loops that the principal components contain.
    side_m
        Side of the frame in metres.
    """

    name: str
    image: Float[np.ndarray, "rows cols"]
    loops: Float[np.ndarray, "n c"]
    parameters: Float[np.ndarray, "n p"]
    numbers: Float[np.ndarray, "n q"]
    number_names: tuple[str, ...]
    kept: float
    side_m: float

    @property
    def pixels(self) -> Float[np.ndarray, "n 2"]:
        """Shape (n, 2): (row, col) of all pixels in raster order."""
        return np.stack(np.unravel_index(np.arange(self.image.size), self.image.shape), axis=1)

    def scan(self) -> Scan:
        """The image as the scan that the agent receives."""
        rows, cols = self.image.shape
        frame = Frame(size_fast_m=self.side_m, size_slow_m=self.side_m, rows=rows, cols=cols)
        channel = "Amplitude"
        return Scan({channel: self.image.astype(np.float32)}, {channel: ""}, frame, f"PTO-{self.name}", sample_id="PTO")


def read_real_loops(name: str, folder: Path | None = None) -> RealLoops:
    """The film `name`, read from `folder`, by default from the installed package mexpsimu.

    Raises
    ------
    CannotRunError
        If it is not available.
    """
    try:
        film = read_film(name, folder)
    except ScanFileError as error:
        raise CannotRunError(str(error)) from error
    loops = film.loops
    components = _components(loops)
    kept = float((components[:, :LOOP_COMPONENTS] ** 2).sum() / (components**2).sum())
    numbers = loop_numbers(loops, film.cycle_V)
    return RealLoops(
        name,
        film.amplitude,
        components[:, :LOOP_COMPONENTS],
        loop_parameters(numbers, components),
        np.column_stack(list(numbers.values())),
        tuple(numbers),
        kept,
        film.side_m,
    )


def loop_parameters(
    numbers: Mapping[str, Float[np.ndarray, " n"]], components: Float[np.ndarray, "n c"]
) -> Float[np.ndarray, "n p"]:
    """Standardised loop parameters; see `RealLoops.parameters`."""
    parameters = np.column_stack([components[:, :PARAMETER_COMPONENTS], *(numbers[name] for name in _PARAMETERS)])
    return np.asarray((parameters - parameters.mean(axis=0)) / parameters.std(axis=0))


def loop_classes(loops: Float[np.ndarray, "n c"], classes: int, seed: int) -> Int[np.ndarray, " n"]:
    """Class of each loop by k-means of all loops, fixed by the seed and unknown to every policy."""
    with threadpool_limits(1):
        return np.asarray(KMeans(classes, n_init=10, random_state=seed).fit(loops).labels_, dtype=np.int64)


def _components(loops: np.ndarray) -> np.ndarray:
    left, scale, _ = np.linalg.svd(loops - loops.mean(axis=0), full_matrices=False)
    return np.asarray(left * scale)
