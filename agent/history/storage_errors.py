"""What is wrong with a disk or a database, in words for the person who has to put it right."""

import errno
import os
import sqlite3
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}

_ADVICE_FULL = "the disk is full; make room there, then start the agent again: it takes the run up, and instruments send again"
_ADVICE_FORBIDDEN = "it may not be written; give this user the right to, or name another directory with --run"
_ADVICE_LOCKED = "another program has held it locked for seconds; end that one (a backup? a viewer?), then start the agent again"
_ADVICE_DAMAGED = (
    "it is damaged, or not a history; nothing was overwritten: keep a copy, see `vaestar history verify`, and put back a backup, "
    "or go on with a new --run directory"
)
_SQLITE = {
    sqlite3.SQLITE_FULL: _ADVICE_FULL,
    sqlite3.SQLITE_READONLY: _ADVICE_FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; is the directory there, and may this user write in it?",
    sqlite3.SQLITE_PERM: _ADVICE_FORBIDDEN,
    sqlite3.SQLITE_BUSY: _ADVICE_LOCKED,
    sqlite3.SQLITE_LOCKED: _ADVICE_LOCKED,
    sqlite3.SQLITE_CORRUPT: _ADVICE_DAMAGED,
    sqlite3.SQLITE_NOTADB: _ADVICE_DAMAGED,
    sqlite3.SQLITE_IOERR: "the disk does not do what it should; look at its cable, its quota and the system's log",
}


def why(error: Exception) -> str:
    """What an error of the disk or of the database says, followed by what to do where that is known."""
    advice = ""
    if isinstance(error, sqlite3.Error):
        advice = _SQLITE.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")  # the low byte is the kind, the rest its variety
    elif isinstance(error, OSError):
        advice = _ADVICE_FULL if error.errno in _FULL else _ADVICE_FORBIDDEN if error.errno in _FORBIDDEN else ""
    return f"{error}: {advice}" if advice else str(error)


def gone(path: Path) -> str:
    """What happened to an open file, and what to do."""
    advice = "put it back from a backup, or start with a new --run directory"
    return f"{path.name} was deleted or replaced while the agent ran; {advice}"


class InPlace:
    """Notices when files that are open here were deleted or replaced: what is written to them afterwards would be lost.

    Parameters
    ----------
    *paths
        Of the open files.
    """

    def __init__(self, *paths: Path) -> None:
        self._seen = {path: seen for path in paths if (seen := _identity(path)) is not None}

    def missing(self) -> Path | None:
        """One that is not there any more, or is another file now."""
        for path, seen in self._seen.items():
            if _identity(path) != seen:
                return path
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - called for each event: half the time of Path.stat
    except OSError:
        return None
    return found.st_dev, found.st_ino
