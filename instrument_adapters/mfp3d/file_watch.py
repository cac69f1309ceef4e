"""Waits for the next file that an MFP-3D saves, until it is complete."""

from collections.abc import Mapping
from pathlib import Path

from instrument_adapters.errors import InstrumentFaultError, ScanFileError
from instrument_adapters.formats.igor import check_header, read_wave
from instrument_adapters.mfp3d.transport import Transport

Listing = Mapping[str, tuple[int, int]]

FRAME_AXES, LOOP_AXES = 3, 2  # (fast, slow, layer) and (step, column)


def listing(folder: Path) -> Listing:
    """(size in bytes, modification time in nanoseconds) of each `.ibw` file, by name.

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
            f"the folder {folder} cannot be read ({reason}); give the folder that the instrument saves to"
        ) from error
    return {path.name: state for path in files if (state := _state(path)) is not None}


def wait_for_file(
    transport: Transport, before: Listing, *, axes: int, expected_s: float, deadline_s: float, poll_s: float, what: str
) -> Path:
    """The file that was created or rewritten since `before`, once it is complete.

    A file's name appears before the file is complete. It counts as complete once its size has not changed from one look to the
    next and agrees with every size in its header. Files of another kind are ignored, such as an aborted loop that is saved during
    the next scan.

    Parameters
    ----------
    transport
        Connection to the controller; provides the folder and the clock.
    before
        Listing of the folder before the command.
    axes
        Number of axes of the expected file, `FRAME_AXES` or `LOOP_AXES`.
    expected_s, deadline_s, poll_s
        Shortest duration of the recording, time at which to give up, and time between looks, all in seconds.
    what
        Name of the expected file in the message.

    Raises
    ------
    InstrumentFaultError
        If there is no complete file at the deadline, or the transport was closed or halted.
    """
    begun_s = transport.elapsed_s()
    transport.sleep(expected_s)
    last: Listing = {}
    while True:
        now = {name: state for name, state in listing(transport.folder).items() if before.get(name) != state}
        newest_first = sorted(now, key=lambda name: (now[name][1], name), reverse=True)
        problems = [
            _problem(transport.folder / name, axes) if last.get(name) == now[name] else f"{name} was still being written"
            for name in newest_first
        ]
        if "" in problems:
            return transport.folder / newest_first[problems.index("")]
        if transport.elapsed_s() - begun_s >= deadline_s:
            raise InstrumentFaultError(
                f"there is no {what} {deadline_s:.0f} s after the command: {(*problems, 'no new file appeared')[0]}; check that "
                f"the controller is scanning, that it saves to {transport.folder} and that its disk has free space"
            )
        last = now
        transport.sleep(poll_s)


def _state(path: Path) -> tuple[int, int] | None:
    """(size, modification time), or None if the file was removed since the folder was read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _problem(path: Path, axes: int) -> str:
    """Why this is not the expected file; "" if it is."""
    try:
        shape = check_header(read_wave(path), path).shape
    except ScanFileError as error:
        return str(error)
    return "" if len(shape) == axes else f"{path.name} holds an array of another kind, of shape {shape}"
