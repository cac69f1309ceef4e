"""Append-only journal of JSON lines, with raw arrays in files of their own; each write is durable when its call returns.

A last line torn by a power cut is dropped: the step it announces had not been taken yet. After a failed write every later
write fails as well, because nothing may be done that is not recorded.
"""

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from instrument_adapters import exit_codes
from instrument_adapters.errors import AdapterError
from instrument_adapters.new_file import open_new

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


VERSION = 2
_READABLE = (1, 2)
_FILE_NAME = re.compile(r"\d{8,20}\.raw")
_ADVICE_DAMAGED = "move that directory away and start again with an empty one"
_ADVICE_BY_ERRNO: Mapping[int, str] = {
    errno.ENOSPC: "free space on that disk",
    errno.EDQUOT: "free space on that disk",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.ENOENT: "it was removed while in use, so restore what is left of it",
}


class SpoolError(AdapterError, RuntimeError):
    """The spool directory cannot be used: another client uses it, it is damaged, or it cannot be written any more."""

    exit_code = exit_codes.STORAGE


class Journal:
    """The journal in one directory, locked against other processes while it is open.

    Parameters
    ----------
    directory
        Directory of the journal, created if missing.

    Attributes
    ----------
    records
        Records of earlier processes, oldest first.
    version
        Version of the journal that was found; `rewrite` raises it to `VERSION`.
    last_written
        Time of the last write of an earlier process, or None.

    Raises
    ------
    SpoolError
        If another process uses the directory, a line before the last cannot be read, or the disk cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "journal.jsonl"
        self._broken = ""
        self.records: list[dict[str, Any]] = []
        self.version = VERSION
        self.last_written: datetime | None = None
        with self._disk_errors():
            directory.mkdir(parents=True, exist_ok=True)
            self._lock_file = (directory / "lock").open("ab")
        try:
            self._take_lock()
            with self._disk_errors():
                self._file = self._open()
        except BaseException:
            self._lock_file.close()
            raise

    def close(self) -> None:
        """Close the files and release the lock on the directory."""
        self._file.close()
        self._lock_file.close()

    def append(self, record: dict[str, Any]) -> None:
        """Write one record to the disk.

        Raises
        ------
        SpoolError
            If it cannot be written; every later write then fails as well.
        """
        with self._disk_errors():
            _append(self._file, _line(record))

    def store(self, name: str, arrays: Sequence[bytes]) -> None:
        """Write `arrays` one after another to a new file, which appears complete or not at all.

        Raises
        ------
        SpoolError
            As from `append`.
        """
        with self._disk_errors():
            self._write_file(name, arrays)

    def rewrite(self, records: Sequence[dict[str, Any]]) -> None:
        """Replace the whole journal by `records` in one step; its modification time is kept.

        Raises
        ------
        SpoolError
            As from `append`.
        """
        with self._disk_errors():
            times = self._path.stat()
            self._file.close()
            new = self._path.with_suffix(".new")
            _write_synced(new, [_line(r) for r in ({"event": "spool", "version": VERSION}, *records)])
            os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
            new.replace(self._path)
            _sync_directory(self._directory)
            self._file = self._path.open("ab", buffering=0)
            self.version = VERSION

    def load(self, name: str, lengths: Sequence[int]) -> list[bytes]:
        """The arrays of a file written by `store`, given their lengths in bytes.

        Raises
        ------
        SpoolError
            If the file is missing or has another size.
        """
        path = self._path_of(name)
        try:
            raw, at, arrays = path.read_bytes(), 0, []
            for length in lengths:
                arrays.append(raw[at : at + length])
                at += length
        except (OSError, TypeError) as error:  # TypeError: damaged lengths in the journal
            raise SpoolError(f"the arrays in {path} cannot be read: {error}; {_ADVICE_DAMAGED}") from error
        if [len(a) for a in arrays] != list(lengths) or at > len(raw):
            raise SpoolError(f"{path} holds fewer than the {at} bytes that were written; {_ADVICE_DAMAGED}")
        return arrays

    def remove(self, name: str) -> None:
        """Remove a file that is no longer needed; one that cannot be removed stays."""
        with contextlib.suppress(OSError):
            self._path_of(name).unlink(missing_ok=True)

    def damage_error(self, number: int, reason: str) -> SpoolError:
        """The error for a line that cannot be read, with its number and the reason."""
        return SpoolError(f"line {number} of {self._path} cannot be read: {reason}; {_ADVICE_DAMAGED}")

    def _path_of(self, name: str) -> Path:
        """Path of a file of arrays; any other name, as in a damaged journal, is refused."""
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise SpoolError(f"{self._path} names the file {str(name)[:40]!r}, which does not belong to it; {_ADVICE_DAMAGED}")
        return self._directory / name

    @contextlib.contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turn an OSError into a SpoolError, and raise it again at every later use: a journal must have no gaps."""
        if self._broken:
            raise SpoolError(self._broken)
        try:
            yield
        except OSError as error:
            advice = _ADVICE_BY_ERRNO.get(error.errno or 0, "check the disk")
            self._broken = (
                f"the spool {self._directory} cannot be used ({error.strerror or error}); nothing more is scanned or "
                f"measured, because it could not be recorded; {advice}, then start again with the same spool"
            )
            raise SpoolError(self._broken) from error

    def _write_file(self, name: str, parts: Sequence[bytes]) -> None:
        partial = self._directory / f"{name}.part"
        try:
            _write_synced(partial, parts)
            partial.replace(self._directory / name)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        _sync_directory(self._directory)

    def _take_lock(self) -> None:
        try:
            _lock(self._lock_file)
        except OSError as error:
            raise SpoolError(
                f"another client uses the spool {self._directory}; stop it, or give each client its own directory"
            ) from error

    def _open(self) -> IO[bytes]:
        if self._path.exists():
            self.last_written = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
            self._read()
        file = self._path.open("ab", buffering=0)
        if not self.last_written or not file.tell():
            _append(file, _line({"event": "spool", "version": VERSION}))
            _sync_directory(self._directory)
        return file

    def _read(self) -> None:
        """Fill `records`, and cut off a torn last line so that the next record does not continue it."""
        content = self._path.read_bytes()
        lines = content.split(b"\n")
        tail = lines.pop()  # b"" after a complete last line
        good = sum(len(line) + 1 for line in lines)
        for number, line in enumerate(lines, 1):
            try:
                self.records.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if number < len(lines) or tail:
                    raise self.damage_error(number, str(error)) from error
                good -= len(line) + 1
        if self.records:
            self.version = self._version_of(self.records.pop(0))
        if good < len(content):
            stat = self._path.stat()
            os.truncate(self._path, good)
            os.utime(self._path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def _version_of(self, first: object) -> int:
        for version in _READABLE:
            if first == {"event": "spool", "version": version}:
                return version
        raise self.damage_error(
            1,
            f"{str(first)[:80]} is not the header of a spool of version {' or '.join(map(str, _READABLE))}; use the vaestar "
            "that wrote it, or",
        )


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _append(file: IO[bytes], line: bytes) -> None:
    """Write a complete line durably, or leave the file as it was."""
    if os.fstat(file.fileno()).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "the journal no longer exists")
    start = file.seek(0, os.SEEK_END)
    try:
        written = 0
        while written < len(line):
            written += os.write(file.fileno(), line[written:])
        os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), start)
        raise


def _write_synced(path: Path, parts: Sequence[bytes]) -> None:
    with open_new(path) as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    """Make a new file name in `directory` durable, where the system supports it."""
    if sys.platform != "win32":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
