"""The head file: sequence number and hash of the newest event, so that a truncated history is noticed.

It is written after the event and not synced: after a power cut it may lag behind the database, but never be ahead of it.
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
    """Sequence number and hash of the newest event; the hash covers all events before it."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @staticmethod
    def parse(text: str) -> "Head":
        """The head that `str` wrote as "SEQ:HASH".

        Raises
        ------
        HistoryError
            If the text has another form.
        """
        found = _TEXT.fullmatch(text.strip())
        if found is None:
            raise HistoryError(f"'{text[:80]}' is not a head; give what `vaestar history head` printed, SEQ:HASH")
        return Head(int(found[1]), found[2])


def read_head(run_directory: Path) -> Head | None:
    """The head in the head file, or None if there is no file or it is empty.

    Raises
    ------
    HistoryError
        If the file cannot be read or does not contain a head.
    """
    try:
        text = (run_directory / HEAD).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HistoryError(f"{run_directory / HEAD} cannot be read: {error}") from error
    text = text.strip("\0\n ")  # what a power cut may leave in a new file
    return Head.parse(text) if text else None


@contextlib.contextmanager
def head_file(run_directory: Path) -> Iterator["HeadFile"]:
    """The head file, open for writing."""
    path = run_directory / HEAD
    path.touch()
    with path.open("rb+", buffering=0) as file:
        yield HeadFile(file)


class HeadFile:
    """The open head file. Each write is short and at the same offset, so a reader never sees half of one."""

    def __init__(self, file: FileIO) -> None:
        self._file = file

    def write(self, head: Head) -> None:
        """Write the newest head. An error is ignored: the file then only lags behind."""
        with contextlib.suppress(OSError):
            self._file.seek(0)
            self._file.write(f"{head.seq:018d}:{head.hash}\n".encode())
