"""Three PbTiO3 films with a hysteresis loop at every pixel, from the data files of the PyPI package mexpsimu (Oak Ridge, MIT).

The package's own images are means of the loops, so choosing points by them would use the answer. The image used here is causal:
the magnitude of the first point of each loop, at 0 V, before any bias was applied. The measurement is the mean loop of the second
and later cycles. The package is not imported, only its files are read. It states neither the unit of the response nor the date.
"""

import importlib.util
import re
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from instrument_adapters.errors import ScanFileError

FILMS = ("1d3um", "1d7um", "3um")
REFERENCE = (
    Path(sys.prefix) / "reference" / "mexpsimu"
)  # where `make reference` installs it: in the environment, outside site-packages
_FETCH = "fetch mexpsimu with: make reference (or pip install mexpsimu==0.1.1), or give the folder of its .npz files with --data"
_NPZ_ERRORS = (OSError, ValueError, KeyError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True, eq=False)
class Film:
    """One film of mexpsimu.

    Parameters
    ----------
    name
        Name of the film, one of `FILMS`.
    side_m
        Side of the square frame in metres, from the file's name.
    spectra
        Signed response at each step of the bias, in the package's arbitrary unit, shape (rows, cols, steps).
    bias_V
        Bias in volts: two or more equal cycles that start at 0 V, shape (steps,).
    """

    name: str
    side_m: float
    spectra: Float[np.ndarray, "rows cols steps"]
    bias_V: Float[np.ndarray, " steps"]

    @property
    def amplitude(self) -> Float[np.ndarray, "rows cols"]:
        """Magnitude of the response before any bias was applied; the only image that is known before a loop is measured."""
        return np.asarray(np.abs(self.spectra[:, :, 0]))

    @property
    def loops(self) -> Float[np.ndarray, "n period"]:
        """The mean loop of the second and later cycles at each pixel, in raster order."""
        return mean_loops(self.spectra.reshape(-1, self.spectra.shape[2]), self.bias_V)[0]

    @property
    def cycle_V(self) -> Float[np.ndarray, " period"]:
        """Bias of one cycle."""
        return self.bias_V[: _period(self.bias_V)]


def data_folder(folder: Path | None = None) -> Path:
    """`folder`, or else the folder of mexpsimu's data files on this computer.

    Raises
    ------
    ScanFileError
        If mexpsimu is not installed.
    """
    if folder is not None:
        return folder
    spec = importlib.util.find_spec("mexpsimu")
    installed = Path(spec.origin).parent if spec is not None and spec.origin is not None else None
    for home in (installed, REFERENCE):
        if home is not None and (home / "data").is_dir():
            return home / "data"
    raise ScanFileError(f"the films of mexpsimu are not on this computer; {_FETCH}")


def read_film(name: str, folder: Path | None = None) -> Film:
    """The film `name`, from `folder` or from the installed mexpsimu.

    Raises
    ------
    ScanFileError
        If there is no such film, or its file is missing, damaged or of an unknown layout.
    """
    size = re.fullmatch(r"(\d{1,3})(?:d(\d{1,3}))?um", name)
    if size is None or name not in FILMS:
        raise ScanFileError(f"mexpsimu has no film '{name}'; it has {', '.join(FILMS)}")
    path = data_folder(folder) / f"PTO_BEPS_{name}.npz"
    if not path.is_file():
        raise ScanFileError(f"{path} is missing; {_FETCH}")
    try:
        with np.load(path, allow_pickle=False) as data:
            spectra, bias_V = (np.asarray(data[key], dtype=np.float64) for key in ("spectra", "vstep"))
    except _NPZ_ERRORS as error:
        raise ScanFileError(f"{path} is damaged or not a file of mexpsimu ({type(error).__name__}: {error}); {_FETCH}") from error
    _check(spectra, bias_V, path)
    return Film(name, float(f"{size[1]}.{size[2] or 0}") * 1e-6, spectra, bias_V)


def mean_loops(
    spectra: Float[np.ndarray, "n steps"], bias_V: Float[np.ndarray, " steps"]
) -> tuple[Float[np.ndarray, "n period"], Float[np.ndarray, " period"]]:
    """(mean loop over all cycles except the first, bias of one cycle)."""
    period = _period(bias_V)
    return spectra.reshape(len(spectra), -1, period)[:, 1:].mean(axis=1), bias_V[:period]


def loop_numbers(
    loops: Float[np.ndarray, "n period"], bias_V: Float[np.ndarray, " period"]
) -> dict[str, Float[np.ndarray, " n"]]:
    """Loop parameters that need no fit, each of shape (n,), by name with unit ("au": the recording's arbitrary unit).

    `area_auV`, the signed area enclosed by the branches; `span_au`, the highest minus the lowest response; `mean_au`, the mean
    response; `switching_down_V` and `switching_up_V`, the mean bias of the falling and of the rising branch, weighted by the
    change of the response: the switching bias without a search for roots.
    """
    top, bottom = int(bias_V.argmax()), int(bias_V.argmin())
    falling = np.arange(top, bottom + 1)
    rising = np.arange(bottom, top + len(bias_V) + 1) % len(bias_V)
    return {
        "area_auV": np.asarray(0.5 * (loops * (np.roll(bias_V, -1) - np.roll(bias_V, 1))).sum(axis=1)),
        "span_au": np.asarray(np.ptp(loops, axis=1)),
        "mean_au": np.asarray(loops.mean(axis=1)),
        "switching_down_V": _switching(loops[:, falling], bias_V[falling]),
        "switching_up_V": _switching(loops[:, rising], bias_V[rising]),
    }


def _switching(branch: np.ndarray, bias_V: np.ndarray) -> np.ndarray:
    change = np.abs(np.diff(branch, axis=1))
    return np.asarray((change * (bias_V[1:] + bias_V[:-1]) / 2).sum(axis=1) / change.sum(axis=1))


def _period(bias_V: np.ndarray) -> int:
    peaks = np.flatnonzero(np.isclose(bias_V, bias_V.max()))
    return int(peaks[1] - peaks[0]) if len(peaks) > 1 else 0


def _check(spectra: np.ndarray, bias_V: np.ndarray, path: Path) -> None:
    if spectra.ndim != 3 or bias_V.shape != spectra.shape[2:] or min(spectra.shape[:2]) < 2 or not np.isfinite(bias_V).all():
        raise ScanFileError(
            f"{path} holds spectra of shape {spectra.shape} for a bias of shape {bias_V.shape}; "
            "the shapes must be (rows, cols, steps) and (steps,), the bias finite; give the file as mexpsimu provides it"
        )
    period = _period(bias_V) if len(bias_V) else 0
    if period < 4 or len(bias_V) % period or len(bias_V) < 2 * period or int(bias_V[:period].argmin()) < int(bias_V.argmax()):
        raise ScanFileError(
            f"the bias of {path} does not consist of two or more equal cycles 0, up, down, 0 ({len(bias_V)} steps, "
            f"period {period}); give the file as mexpsimu provides it"
        )
