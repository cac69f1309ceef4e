"""Recorded data as an instrument: what was recorded is scanned again, and measured where a loop was recorded.

Nothing is invented. A point is answered with the loop of the nearest record, at the record's own place, and how far that is from
the point that was asked for stands beside it; a point outside the recorded frame, or too far from any record, is refused, and so
is every point of a recording without loops.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from jaxtyping import Float

from instrument_adapters.errors import LimitError
from instrument_adapters.instrument import Measurement, check_request
from instrument_adapters.protocol.live_lines import Lines
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.replay.pacing import Pace
from instrument_adapters.scan import Scan

LOOP_S = 10.0  # of replayed time for one loop; no recording says how long one took
_ON_THE_POINT_M = 1e-12  # rounding; no record is that near by chance
_ID_MAX = 96
_BIAS_MAX_V = Limits().bias_max_V
_NO_DOSE = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Loops:
    """Loops at known places; those that are not finite throughout are left out by whoever makes one.

    Parameters
    ----------
    xy_m
        Shape (n, 2): where each was recorded.
    bias_V
        Shape (steps,): of every loop.
    responses
        Shape (n, steps).
    numbers
        Name with unit -> one number a loop.
    """

    xy_m: Float[np.ndarray, "n 2"]
    bias_V: Float[np.ndarray, " steps"]
    responses: Float[np.ndarray, "n steps"]
    numbers: Mapping[str, Float[np.ndarray, " n"]]


@dataclass(frozen=True, eq=False)
class Recording:
    """One recorded frame.

    Parameters
    ----------
    scan
        As it was recorded.
    line_s
        How long a line took, in seconds.
    downwards
        Whether the last row was recorded first.
    loops
        None where none were recorded.
    """

    scan: Scan
    line_s: float
    downwards: bool = False
    loops: Loops | None = None


class Replay:
    """An `Instrument` whose scans and loops are recorded ones, in order, from the beginning again after the last.

    The constructor reads every recording once, so that what is wrong with one is said before the first is replayed.

    Parameters
    ----------
    recorded
        What reads each recording, one at least, in order.
    instrument_id, model
        Who it says it is.
    pace
        How fast it goes; at once by default. In real time, or faster by a factor, lines come one by one.
    first_scan
        Number of the first scan, from 1: n recordings are numbers 1 to n, from n + 1 on they come again under new scan ids.
    farthest_m
        Largest distance of a record that answers for a point; None for one pixel of the recording's frame.
    points_max
        Most points that may be measured after one scan.

    Raises
    ------
    ScanFileError
        From the constructor or `scan`, if a recording cannot be read.
    """

    def __init__(
        self,
        recorded: Sequence[Callable[[], Recording]],
        *,
        instrument_id: str = "replay",
        model: str = "recorded data",
        pace: Pace | None = None,
        first_scan: int = 1,
        farthest_m: float | None = None,
        points_max: int = 200,
    ) -> None:
        self.instrument_id, self.model = instrument_id, model
        self.pace = pace or Pace()
        self._recorded, self._farthest_m = recorded, farthest_m
        self._next = first_scan - 1
        self._limits = _limits([read() for read in recorded], points_max)
        # A restarted client first measures what was left: with one recording it is known which one that belongs to.
        self._current = recorded[0]() if len(recorded) == 1 else None
        then = self._current.scan.finished_at if self._current else None
        self._then, self._then_s = then or datetime.now(UTC), 0.0

    @property
    def limits(self) -> Limits:
        """The rectangle around all recorded frames; no smallest spacing and no dose, since what is recorded cannot be harmed."""
        return self._limits

    def scan(self) -> Scan:
        """The next recorded frame, after the time that it took.

        Raises
        ------
        InstrumentFaultError
            If the replay was stopped meanwhile or before.
        """
        return self.scan_in_lines(lambda _: None)

    def scan_in_lines(self, on_lines: Callable[[Lines], None]) -> Scan:
        """The same, told of line by line in the order of recording, unless the pace waits for nothing."""
        turn, which = divmod(self._next, len(self._recorded))
        recording = self._recorded[which]()
        began = self.now()
        scan = _again(recording.scan, turn, began, recording.line_s)
        if self.pace.speed is None:
            self.pace.advance(recording.line_s * scan.frame.rows)
        else:
            self.pace.advance(recording.line_s, scan.frame.rows, lambda n: on_lines(_line(scan, n, recording.downwards)))
        self._next += 1
        self._current = recording
        self._then, self._then_s = scan.finished_at or self.now(), self.pace.elapsed_s
        return scan

    def measure(self, request: MeasurementRequest) -> Measurement:
        """The loop of the record that is nearest to the point, at the record's place; `remark` says how far that is, if it is.

        Raises
        ------
        LimitError
            If the point lies outside the recorded frame or too far from any record, or no loops were recorded.
        InstrumentFaultError
            If the replay was stopped meanwhile or before.
        """
        check_request(request, self._limits)
        if self._current is None:
            raise LimitError("nothing was scanned since this replay was started; the point was not measured, scan first")
        loops, index, distance_m = self._nearest(self._current, request)
        self.pace.advance(LOOP_S)
        x_m, y_m = (float(v) for v in loops.xy_m[index])
        return Measurement(
            x_m=x_m,
            y_m=y_m,
            measured_at=self.now(),
            arrays={"bias_V": loops.bias_V, "response": loops.responses[index]},
            parameters={name: float(values[index]) for name, values in loops.numbers.items()},
            remark=f"recorded {distance_m * 1e9:.1f} nm from the point" if distance_m > _ON_THE_POINT_M else "",
        )

    def close(self) -> None:
        """Stop whatever the replay is doing, from any thread; it stays closed."""
        self.pace.stop()

    def halt(self) -> None:
        """End what the replay is doing, from any thread; it refuses everything until `release`."""
        self.pace.halt()

    def release(self) -> None:
        """Let the replay work again."""
        self.pace.release()

    def now(self) -> datetime:
        """Time of the recording, going on from the end of the latest frame; wall time at the start where it says none."""
        return self._then + timedelta(seconds=self.pace.elapsed_s - self._then_s)

    def _nearest(self, recording: Recording, request: MeasurementRequest) -> tuple[Loops, int, float]:
        frame, loops = recording.scan.frame, recording.loops
        where = f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um"
        point = np.array([[request.x_m, request.y_m]])
        if not frame.contains(point)[0]:
            raise LimitError(f"{where} is outside the recorded frame; only points inside it can be answered")
        if loops is None or not len(loops.xy_m):
            raise LimitError("this recording holds no loops; no point of it can be measured")
        distances_m = np.hypot(*(loops.xy_m - point).T)
        index = int(distances_m.argmin())
        farthest_m = max(frame.pitch_m) if self._farthest_m is None else self._farthest_m
        if distances_m[index] > farthest_m:
            raise LimitError(
                f"the loop recorded nearest to {where} is {distances_m[index] * 1e9:.1f} nm away, "
                f"at most {farthest_m * 1e9:.1f} nm are allowed; choose a point nearer to a record"
            )
        return loops, index, float(distances_m[index])


def _limits(recordings: Sequence[Recording], points_max: int) -> Limits:
    scans = [r.scan for r in recordings]
    biases = [float(np.abs(r.loops.bias_V).max(initial=0.0)) for r in recordings if r.loops is not None]
    corners = np.concatenate(
        [
            s.frame.to_metres(np.array([[r, c] for r in (0.0, s.frame.rows - 1.0) for c in (0.0, s.frame.cols - 1.0)]))
            for s in scans
        ]
    )
    # Rounding on the border of a frame is not "outside" (see `geometry`).
    slack = 1e-9 * max(max(s.frame.size_fast_m, s.frame.size_slow_m) for s in scans)
    (x_min, y_min), (x_max, y_max) = corners.min(axis=0) - slack, corners.max(axis=0) + slack
    return Limits(
        x_min_m=float(x_min),
        x_max_m=float(x_max),
        y_min_m=float(y_min),
        y_max_m=float(y_max),
        bias_max_V=max([_BIAS_MAX_V, *biases]),
        spacing_min_m=0.0,
        points_max=points_max,
        dose_max=_NO_DOSE,
    )


def _again(scan: Scan, turn: int, began: datetime, line_s: float) -> Scan:
    """The scan as recorded, or, when its turn comes again, under a new id and at the time of the replay."""
    if turn == 0:
        return scan
    suffix = f"-{turn + 1}"
    known = scan.finished_at is not None
    return replace(
        scan,
        scan_id=scan.scan_id[: _ID_MAX - len(suffix)] + suffix,
        started_at=began if known else None,
        finished_at=began + timedelta(seconds=line_s * scan.frame.rows) if known else None,
    )


def _line(scan: Scan, number: int, downwards: bool) -> Lines:
    row = scan.frame.rows - 1 - number if downwards else number
    return Lines(scan.scan_id, scan.frame, scan.units, row, {n: image[row : row + 1] for n, image in scan.channels.items()})
