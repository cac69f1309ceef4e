"""Lists the files of a watched folder that may be scans, with a state that changes whenever a file does."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from instrument_adapters.formats.scan_file import READERS

FileState = tuple[int, ...]
"""Size in bytes, modification time and inode change time in nanoseconds."""


class FolderUnavailableError(OSError):
    """The folder cannot be read at present: the network share is offline, or permission is missing."""


def scan_files(folder: Path, *, subfolders: bool = False) -> Mapping[Path, FileState]:
    """State of each file that is named like a finished scan file, by path.

    Temporary names of copying programs are ignored: those that begin with a dot (rsync's `.name.ibw.x7Qc3f`, the Finder's
    `._name.ibw`) or a tilde, and those with another ending (`.part`, `.filepart`, `.tmp`, `~`). So are folders with such names.

    Raises
    ------
    FolderUnavailableError
        If the folder itself cannot be read. A file or subfolder that cannot be read is omitted and tried again the next time.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise FolderUnavailableError(error.strerror or type(error).__name__) from error
    return dict(_walk(entries, subfolders))


def _walk(entries: list[os.DirEntry[str]], subfolders: bool) -> Iterator[tuple[Path, FileState]]:
    for entry in entries:
        if entry.name.startswith((".", "~")):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if subfolders:
                    yield from _walk(list(os.scandir(entry.path)), subfolders)
            elif Path(entry.name).suffix.lower() in READERS and entry.is_file():
                yield Path(entry.path), _file_state(entry)
        except OSError:
            continue


def _file_state(entry: os.DirEntry[str]) -> FileState:
    # On Windows the directory entry of a file that is open for writing is out of date; stat() of the file itself is not.
    status = Path(entry.path).stat() if sys.platform == "win32" else entry.stat()
    # A copying program can set back the modification time, but not the inode change time.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
