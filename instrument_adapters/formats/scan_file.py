"""Reads a scan file of any supported format, chosen by its suffix."""

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from pathlib import Path

from instrument_adapters.errors import ScanFileError
from instrument_adapters.formats.hdf5_guard import read_guarded
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.scan import Scan

READERS: Mapping[str, Callable[[Path, tzinfo], Scan]] = {
    ".ibw": read_ibw,
    ".h5": read_guarded,
    ".hdf5": read_guarded,
    ".hf5": read_guarded,
}


def read_scan(path: Path | str, zone: tzinfo = UTC) -> Scan:
    """The scan in `path`: `.ibw` (Asylum), `.h5`, `.hdf5` or `.hf5` (NSID), in upper or lower case.

    Parameters
    ----------
    path
        Path of the scan file.
    zone
        Time zone of the instrument's clock, which no file gives; with UTC a file is read in the same way everywhere.

    Raises
    ------
    ScanFileError
        If the suffix is not supported, or the file is missing, unreadable, damaged, or does not give the positions of its pixels.
    ScanDataError
        If its channels differ in size.
    """
    path = Path(path)
    if path.is_dir():
        raise ScanFileError(f"{path} is a folder; give one scan file in it")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ScanFileError(f"{path} has the suffix {path.suffix!r}; give a scan file with one of {', '.join(READERS)}")
    return reader(path, zone)
