"""An append-only journal of JSON lines with files of raw arrays beside it, each durable when its call returns.

A last line that a power cut tore is dropped: whatever it announced had not been done yet. What cannot be written is an error, and
from then on everything is: nothing may be done that is not recorded.
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
_TO_DO = "move that directory away and start anew"
_ADVICE: Mapping[int, str] = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room on that disk",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.ENOENT: "it was removed while it was in use, so put back what is left of it",
}


class SpoolError(AdapterError, RuntimeError):
    """The spool directory cannot be used: another client has it, it is damaged, or it cannot be written any more."""

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
    version
        Of the journal that was found; `rewrite` makes it `VERSION`.
    last_written
        When they last wrote, or None.

    Raises
    ------
    SpoolError
        If another process uses the directory, a line before the last cannot be understood, or the disk does not let us.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "journal.jsonl"
        self._broken = ""
        self.records: list[dict[str, Any]] = []
        self.version = VERSION
        self.last_written: datetime | None = None
        with self._on_disk():
            directory.mkdir(parents=True, exist_ok=True)
            self._lock_file = (directory / "lock").open("ab")
        try:
            self._take_lock()
            with self._on_disk():
                self._file = self._begin()
        except BaseException:
            self._lock_file.close()
            raise

    def close(self) -> None:
        """Let another process use the directory."""
        self._file.close()
        self._lock_file.close()

    def append(self, record: dict[str, Any]) -> None:
        """Write one entry to the disk.

        Raises
        ------
        SpoolError
            If it cannot be written; then no later one can.
        """
        with self._on_disk():
            _append(self._file, _line(record))

    def store(self, name: str, arrays: Sequence[bytes]) -> None:
        """Write one file with `arrays` one after another to the disk; it appears whole or not at all.

        Raises
        ------
        SpoolError
            As from `append`.
        """
        with self._on_disk():
            self._place(name, arrays)

    def rewrite(self, records: Sequence[dict[str, Any]]) -> None:
        """Put `records` in place of all that is written, in one step, as if they had been written when the last one was.

        Raises
        ------
        SpoolError
            As from `append`.
        """
        with self._on_disk():
            times = self._path.stat()
            self._file.close()
            new = self._path.with_suffix(".new")
            _write_whole(new, [_line(r) for r in ({"event": "spool", "version": VERSION}, *records)])
            os.utime(new, ns=(times.st_atime_ns, times.st_mtime_ns))
            new.replace(self._path)
            _sync_directory(self._directory)
            self._file = self._path.open("ab", buffering=0)
            self.version = VERSION

    def load(self, name: str, lengths: Sequence[int]) -> list[bytes]:
        """The arrays of such a file.

        Raises
        ------
        SpoolError
            If the file is gone or has another size.
        """
        path = self._path_of(name)
        try:
            raw, at, arrays = path.read_bytes(), 0, []
            for length in lengths:
                arrays.append(raw[at : at + length])
                at += length
        except (OSError, TypeError) as error:  # TypeError: lengths of a damaged journal
            raise SpoolError(f"the arrays in {path} cannot be read: {error}; {_TO_DO}") from error
        if [len(a) for a in arrays] != list(lengths) or at > len(raw):
            raise SpoolError(f"{path} holds fewer bytes than the {at} that were written; {_TO_DO}")
        return arrays

    def drop(self, name: str) -> None:
        """Remove a file that nobody will ask for again; one that cannot be removed stays."""
        with contextlib.suppress(OSError):
            self._path_of(name).unlink(missing_ok=True)

    def damaged(self, number: int, reason: str) -> SpoolError:
        """An error that says which line cannot be understood, and why."""
        return SpoolError(f"line {number} of {self._path} cannot be understood: {reason}; {_TO_DO}")

    def _path_of(self, name: str) -> Path:
        """Where a file of arrays is; a damaged journal names no other."""
        if not isinstance(name, str) or not _FILE_NAME.fullmatch(name):
            raise SpoolError(f"{self._path} names a file {str(name)[:40]!r}, which is none of its own; {_TO_DO}")
        return self._directory / name

    @contextlib.contextmanager
    def _on_disk(self) -> Iterator[None]:
        """What the disk refuses becomes one sentence, and is refused from then on: a journal has no gaps."""
        if self._broken:
            raise SpoolError(self._broken)
        try:
            yield
        except OSError as error:
            advice = _ADVICE.get(error.errno or 0, "see to the disk")
            self._broken = (
                f"the spool {self._directory} cannot be used ({error.strerror or error}): what cannot be recorded is not done, "
                f"so nothing more is scanned or measured; {advice}, then start again with the same spool"
            )
            raise SpoolError(self._broken) from error

    def _place(self, name: str, parts: Sequence[bytes]) -> None:
        partial = self._directory / f"{name}.part"
        try:
            _write_whole(partial, parts)
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
                f"another client uses the spool {self._directory}; stop it, or give each client a directory of its own"
            ) from error

    def _begin(self) -> IO[bytes]:
        if self._path.exists():
            self.last_written = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
            self._read()
        file = self._path.open("ab", buffering=0)
        if not self.last_written or not file.tell():
            _append(file, _line({"event": "spool", "version": VERSION}))
            _sync_directory(self._directory)
        return file

    def _read(self) -> None:
        """Fill `records`, and cut a torn last line off so that the next entry does not continue it."""
        content = self._path.read_bytes()
        lines = content.split(b"\n")
        tail = lines.pop()  # b"" after a whole last line
        good = sum(len(line) + 1 for line in lines)
        for number, line in enumerate(lines, 1):
            try:
                self.records.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if number < len(lines) or tail:
                    raise self.damaged(number, str(error)) from error
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
        raise self.damaged(
            1,
            f"a spool of version {' or '.join(map(str, _READABLE))} begins otherwise, got {str(first)[:80]}; use the vaestar "
            "that wrote it, or",
        )


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record).encode() + b"\n"


def _append(file: IO[bytes], line: bytes) -> None:
    """Write a line whole and durably, or leave the file as it was."""
    if os.fstat(file.fileno()).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "the journal is no longer there")
    begin = file.seek(0, os.SEEK_END)
    try:
        written = 0
        while written < len(line):
            written += os.write(file.fileno(), line[written:])
        os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file.fileno(), begin)
        raise


def _write_whole(path: Path, parts: Sequence[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(parts)
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
