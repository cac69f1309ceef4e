"""The files that an MFP-3D saves: noticing a new one, and waiting until it is complete."""

from collections.abc import Mapping
from pathlib import Path

from instrument_adapters.errors import InstrumentFaultError, ScanFileError
from instrument_adapters.igor import check_header
from instrument_adapters.mfp3d_transport import Transport
from instrument_adapters.source import read_bytes

Listing = Mapping[str, tuple[int, int]]


def listing(folder: Path) -> Listing:
    """Name -> (size in bytes, time of the last change in nanoseconds) of each `.ibw` file.

    Raises
    ------
    InstrumentFaultError
        If the folder cannot be read.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() == ".ibw"]
        return {path.name: (status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]}
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InstrumentFaultError(
            f"the folder {folder} cannot be read ({reason}); give the one that the instrument saves to"
        ) from error


def wait_for_file(
    transport: Transport, before: Listing, *, expected_s: float, deadline_s: float, poll_s: float, what: str
) -> Path:
    """The file that is new since `before` (or was written anew), once it is complete.

    A file's name appears before the file is complete: it counts as complete once its size has not changed from one look to
    the next and every size in its header agrees with it.

    Parameters
    ----------
    transport
        Where to look, and how to wait.
    before
        The folder before the command.
    expected_s, deadline_s, poll_s
        How long it takes at least, when to give up, and the pause between looks.
    what
        Named in the message.

    Raises
    ------
    InstrumentFaultError
        If there is no complete file at the deadline, or the transport was closed.
    """
    begun_s = transport.elapsed_s()
    transport.sleep(expected_s)
    last: Listing = {}
    missing = "no new file appeared"
    while True:
        now = {name: state for name, state in listing(transport.folder).items() if before.get(name) != state}
        newest = max(now, key=lambda name: (now[name][1], name), default=None)
        if newest is not None:
            path = transport.folder / newest
            missing = _incomplete(path) if last.get(newest) == now[newest] else f"{path} was still being written"
            if not missing:
                return path
        if transport.elapsed_s() - begun_s >= deadline_s:
            raise InstrumentFaultError(
                f"there is no {what} {deadline_s:.0f} s after the command: {missing}; see whether the controller is scanning, "
                f"saves to {transport.folder} and has room on its disk"
            )
        last = now
        transport.sleep(poll_s)


def _incomplete(path: Path) -> str:
    """What is wrong with the file; "" if every size in it agrees."""
    try:
        check_header(read_bytes(path), path)
    except ScanFileError as error:
        return str(error)
    return ""
