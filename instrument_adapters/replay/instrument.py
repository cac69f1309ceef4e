"""Recorded data as an instrument: replays recorded scans, and returns the recorded loop nearest to a requested point.

No data are interpolated or invented. The result of a point is the nearest recorded loop at the position where it was recorded,
with its distance from the requested point. A point outside the recorded frame or too far from any recorded loop is refused, and
so is every point of a recording without loops.
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

LOOP_S = 10.0  # replayed time of one loop; no recording states how long one took
_SAME_POSITION_M = 1e-12  # allows for rounding; no loop lies this close by chance
_ID_MAX = 96
_BIAS_MAX_V = Limits().bias_max_V
_DOSE_UNLIMITED = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Loops:
    """Hysteresis loops at known positions; all values are finite.

    Parameters
    ----------
    xy_m
        Position (x, y) of each loop in metres, shape (n, 2).
    bias_V
        Bias of each step in volts, common to all loops, shape (steps,).
    responses
        Response at each step, shape (n, steps).
    parameters
        Parameters of the loops by name with unit, each of shape (n,).
    """

    xy_m: Float[np.ndarray, "n 2"]
    bias_V: Float[np.ndarray, " steps"]
    responses: Float[np.ndarray, "n steps"]
    parameters: Mapping[str, Float[np.ndarray, " n"]]


@dataclass(frozen=True, eq=False)
class RecordedScan:
    """One recorded frame and its loops.

    Parameters
    ----------
    scan
        Scan as it was recorded.
    line_s
        Duration of a line in seconds.
    downwards
        Whether the last row was recorded first.
    loops
        Recorded loops; None if there are none.
    """

    scan: Scan
    line_s: float
    downwards: bool = False
    loops: Loops | None = None


class Replay:
    """An `Instrument` that replays recordings in order and starts over after the last.

    The constructor reads every recording once, so that errors in any of them show before the first is replayed.

    Parameters
    ----------
    recorded
        Functions that read the recordings, in order; at least one.
    instrument_id, model
        Name and model announced to the agent.
    pace
        Speed of the replay; without waiting by default. At any finite speed the lines are sent one by one.
    first_scan
        Number of the first scan, from 1: the n recordings are scans 1 to n and are repeated from n + 1 on under new scan ids.
    farthest_m
        Largest distance in metres between a requested point and the loop returned for it; None for one pixel of the frame.
    points_max
        Largest number of points after one scan.

    Raises
    ------
    ScanFileError
        From the constructor or `scan`, if a recording cannot be read.
    """

    def __init__(
        self,
        recorded: Sequence[Callable[[], RecordedScan]],
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
        # A restarted client first measures its remaining points; with a single recording it is clear which one they belong to.
        self._current = recorded[0]() if len(recorded) == 1 else None
        finished_at = self._current.scan.finished_at if self._current else None
        self._frame_end, self._frame_end_s = finished_at or datetime.now(UTC), 0.0

    @property
    def limits(self) -> Limits:
        """Bounding rectangle of all recorded frames; no spacing and no dose limit, since a replay cannot damage the sample."""
        return self._limits

    def scan(self) -> Scan:
        """The next recorded frame, after its recorded duration.

        Raises
        ------
        InstrumentFaultError
            If the replay was stopped or halted before or during the scan.
        """
        return self.scan_in_lines(lambda _: None)

    def scan_in_lines(self, on_lines: Callable[[Lines], None]) -> Scan:
        """The next recorded frame; at a finite speed `on_lines` is called with each line in the order of recording."""
        repeat, index = divmod(self._next, len(self._recorded))
        recording = self._recorded[index]()
        started_at = self.now()
        scan = _repeated(recording.scan, repeat, started_at, recording.line_s)
        if self.pace.speed is None:
            self.pace.advance(recording.line_s * scan.frame.rows)
        else:
            self.pace.advance(recording.line_s, scan.frame.rows, lambda n: on_lines(_line(scan, n, recording.downwards)))
        self._next += 1
        self._current = recording
        self._frame_end, self._frame_end_s = scan.finished_at or self.now(), self.pace.elapsed_s
        return scan

    def measure(self, request: MeasurementRequest) -> Measurement:
        """The recorded loop nearest to the point, at its own position; `remark` states the distance unless it is zero.

        Raises
        ------
        LimitError
            If the point lies outside the recorded frame or too far from any loop, or no loops were recorded.
        InstrumentFaultError
            If the replay was stopped or halted before or during the measurement.
        """
        check_request(request, self._limits)
        if self._current is None:
            raise LimitError("no scan has been replayed since the replay was started; the point was not measured, scan first")
        loops, index, distance_m = self._nearest(self._current, request)
        self.pace.advance(LOOP_S)
        x_m, y_m = (float(v) for v in loops.xy_m[index])
        return Measurement(
            x_m=x_m,
            y_m=y_m,
            measured_at=self.now(),
            arrays={"bias_V": loops.bias_V, "response": loops.responses[index]},
            parameters={name: float(values[index]) for name, values in loops.parameters.items()},
            remark=f"recorded {distance_m * 1e9:.1f} nm from the point" if distance_m > _SAME_POSITION_M else "",
        )

    def close(self) -> None:
        """Stop the replay for good, from any thread."""
        self.pace.stop()

    def halt(self) -> None:
        """Interrupt the replay, from any thread; every call fails until `release`."""
        self.pace.halt()

    def release(self) -> None:
        """Allow the replay to continue."""
        self.pace.release()

    def now(self) -> datetime:
        """Replayed time: continues from the end of the latest frame, or from the wall time at the start if that is unknown."""
        return self._frame_end + timedelta(seconds=self.pace.elapsed_s - self._frame_end_s)

    def _nearest(self, recording: RecordedScan, request: MeasurementRequest) -> tuple[Loops, int, float]:
        frame, loops = recording.scan.frame, recording.loops
        where = f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um"
        point = np.array([[request.x_m, request.y_m]])
        if not frame.contains(point)[0]:
            raise LimitError(f"{where} is outside the recorded frame; only points inside it can be measured")
        if loops is None or not len(loops.xy_m):
            raise LimitError("this recording holds no loops, so no point can be measured")
        distances_m = np.hypot(*(loops.xy_m - point).T)
        index = int(distances_m.argmin())
        farthest_m = max(frame.pitch_m) if self._farthest_m is None else self._farthest_m
        if distances_m[index] > farthest_m:
            raise LimitError(
                f"the recorded loop nearest to {where} is {distances_m[index] * 1e9:.1f} nm away, "
                f"at most {farthest_m * 1e9:.1f} nm are allowed; choose a point closer to a recorded loop"
            )
        return loops, index, float(distances_m[index])


def _limits(recordings: Sequence[RecordedScan], points_max: int) -> Limits:
    scans = [r.scan for r in recordings]
    biases = [float(np.abs(r.loops.bias_V).max(initial=0.0)) for r in recordings if r.loops is not None]
    corners = np.concatenate(
        [
            s.frame.to_metres(np.array([[r, c] for r in (0.0, s.frame.rows - 1.0) for c in (0.0, s.frame.cols - 1.0)]))
            for s in scans
        ]
    )
    # A point on the border of a frame must not count as outside because of rounding (see `geometry`).
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
        dose_max=_DOSE_UNLIMITED,
    )


def _repeated(scan: Scan, repeat: int, started_at: datetime, line_s: float) -> Scan:
    """The scan as recorded; from the first repetition on, with a new id and the time of the replay."""
    if repeat == 0:
        return scan
    suffix = f"-{repeat + 1}"
    timed = scan.finished_at is not None
    return replace(
        scan,
        scan_id=scan.scan_id[: _ID_MAX - len(suffix)] + suffix,
        started_at=started_at if timed else None,
        finished_at=started_at + timedelta(seconds=line_s * scan.frame.rows) if timed else None,
    )


def _line(scan: Scan, number: int, downwards: bool) -> Lines:
    row = scan.frame.rows - 1 - number if downwards else number
    return Lines(scan.scan_id, scan.frame, scan.units, row, {n: image[row : row + 1] for n, image in scan.channels.items()})
