"""The sealed log: what really went wrong and when. It never goes where an agent could read it."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from simulators.faults.catalogue import Value
from simulators.settings import Settings


class SealedEntry(Settings):
    """One line of the log.

    Parameters
    ----------
    fault, group
        What happened; "probe_change" is no fault and ends what lasts.
    simulated_s
        When, in simulated seconds since the start of the instrument.
    scan
        Number of the frame that it befell, or that had been recorded last before the point (see `Injection`).
    point
        Number of the loop, where it was tied to one.
    lines
        First and last line in the order of recording that are touched; None where the whole frame is, or none.
    rows
        The same as rows of the image, lower one first.
    parameters
        All of them, and what came of it ("of", the message on the wire).
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
    """What went wrong so far, in memory and, given a file, on disk as JSON lines, each written when it happens.

    Parameters
    ----------
    path
        The file; lines are added to what it holds.

    Raises
    ------
    OSError
        If it cannot be written.
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
        """Write an entry; from any thread."""
        with self._mutex:
            self._entries.append(entry)
            if self._path is not None:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(entry.model_dump_json() + "\n")
