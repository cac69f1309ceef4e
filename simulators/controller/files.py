"""Saves the files of a simulated controller: genuine `.ibw` files that may be late or incomplete."""

import os
from pathlib import Path

import numpy as np

from instrument_adapters.protocol.messages import Note
from instrument_adapters.scan import Scan
from simulators.controller.ibw import encode_curves, encode_ibw
from simulators.controller.records import simulated_time
from simulators.faults.quirks import Quirks
from simulators.physics.spectroscopy import Loop

_BASE, LOOP_NAME = "simulated", "SSPFM"


class FileWriter:
    """Writer of frames and loops to a folder, under a base name and a number of four digits.

    Parameters
    ----------
    folder
        Path of the folder; created if missing.
    quirks
        Present misbehaviour of the files.
    traps
        Whether frames have the oddities of real files (see `file_traps.py`).
    """

    def __init__(self, folder: Path, quirks: Quirks, *, traps: bool) -> None:
        self.folder, self._quirks, self._traps = folder, quirks, traps
        folder.mkdir(parents=True, exist_ok=True)
        self._unfinished: list[tuple[float, Path, bytes]] = []
        self._loops = 0

    @property
    def due_s(self) -> list[float]:
        """Simulated times at which the unfinished files become complete, in seconds."""
        return [due for due, _, _ in self._unfinished]

    def save_frame(self, scan: Scan, number: int, at_s: float) -> None:
        """Save a frame at simulated time `at_s`; it is complete at once unless `saving_s` of the quirks is positive."""
        quirks = self._quirks
        saved = scan if quirks.altered is None else quirks.altered(scan)
        name = f"{_BASE}{number:04d}"
        raw = encode_ibw(saved, name, traps=self._traps)
        self._save(f"{name}.ibw", raw if quirks.spoiled is None else quirks.spoiled(raw), at_s)

    def save_loop(self, loop: Loop, note: Note, at_s: float) -> None:
        """Save a loop at simulated time `at_s`; the file does not state the position."""
        name = f"{LOOP_NAME}{self._loops:04d}"
        self._loops += 1
        columns = {
            "Amp": np.abs(loop.response_pm) * 1e-12,
            "Phase": np.where(loop.response_pm < 0, 180.0, 0.0),
            "Bias": loop.bias_V,
        }
        self._save(f"{name}.ibw", encode_curves(columns, note, simulated_time(at_s), name), at_s)

    def finish_due(self, now_s: float) -> None:
        """Complete the files that are due at simulated time `now_s`."""
        for due, path, raw in [late for late in self._unfinished if late[0] <= now_s]:
            _write(path, raw, due)
            self._unfinished.remove((due, path, raw))

    def _save(self, name: str, raw: bytes, at_s: float) -> None:
        path = self.folder / name
        if self._quirks.saving_s > 0:
            _write(path, raw[: len(raw) // 2], at_s)
            self._unfinished.append((at_s + self._quirks.saving_s, path, raw))
        else:
            _write(path, raw, at_s)


def _write(path: Path, raw: bytes, at_s: float) -> None:
    """Write a file with its simulated time as modification time, so that two frames of the same name can be distinguished."""
    path.write_bytes(raw)
    when_ns = round(simulated_time(at_s).timestamp() * 1e6) * 1000
    os.utime(path, ns=(when_ns, when_ns))
