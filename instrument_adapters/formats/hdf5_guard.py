"""Reads an HDF5 file of unknown origin: first in a child process, which may hang, crash or run out of memory, then here.

Neither an exception nor a signal can end a loop inside the HDF5 library (see `hdf5_heap`). If the child process can read the
bytes, so can this process; therefore the child only reports whether it succeeded.
"""

import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, tzinfo
from pathlib import Path

from instrument_adapters.child_process import last_words, module_command, module_environment
from instrument_adapters.errors import AdapterError, ScanDataError, ScanFileError
from instrument_adapters.formats.nsid import parse_nsid
from instrument_adapters.formats.source import read_bytes
from instrument_adapters.scan import Scan

DEADLINE_S = 60.0
_MEMORY_BYTES = 4 << 30  # plus twice the size of the file; the images have at most 1.5 GiB, before and after conversion
_DAMAGED, _NO_DATA = 3, 4
_COMMAND = tuple(module_command("instrument_adapters.formats.hdf5_guard"))


def read_guarded(path: Path | str, zone: tzinfo = UTC, *, deadline_s: float = DEADLINE_S) -> Scan:
    """The scan in an NSID file (see `nsid.read_nsid`); a `ScanFileError` if it cannot be read within `deadline_s` seconds."""
    path = Path(path)
    return parse_guarded(read_bytes(path), path, zone, deadline_s=deadline_s)


def parse_guarded(
    raw: bytes, path: Path, zone: tzinfo = UTC, *, deadline_s: float = DEADLINE_S, command: Sequence[str] = _COMMAND
) -> Scan:
    """The scan in the bytes of an NSID file; `path` names it in messages.

    Raises
    ------
    ScanFileError
        As `read_nsid`, and if the file cannot be read within the deadline or crashes the child process.
    ScanDataError
        As `read_nsid`.
    """
    environment = {**module_environment(), "PYTHONUTF8": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [*command, str(path)], input=raw, capture_output=True, timeout=deadline_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ScanFileError(f"{path} is damaged (reading it took longer than {deadline_s:g} s); copy the file again") from error
    message = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode == _NO_DATA:
        raise ScanDataError(message)
    if done.returncode == _DAMAGED:
        raise ScanFileError(message)
    if done.returncode != 0:
        raise ScanFileError(_ended(path, done.returncode, last_words(done.stderr)))
    return parse_nsid(raw, path, zone)


def _ended(path: Path, exit_code: int, said: str) -> str:
    """A sentence on the end of the child process: a crash is laid to the file, an error of the program is not."""
    how = f"exit code {exit_code}" + (f": {said}" if said else "")
    if exit_code < 0 or exit_code > 255:  # by a signal, or as Windows counts exceptions
        return f"{path} is damaged (reading it ended with {how}); copy the file again"
    return f"{path} cannot be read (the process that tried ended with {how}); if others can be read, copy it again"


def main() -> int:
    """Exit code 0 if the file on standard input can be read; otherwise the error message is on standard output."""
    raw = sys.stdin.buffer.read()
    _limit_memory(_MEMORY_BYTES + 2 * len(raw))
    try:
        parse_nsid(raw, Path(sys.argv[1]))
    except AdapterError as error:
        sys.stdout.write(str(error))
        return _NO_DATA if isinstance(error, ScanDataError) else _DAMAGED
    return 0


def _limit_memory(limit: int) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
