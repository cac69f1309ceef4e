"""Number and hash of the newest event in a file beside the database: without it, events cut off at the end leave no trace.

It is written after the event and not synced: after a power cut it may be behind the database, never before it.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from agent.errors import HistoryError

HEAD = "history.head"
_TEXT = re.compile(r"0*([0-9]{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True)
class Head:
    """The newest event of a history: all before it follow from its hash."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @staticmethod
    def parse(text: str) -> "Head":
        """What `str` of a head said.

        Raises
        ------
        HistoryError
            If it is nothing of the kind.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise HistoryError(f"'{text[:80]}' is no head; give what `vaestar history head` printed, SEQ:HASH")
        return Head(int(found[1]), found[2])


def read_head(run_directory: Path) -> Head | None:
    """What the file says, or None where there is none.

    Raises
    ------
    HistoryError
        If it cannot be read.
    """
    try:
        text = (run_directory / HEAD).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HistoryError(f"{run_directory / HEAD} cannot be read: {error}") from error
    text = text.strip("\0\n ")  # what a power cut may leave of a new file
    return Head.parse(text) if text else None


@contextlib.contextmanager
def head_file(run_directory: Path) -> Iterator["HeadFile"]:
    """The file, open for writing."""
    path = run_directory / HEAD
    path.touch()
    with path.open("rb+", buffering=0) as file:
        yield HeadFile(file)


class HeadFile:
    """Keeps the newest head; one short write at the same place, so that a reader never meets half of it."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, head: Head) -> None:
        """Note the newest event. A failure is no harm to it: the file is then behind."""
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.write(f"{head.seq:018d}:{head.hash}\n".encode())
