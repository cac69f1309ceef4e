"""`python -m benchmarks.service.adapter DIARY ...`: `python -m simulators ...` with a diary of what it does and is told.

The diary is the benchmark's own book, which neither agent nor client knows of, and which no restart and no tidying up shortens.
One JSON line, on disk before the deed, for each request that the instrument is asked to measure and each loop that the tip makes,
whoever asked for it; and one for each scan and result that the client has in its spool, each answer and each recommendation that
it took.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import simulators.__main__ as program
from instrument_adapters.client import client
from instrument_adapters.instrument import Measurement
from instrument_adapters.protocol.messages import MeasurementRequest, RecommendationMessage
from instrument_adapters.scan import Scan
from instrument_adapters.spool.spool import Outgoing, Spool
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.spectroscopy import Loop


class Diary:
    """JSON lines, each on disk when `note` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def note(self, what: str, **facts: Any) -> None:
        """Add a line."""
        self._file.write(json.dumps({"what": what, "pid": os.getpid(), **facts}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def recorded(diary: Diary) -> type[SimulatedMFP3D]:
    """The simulated instrument, whose requests, loops and frames are noted."""

    class Recorded(SimulatedMFP3D):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            microscope = self.controller.microscope
            loop_at = microscope.loop_at

            def noted(x_m: float, y_m: float, **more: Any) -> Loop:
                diary.note("loop", request_id=self._asked, x_m=x_m, y_m=y_m)
                return loop_at(x_m, y_m, **more)

            self._asked = ""
            microscope.loop_at = noted  # type: ignore[method-assign]

        def measure(self, request: MeasurementRequest) -> Measurement:
            self._asked = request.request_id
            diary.note("asked", request_id=request.request_id, x_m=request.x_m, y_m=request.y_m)
            return super().measure(request)

        def scan(self) -> Scan:
            scan = super().scan()
            diary.note("scan", scan_id=scan.scan_id, simulated_s=self.clock.elapsed_s)
            return scan

    return Recorded


def witnessed(diary: Diary) -> type[Spool]:
    """The client's spool; what it is told is noted once it is on disk there, before anybody acts on it."""

    class Witnessed(Spool):
        def send(self, outgoing: Outgoing, *more: Any, **keywords: Any) -> None:
            super().send(outgoing, *more, **keywords)
            diary.note("sent", header=outgoing.message.model_dump(mode="json", exclude={"metadata", "frame", "parameters"}))

        def answered(self, message_id: str, *, run_id: str, refused: bool) -> None:
            super().answered(message_id, run_id=run_id, refused=refused)
            diary.note("answered", id=message_id, refused=refused)

        def accept(self, message: RecommendationMessage) -> RecommendationMessage:
            left = super().accept(message)
            diary.note("accepted", header=message.model_dump(mode="json"))
            return left

    return Witnessed


def main() -> int:
    """As the simulator's own command, after the diary's path."""
    diary, *rest = sys.argv[1:]
    book = Diary(Path(diary))
    program.SimulatedMFP3D = recorded(book)  # type: ignore[misc]
    client.Spool = witnessed(book)  # type: ignore[misc]
    return program.main(rest)


if __name__ == "__main__":
    sys.exit(main())
