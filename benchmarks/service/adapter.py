"""`python -m benchmarks.service.adapter DIARY ...`: `python -m simulators ...` with a diary of its actions and messages.

The diary is an independent record of the benchmark: neither agent nor client knows of it, and no restart shortens it. It has one
JSON line, on disk before the action, for each request passed to the instrument and for each loop of the tip, whatever its cause;
and one for each scan and result in the client's spool, each acknowledgement, and each accepted recommendation.
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
    """File of JSON lines; each is on disk when `note` returns."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def note(self, what: str, **facts: Any) -> None:
        """Append a line."""
        self._file.write(json.dumps({"what": what, "pid": os.getpid(), **facts}).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def recorded_instrument(diary: Diary) -> type[SimulatedMFP3D]:
    """Class of the simulated instrument that records its requests, loops and frames in the diary."""

    class Recorded(SimulatedMFP3D):
        def __init__(self, *args: Any, **keywords: Any) -> None:
            super().__init__(*args, **keywords)
            microscope = self.controller.microscope
            loop_at = microscope.loop_at

            def noted(x_m: float, y_m: float, **more: Any) -> Loop:
                diary.note("loop", request_id=self._request_id, x_m=x_m, y_m=y_m)
                return loop_at(x_m, y_m, **more)

            self._request_id = ""
            microscope.loop_at = noted  # type: ignore[method-assign]

        def measure(self, request: MeasurementRequest) -> Measurement:
            self._request_id = request.request_id
            diary.note("asked", request_id=request.request_id, x_m=request.x_m, y_m=request.y_m)
            return super().measure(request)

        def scan(self) -> Scan:
            scan = super().scan()
            diary.note("scan", scan_id=scan.scan_id, simulated_s=self.clock.elapsed_s)
            return scan

    return Recorded


def recorded_spool(diary: Diary) -> type[Spool]:
    """Class of the client's spool that records each change in the diary once it is on disk, before the client acts on it."""

    class Recorded(Spool):
        def send(self, outgoing: Outgoing, *more: Any, **keywords: Any) -> None:
            super().send(outgoing, *more, **keywords)
            diary.note("sent", header=outgoing.message.model_dump(mode="json", exclude={"metadata", "frame", "parameters"}))

        def record_answer(self, message_id: str, *, run_id: str, refused: bool) -> None:
            super().record_answer(message_id, run_id=run_id, refused=refused)
            diary.note("answered", id=message_id, refused=refused)

        def accept(self, message: RecommendationMessage) -> RecommendationMessage:
            left = super().accept(message)
            diary.note("accepted", header=message.model_dump(mode="json"))
            return left

    return Recorded


def main() -> int:
    """Run the command of the simulator; the first argument is the path of the diary."""
    diary, *rest = sys.argv[1:]
    book = Diary(Path(diary))
    program.SimulatedMFP3D = recorded_instrument(book)  # type: ignore[misc]
    client.Spool = recorded_spool(book)  # type: ignore[misc]
    return program.main(rest)


if __name__ == "__main__":
    sys.exit(main())
