"""Opens new files in folders to which others may write."""

import os
from pathlib import Path
from typing import BinaryIO


def open_new(path: Path, mode: int = 0o666) -> BinaryIO:
    """A new file, open for writing. Whatever had this name is removed first; a symbolic link is never followed.

    The name of a temporary file can be guessed. If somebody put a link there, an ordinary `open` would write to its target.

    Parameters
    ----------
    path
        Path of the file.
    mode
        Rights of the file, from which the umask is subtracted.

    Raises
    ------
    OSError
        If the file cannot be created, for instance because somebody created one of this name in the meantime.
    """
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, mode), "wb")
