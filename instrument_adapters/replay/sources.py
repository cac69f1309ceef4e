"""Sources of a replay: the films of mexpsimu, a scan file, or a folder of scan files in the order of recording."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from instrument_adapters.errors import ScanFileError
from instrument_adapters.formats.instrument_note import line_time
from instrument_adapters.formats.scan_file import READERS, read_scan
from instrument_adapters.geometry import Frame
from instrument_adapters.replay.instrument import Loops, RecordedScan
from instrument_adapters.replay.mexpsimu import FILMS, loop_numbers, read_film
from instrument_adapters.scan import Scan

FILM_SOURCE = "mexpsimu"
UNKNOWN_LINE_S = 1.0  # used if a recording does not state the duration of a line


def open_source(source: str, data: Path | None = None, sample_id: str | None = None) -> list[Callable[[], RecordedScan]]:
    """Functions that read the recordings of `source`, in order.

    Parameters
    ----------
    source
        "mexpsimu" for its three films, "mexpsimu:3um" for one of them; or the path of a scan file (.ibw, NSID .h5, .hdf5,
        .hf5) or of a folder of such files, which are ordered by time of recording if all of them state it, otherwise by name.
    data
        Folder of mexpsimu's .npz files; by default that of the installed package.
    sample_id
        Name of the sample; by default a different name for each film, and "sample" for files.

    Raises
    ------
    ScanFileError
        If there is nothing to replay, or a file cannot be read.
    """
    kind, _, film = source.partition(":")
    if kind == FILM_SOURCE:
        names = (film,) if film else FILMS
        return [partial(film_recording, name, data, sample_id) for name in names]
    if data is not None:
        raise ScanFileError(f"--data is allowed only with the source '{FILM_SOURCE}', the source is '{source}'; leave it out")
    return [partial(file_recording, path, sample_id) for path in _files(Path(source))]


def film_recording(name: str, folder: Path | None = None, sample_id: str | None = None) -> RecordedScan:
    """A film of mexpsimu: the response before any bias as the scan, and the loop at every pixel (see `mexpsimu.py`)."""
    film = read_film(name, folder)
    rows, cols = film.amplitude.shape
    frame = Frame(size_fast_m=film.side_m, size_slow_m=film.side_m, rows=rows, cols=cols)
    loops, bias_V = film.loops, film.cycle_V
    with np.errstate(divide="ignore", invalid="ignore"):
        parameters = loop_numbers(loops, bias_V)
    finite = np.isfinite(np.column_stack([loops, *parameters.values()])).all(axis=1)
    pixels = np.stack(np.unravel_index(np.flatnonzero(finite), (rows, cols)), axis=1).astype(np.float64)
    scan = Scan(
        channels={"Amplitude": film.amplitude.astype(np.float32)},
        units={"Amplitude": ""},
        frame=frame,
        scan_id=f"mexpsimu-{name}",
        sample_id=sample_id or f"mexpsimu-{name}",
        metadata={"Source": f"PyPI package mexpsimu, PTO_BEPS_{name}; magnitude of the first spectrum point"},
    )
    return RecordedScan(
        scan,
        UNKNOWN_LINE_S,
        loops=Loops(frame.to_metres(pixels), bias_V, loops[finite], {key: values[finite] for key, values in parameters.items()}),
    )


def file_recording(path: Path, sample_id: str | None = None) -> RecordedScan:
    """A scan file as a recording without loops."""
    scan = read_scan(path)
    if scan.started_at is not None and scan.finished_at is not None:
        line_s = (scan.finished_at - scan.started_at).total_seconds() / scan.frame.rows
    else:
        line_s = line_time(scan.metadata) or UNKNOWN_LINE_S
    downwards = str(scan.metadata.get("ScanDown", 0)).strip() in {"1", "1.0"}
    return RecordedScan(replace(scan, sample_id=sample_id or scan.sample_id), line_s, downwards)


def _files(path: Path) -> Sequence[Path]:
    if not path.exists():
        raise ScanFileError(
            f"there is no file or folder {path}; give a scan file ({', '.join(READERS)}), a folder of them, or "
            f"{FILM_SOURCE}[:FILM]"
        )
    if not path.is_dir():
        return [path]
    files = sorted((p for p in path.iterdir() if p.is_file() and p.suffix.lower() in READERS), key=_natural_key)
    if not files:
        raise ScanFileError(f"{path} holds no scan files ({', '.join(READERS)}); give a folder that does")
    times = [read_scan(file).finished_at for file in files]
    known = [time for time in times if time is not None]
    if len(known) < len(files):
        return files
    return [file for _, _, file in sorted(zip(known, range(len(files)), files, strict=True))]


def _natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts scan_9 before scan_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())]
