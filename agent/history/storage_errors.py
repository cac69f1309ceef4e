"""Errors of the disk and the database, with advice for the operator."""

import contextlib
import errno
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.errors import StorageError
from instrument_adapters import exit_codes
from instrument_adapters.errors import plain_reason

WRITER_LOCK = "writer.lock"
_PROBE_BYTES = 1_000_000  # about a scan
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER = {errno.EEXIST, errno.ENOTDIR, errno.ENOENT}
_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}
_DESCRIPTOR_WAIT_S = 5.0
_Result = TypeVar("_Result")

_ADVICE_FULL = (
    "the disk is full; free some space (or remove files, where the disk holds as many as it can), then start the agent again: it "
    "continues the run, and instruments send their data again"
)
_ADVICE_FORBIDDEN = "this user may not write there; change the permissions, or name another directory with --run"
_ADVICE_NO_FOLDER = "name another directory with --run"
_ADVICE_NO_DESCRIPTOR = (
    "too many files and connections are open; nothing is wrong with the disk: start the agent again, and raise the limit of open "
    "files (ulimit -n, LimitNOFILE of systemd)"
)
_ADVICE_LOCKED = (
    "another program has kept it locked for seconds; close that program (a backup? a viewer?), then start the agent again"
)
_ADVICE_DAMAGED = (
    "it is damaged, or not a history; nothing was overwritten: keep a copy, run `vaestar history verify`, and restore a backup, "
    "or continue with a new --run directory"
)
_ADVICE_RESTORE = "restore it from a backup, or start with a new --run directory"
_SQLITE = {
    sqlite3.SQLITE_FULL: _ADVICE_FULL,
    sqlite3.SQLITE_READONLY: _ADVICE_FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the directory exists and that this user may write in it",
    sqlite3.SQLITE_PERM: _ADVICE_FORBIDDEN,
    sqlite3.SQLITE_BUSY: _ADVICE_LOCKED,
    sqlite3.SQLITE_LOCKED: _ADVICE_LOCKED,
    sqlite3.SQLITE_CORRUPT: _ADVICE_DAMAGED,
    sqlite3.SQLITE_NOTADB: _ADVICE_DAMAGED,
    sqlite3.SQLITE_IOERR: "the disk reports errors; check its cable, its quota and the system log",
}


def describe_error(error: Exception) -> str:
    """The message of a disk or database error, followed by advice if there is any."""
    advice = ""
    if isinstance(error, sqlite3.Error):
        advice = _SQLITE.get(
            getattr(error, "sqlite_errorcode", 0) & 0xFF, ""
        )  # the low byte is the primary code, the rest the extended one
    elif isinstance(error, OSError):
        advice = _ADVICE_FULL if error.errno in _FULL else _ADVICE_FORBIDDEN if error.errno in _FORBIDDEN else ""
        advice = _ADVICE_NO_FOLDER if error.errno in _NO_FOLDER else advice
        advice = _ADVICE_NO_DESCRIPTOR if error.errno in _NO_DESCRIPTOR else advice
    return f"{plain_reason(error)}: {advice}" if advice else plain_reason(error)


def storage_error(doing: str, error: Exception) -> StorageError:
    """The error that ends a command which could not read or write its run.

    A lack of file descriptors is no fault of the disk: it ends the agent with the code of an ordinary failure, after which a
    supervisor such as systemd starts it again.
    """
    fault = StorageError(f"{doing}: {describe_error(error)}")
    if isinstance(error, OSError) and error.errno in _NO_DESCRIPTOR:
        fault.exit_code = exit_codes.FAILED
    return fault


def when_descriptors_free(
    call: Callable[[], _Result], wait_s: float = _DESCRIPTOR_WAIT_S, sleep: Callable[[float], None] = time.sleep
) -> _Result:
    """The result of `call`, which is repeated for some seconds while no file descriptor is free.

    Connections come and go within milliseconds, and the agent closes those beyond its caps; a lack of descriptors passes.
    """
    ends_s = time.monotonic() + wait_s
    while True:
        try:
            return call()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTOR or time.monotonic() >= ends_s:
                raise
        sleep(0.02)


def check_writable(run_directory: Path) -> None:
    """Check, before an agent starts, that a scan could be written to its run directory, which is created if it is missing.

    Raises
    ------
    StorageError
        If the disk is full, holds as many files as it can, or this user may not write there; nothing is left behind.
    """
    made = [path for path in (run_directory, *run_directory.parents) if not path.exists()]
    probe = run_directory / f".writable.{os.getpid()}"
    try:
        try:
            probe.mkdir(parents=True, exist_ok=True)
            with (probe / "probe").open("wb") as file:
                file.write(b"?" * _PROBE_BYTES)
                file.flush()
                os.fsync(file.fileno())
        finally:
            shutil.rmtree(probe, ignore_errors=True)
    except OSError as error:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise StorageError(f"the run directory {run_directory} cannot be written: {describe_error(error)}") from error


def replaced_file_message(path: Path) -> str:
    """Message about an open file that was deleted or replaced, with advice."""
    if path.name == WRITER_LOCK:
        return (
            f"{path.name} was deleted or replaced while the agent was running: another agent may write now; start this one again"
        )
    return f"{path.name} was deleted or replaced while the agent was running; {_ADVICE_RESTORE}"


class OpenFiles:
    """Detects that open files were deleted, replaced or cut short, after which anything written to them would be lost.

    Parameters
    ----------
    *paths
        Paths of the open files; those that do not exist are ignored.
    growing
        Path of an open file that never becomes shorter.
    """

    def __init__(self, *paths: Path, growing: Path | None = None) -> None:
        files = paths if growing is None else (growing, *paths)
        self._identities = {path: status[:2] for path in files if (status := _status(path)) is not None}
        first = None if growing is None else _status(growing)
        self._growing, self._size = growing, 0 if first is None else first[2]

    def replaced(self) -> Path | None:
        """Path of a file that was deleted or replaced, or None."""
        for path, identity in self._identities.items():
            status = _status(path)
            if status is None or status[:2] != identity:
                return path
            if path == self._growing:
                self._size = max(self._size, status[2])
        return None

    def problem(self) -> str:
        """What happened to a file, with advice; empty if nothing did."""
        replaced = self.replaced()
        if replaced is not None:
            return replaced_file_message(replaced)
        status = None if self._growing is None else _status(self._growing)
        if self._growing is not None and status is not None and status[2] < self._size:
            was = f"{status[2]} bytes remain of {self._size}"
            return f"{self._growing.name} was cut short while the agent was running ({was}); {_ADVICE_RESTORE}"
        return ""


def _status(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - called for each event: half the time of Path.stat
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size
