"""The files that an MFP-3D saves: noticing a new one, and waiting until it is complete."""

from collections.abc import Mapping
from pathlib import Path

from instrument_adapters.errors import InstrumentFaultError, ScanFileError
from instrument_adapters.formats.igor import check_header
from instrument_adapters.formats.source import read_bytes
from instrument_adapters.mfp3d.transport import Transport

Listing = Mapping[str, tuple[int, int]]

FRAME_AXES, LOOP_AXES = 3, 2  # (fast, slow, layer) and (step, column)


def listing(folder: Path) -> Listing:
    """Name -> (size in bytes, time of the last change in nanoseconds) of each `.ibw` file.

    Raises
    ------
    InstrumentFaultError
        If the folder cannot be read.
    """
    try:
        files = [path for path in folder.iterdir() if path.suffix.lower() == ".ibw"]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InstrumentFaultError(
            f"the folder {folder} cannot be read ({reason}); give the one that the instrument saves to"
        ) from error
    return {path.name: state for path in files if (state := _state(path)) is not None}


def wait_for_file(
    transport: Transport, before: Listing, *, axes: int, expected_s: float, deadline_s: float, poll_s: float, what: str
) -> Path:
    """The file that is new since `before` (or was written anew), once it is complete.

    A file's name appears before the file is complete: it counts as complete once its size has not changed from one look to
    the next and every size in its header agrees with it. A file of another kind, such as a loop that was given up and is saved
    during the next scan, is left alone.

    Parameters
    ----------
    transport
        Where to look, and how to wait.
    before
        The folder before the command.
    axes
        `FRAME_AXES` or `LOOP_AXES`.
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
    while True:
        now = {name: state for name, state in listing(transport.folder).items() if before.get(name) != state}
        newest_first = sorted(now, key=lambda name: (now[name][1], name), reverse=True)
        flaws = [
            _flaw(transport.folder / name, axes) if last.get(name) == now[name] else f"{name} was still being written"
            for name in newest_first
        ]
        if "" in flaws:
            return transport.folder / newest_first[flaws.index("")]
        if transport.elapsed_s() - begun_s >= deadline_s:
            raise InstrumentFaultError(
                f"there is no {what} {deadline_s:.0f} s after the command: {(*flaws, 'no new file appeared')[0]}; see whether "
                f"the controller is scanning, saves to {transport.folder} and has room on its disk"
            )
        last = now
        transport.sleep(poll_s)


def _state(path: Path) -> tuple[int, int] | None:
    """(size, time of the last change), or None where the file went away since the folder was read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _flaw(path: Path, axes: int) -> str:
    """Why this is not the file that is waited for; "" if it is."""
    try:
        shape = check_header(read_bytes(path), path).shape
    except ScanFileError as error:
        return str(error)
    return "" if len(shape) == axes else f"{path.name} holds something else, of shape {shape}"
