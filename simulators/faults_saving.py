"""From a finished frame to what the instrument's software finds on the disk, with what is wrong with the files."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.igor import read_ibw
from instrument_adapters.scan import Scan
from simulators.ibw import encode_ibw
from simulators.quirks import Quirks


class Saving:
    """The folder that frames are saved to, as far as an instrument that hands its frames over itself needs one.

    Parameters
    ----------
    quirks
        What is wrong with the files at the moment.
    wait
        Lets so many simulated seconds pass.
    """

    def __init__(self, quirks: Quirks, wait: Callable[[float], None]) -> None:
        self._quirks, self._wait = quirks, wait
        self._newest: Scan | None = None

    def newest(self, finished: Scan) -> Scan:
        """What the newest file shows after a frame was finished and its file, if there is one, is complete.

        Raises
        ------
        InstrumentFaultError
            If no frame was ever saved, or the clock was stopped meanwhile.
        ScanFileError
            If the file cannot be read.
        ScanDataError
            If what it shows is no frame.
        """
        quirks, before = self._quirks, self._newest
        if quirks.stale:
            if before is None:
                raise InstrumentFaultError("the frame was recorded and no file of it appeared; save it again, or scan again")
            return before
        scan = finished if quirks.altered is None else quirks.altered(finished)
        if quirks.repeated_id and before is not None:
            scan = replace(scan, scan_id=before.scan_id)
        self._wait(quirks.saving_s)
        if quirks.spoiled is not None:
            scan = _reread(scan, quirks.spoiled)
        self._newest = scan
        return scan


def _reread(scan: Scan, spoiled: Callable[[bytes], bytes]) -> Scan:
    """What the reader of such files makes of what reached the disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{scan.scan_id}.ibw"
        path.write_bytes(spoiled(encode_ibw(scan, path.stem)))
        return replace(scan, channels=read_ibw(path).channels)
