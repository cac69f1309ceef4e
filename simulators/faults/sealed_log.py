"""The sealed log: the faults that really occurred, with their times. It is never written where an agent could read it."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from simulators.faults.catalogue import Value
from simulators.settings import Settings


class SealedEntry(Settings):
    """One entry of the log.

    Parameters
    ----------
    fault, group
        Name and group of the fault; "probe_change" is not a fault but ends the lasting ones.
    simulated_s
        Time in simulated seconds since the start of the instrument.
    scan
        Number of the affected frame, or of the latest frame before the affected point (see `Injection`).
    point
        Number of the loop, if the fault was tied to one.
    lines
        First and last affected line in the order of recording; None if the whole frame or none is affected.
    rows
        First and last affected row of the image.
    parameters
        All parameters, and for a message fault "of", the id of the affected message.
    """

    version: Literal[1] = 1
    fault: str
    group: str
    simulated_s: float
    scan: int | None = None
    point: int | None = None
    lines: tuple[int, int] | None = None
    rows: tuple[int, int] | None = None
    parameters: Mapping[str, Value] = {}


class SealedLog:
    """Log of the faults so far, in memory and optionally in a file of JSON lines, written as the faults occur.

    Parameters
    ----------
    path
        Path of the file, to which lines are appended; None for no file.

    Raises
    ------
    OSError
        If the file cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._entries: list[SealedEntry] = []
        self._mutex = threading.Lock()
        self._path = path
        if path is not None:
            path.open("a", encoding="utf-8").close()

    @property
    def entries(self) -> tuple[SealedEntry, ...]:
        """All entries, in order."""
        with self._mutex:
            return tuple(self._entries)

    def add(self, entry: SealedEntry) -> None:
        """Append an entry; callable from any thread."""
        with self._mutex:
            self._entries.append(entry)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(entry.model_dump_json() + "\n")
