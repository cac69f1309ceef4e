"""Any scan file that the project can read, by its suffix."""

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from pathlib import Path

from instrument_adapters.errors import ScanFileError
from instrument_adapters.formats.hdf5_guard import read_guarded
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.scan import Scan

READERS: Mapping[str, Callable[[Path, tzinfo], Scan]] = {".ibw": read_ibw, ".h5": read_guarded, ".hdf5": read_guarded}


def read_scan(path: Path | str, zone: tzinfo = UTC) -> Scan:
    """The scan in `path`: `.ibw` (Asylum), `.h5` or `.hdf5` (NSID); capitals make no difference.

    Parameters
    ----------
    path
        The file.
    zone
        Zone of the instrument's clock, which no file names; UTC makes a file mean the same everywhere.

    Raises
    ------
    ScanFileError
        If the suffix is another, or the file is missing, unreadable, damaged, or does not say where its pixels lie.
    ScanDataError
        If its channels do not fit together.
    """
    path = Path(path)
    if path.is_dir():
        raise ScanFileError(f"{path} is a folder; give one scan file in it")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ScanFileError(f"{path} ends in {path.suffix!r}; scans are read from {', '.join(READERS)}, so give one of these")
    return reader(path, zone)
