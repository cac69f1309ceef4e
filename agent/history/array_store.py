"""Arrays as files named after their content; each file is written completely or not at all, even if power fails."""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np

from agent.errors import StorageError
from agent.history.storage_errors import when_descriptors_free
from instrument_adapters.new_file import open_new

_NAME = re.compile(r"[0-9a-f]{64}")
_SMALL, _LARGE = 1 << 14, 1 << 22  # bytes read at first, and then


class ArrayStore:
    """Arrays as `.npy` files named after the SHA-256 of their bytes; equal arrays are stored once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._synced: set[Path] = set()  # directories known to be synced to disk

    def put(self, array: np.ndarray) -> str:
        """Store an array; returns the digest that `get` takes. The array is on disk when this returns.

        The array is read twice, for its digest and for the file, and never copied as a whole: a scan may have half a gigabyte.
        """
        digest = digest_of(array)
        path = self.path(digest)
        if not path.exists():
            when_descriptors_free(lambda: self._write(path, array))
        return digest

    def _write(self, path: Path, array: np.ndarray) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, lambda file: _write_array(file, array))
        if path.parent not in self._synced:  # new, or made by a process that was killed before it synced
            sync_directories(path.parent.parent)
            self._synced.add(path.parent)

    def get(self, digest: str) -> np.ndarray:
        """The array stored as `digest`.

        Raises
        ------
        HistoryError
            If it is missing or was altered since it was stored.
        """
        try:
            content = when_descriptors_free(self.path(digest).read_bytes)
        except (OSError, ValueError) as error:  # ValueError: the digest is not a valid file name
            raise StorageError(f"array {digest[:12]} is missing from {self._directory}: {error}") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StorageError(f"array {digest[:12]} in {self._directory} has been altered; restore it from a copy")
        return np.lib.format.read_array(BytesIO(content), allow_pickle=False)

    def check(self, digest: str) -> str:
        """Fault of a stored array: "missing" or a sentence; empty if the array is intact."""
        if not _NAME.fullmatch(digest):
            return f"'{digest[:80]}' is not a digest"
        try:
            # Called for each array of a run, so without path objects, and without a large buffer for a small file.
            with open(f"{self._directory}/{digest[:2]}/{digest}.npy", "rb", buffering=0) as file:  # noqa: PTH123
                found = hashlib.sha256(file.read(_SMALL))
                while part := file.read(_LARGE):
                    found.update(part)
        except FileNotFoundError:
            return "missing"
        except OSError as error:
            return f"array {digest[:12]} in {self._directory} cannot be read: {error}"
        altered = f"array {digest[:12]} in {self._directory} has been altered; restore it from a copy"
        return "" if found.hexdigest() == digest else altered

    def path(self, digest: str) -> Path:
        """Path of the file that holds this array, whether it exists or not."""
        return self._directory / digest[:2] / f"{digest}.npy"

    def size(self, digest: str) -> int:
        """Size of a stored array in bytes; 0 if it is missing."""
        try:
            return self.path(digest).stat().st_size
        except (OSError, ValueError):  # ValueError: the digest is not a valid file name
            return 0

    def files(self) -> Iterator[tuple[str, Path]]:
        """Digest and path of each stored array; the digest is empty for a partial file left by a killed process."""
        for digest, name in self._names():
            yield digest, self._directory / name

    def digests(self) -> Iterator[str]:
        """The digests of `files`, without their paths, which takes a third of the time."""
        return (digest for digest, _ in self._names())

    def _names(self) -> Iterator[tuple[str, str]]:
        """Digest (empty: a partial file) and path below the directory, in order."""
        for folder in sorted(os.listdir(self._directory) if self._directory.is_dir() else ()):  # noqa: PTH208 - names are enough
            with contextlib.suppress(NotADirectoryError, FileNotFoundError):
                for name in sorted(os.listdir(self._directory / folder)):  # noqa: PTH208
                    if name.endswith(".npy") and _NAME.fullmatch(name[:-4]):
                        yield name[:-4], f"{folder}/{name}"
                    elif name.startswith(".") and ".npy." in name:
                        yield "", f"{folder}/{name}"


def unfinished_files(directory: Path) -> Iterator[tuple[Path, str]]:
    """Temporary files in the directory of an array store, each with the id of the process that wrote it."""
    for path in directory.glob("*/.*.npy.*"):
        yield path, path.name.rpartition(".")[2]


def digest_of(array: np.ndarray) -> str:
    """The digest under which an array would be stored; it depends on the values, shape and dtype only."""
    digest = hashlib.sha256()
    _write_array(_Hashed(digest.update), array)
    return digest.hexdigest()


class _Writable(Protocol):
    def write(self, content: bytes, /) -> object:
        """Take in the next part of the content."""


class _Hashed:
    """A file that only passes on what is written to it."""

    def __init__(self, update: Callable[[bytes], None]) -> None:
        self.write = update


def _write_array(file: _Writable, array: np.ndarray) -> None:
    """Write an array as numpy's `.npy`, 16 MiB at a time."""
    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)


def write_durably(path: Path, write: Callable[[_Writable], object]) -> None:
    """Have a file written completely or not at all, even if power fails. Its directory must be on disk already."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open_new(temporary) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directories(path.parent)


def sync_directories(*paths: Path) -> None:
    """Flush directories to disk, so that renames and removals in them survive a power cut."""
    if os.name != "posix":  # Windows cannot open a directory; NTFS journals the rename
        return
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
