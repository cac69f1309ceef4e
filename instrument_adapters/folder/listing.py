"""Which files of a watched folder may be scans, and whether one has changed since the last look."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from instrument_adapters.formats.scan_file import READERS

State = tuple[int, ...]
"""Size in bytes, time of the last change in nanoseconds, and what else changes when a file is written."""


class FolderAwayError(OSError):
    """The folder cannot be read now: a network share that is gone, a missing right."""


def candidates(folder: Path, *, subfolders: bool = False) -> Mapping[Path, State]:
    """Path -> state of each file whose name is that of a finished scan file.

    Names under which programs copy are passed over: those that begin with a dot (rsync's `.name.ibw.x7Qc3f`, the Finder's
    `._name.ibw`) or a tilde, and those that end otherwise (`.part`, `.filepart`, `.tmp`, `~`). So are folders of such names.

    Raises
    ------
    FolderAwayError
        If the folder itself cannot be read; a file or subfolder that cannot is left out, and looked for again the next time.
    """
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise FolderAwayError(error.strerror or type(error).__name__) from error
    return dict(_walk(entries, subfolders))


def _walk(entries: list[os.DirEntry[str]], subfolders: bool) -> Iterator[tuple[Path, State]]:
    for entry in entries:
        if entry.name.startswith((".", "~")):
            continue
        try:
            if entry.is_dir(follow_symlinks=False):
                if subfolders:
                    yield from _walk(list(os.scandir(entry.path)), subfolders)
            elif Path(entry.name).suffix.lower() in READERS and entry.is_file():
                yield Path(entry.path), _state(entry)
        except OSError:
            continue


def _state(entry: os.DirEntry[str]) -> State:
    # Windows keeps size and time of a file that is open for writing out of date in its folder; asking the file itself helps.
    status = Path(entry.path).stat() if sys.platform == "win32" else entry.stat()
    # The time of the last change can be set back by a copying program, that of the inode cannot.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
