"""An append-only journal of JSON lines with files of raw arrays beside it, each durable when its call returns.

A last line that a power cut tore is dropped: whatever it announced had not been done yet.
"""

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from instrument_adapters import exit_codes
from instrument_adapters.errors import AdapterError

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_FIRST_LINE = {"event": "spool", "version": 1}
_TO_DO = "move that directory away and start anew"


class SpoolError(AdapterError, RuntimeError):
    """The spool directory cannot be used: another client has it, or it is damaged."""

    exit_code = exit_codes.STORAGE


class Journal:
    """The journal of one directory, which no other process may open meanwhile.

    Parameters
    ----------
    directory
        Where it lies; created here.

    Attributes
    ----------
    records
        What earlier processes wrote, oldest first.
    last_written
        When they last wrote, or None.

    Raises
    ------
    SpoolError
        If another process uses the directory, or a line before the last cannot be understood.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._path = directory / "journal.jsonl"
        self.records: list[dict[str, Any]] = []
        self.last_written: datetime | None = None
        self._lock_file = (directory / "lock").open("ab")
        try:
            self._take_lock()
            self._file = self._begin()
        except BaseException:
            self._lock_file.close()
            raise

    def close(self) -> None:
        """Let another process use the directory."""
        self._file.close()
        self._lock_file.close()

    def append(self, record: dict[str, Any]) -> None:
        """Write one entry to the disk."""
        _write_line(self._file, record)

    def store(self, name: str, arrays: Sequence[bytes]) -> None:
        """Write one file with `arrays` one after another to the disk; it appears whole or not at all."""
        partial = self._directory / f"{name}.part"
        with partial.open("wb") as file:
            file.writelines(arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._directory / name)
        _sync_directory(self._directory)

    def load(self, name: str, lengths: Sequence[int]) -> list[bytes]:
        """The arrays of such a file.

        Raises
        ------
        SpoolError
            If the file is gone or has another size.
        """
        path = self._directory / name
        try:
            with path.open("rb") as file:
                arrays = [file.read(n) for n in lengths]
        except OSError as error:
            raise SpoolError(f"the arrays in {path} cannot be read: {error}; {_TO_DO}") from error
        if [len(a) for a in arrays] != list(lengths):
            raise SpoolError(f"{path} holds fewer bytes than the {sum(lengths)} that were written; {_TO_DO}")
        return arrays

    def drop(self, name: str) -> None:
        """Remove a file that nobody will ask for again."""
        (self._directory / name).unlink(missing_ok=True)

    def damaged(self, number: int, reason: str) -> SpoolError:
        """An error that says which line cannot be understood, and why."""
        return SpoolError(f"line {number} of {self._path} cannot be understood: {reason}; {_TO_DO}")

    def _take_lock(self) -> None:
        try:
            _lock(self._lock_file)
        except OSError as error:
            raise SpoolError(
                f"another client uses the spool {self._directory}; stop it, or give each client a directory of its own"
            ) from error

    def _begin(self) -> IO[bytes]:
        if self._path.exists():
            self.last_written = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
            self._read()
        file = self._path.open("ab")
        if not self.last_written or not file.tell():
            _write_line(file, _FIRST_LINE)
            _sync_directory(self._directory)
        return file

    def _read(self) -> None:
        """Fill `records`, and cut a torn last line off so that the next entry does not continue it."""
        lines = self._path.read_bytes().split(b"\n")
        tail = lines.pop()  # b"" after a whole last line
        good = sum(len(line) + 1 for line in lines)
        for number, line in enumerate(lines, 1):
            try:
                self.records.append(json.loads(line))
            except ValueError as error:
                if number < len(lines) or tail:
                    raise self.damaged(number, str(error)) from error
                good -= len(line) + 1
        if self.records and self.records[0] != _FIRST_LINE:
            raise self.damaged(1, f"expected {_FIRST_LINE}, got {self.records[0]}")
        del self.records[:1]
        os.truncate(self._path, good)


def _write_line(file: IO[bytes], record: dict[str, Any]) -> None:
    file.write(json.dumps(record).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    """Make a new name in `directory` durable, where the system can."""
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
