"""A simulated Asylum MFP-3D: it scans in DART mode, measures hysteresis loops, and keeps its sample's truth to itself."""

import contextlib
import math
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
from jaxtyping import Float

from instrument_adapters.errors import LimitError
from instrument_adapters.instrument import Measurement, check_request
from instrument_adapters.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.dart import CHANNELS, Recording
from simulators.faults_at_work import Faults
from simulators.faults_saving import Saving
from simulators.microscope import Microscope
from simulators.scan_note import scan_note, tracker_stands_at
from simulators.spectroscopy import loop_parameters
from simulators.surface import Surface


class SimulatedMFP3D:
    """An `Instrument` whose every frame, loop and fault follows from a configuration and its seed.

    The constructor grows the sample, which takes a second or two. `surface` and `true_position` are the sealed truth:
    benchmarks and tests may look, an agent meets scans and measurements only.

    Parameters
    ----------
    config
        The instrument and its sample.
    clock
        Its own clock; event-driven by default. Stopping the clock ends whatever the instrument is doing.
    surface
        A sample grown earlier from the same `config.surface`; by default one is grown from the seed.
    faults
        What goes wrong; by default nothing.

    Raises
    ------
    ValueError
        If the given surface was grown from another configuration.
    """

    def __init__(
        self,
        config: MFP3DConfig | None = None,
        *,
        clock: SimulatedClock | None = None,
        surface: Surface | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.config = config or MFP3DConfig()
        self.clock = clock or SimulatedClock()
        faults = faults or Faults()
        self._microscope = Microscope(self.config, self.clock, surface, faults)
        self._quirks = faults.quirks
        self._saving = Saving(faults.quirks, self.clock.advance)
        self._read_m = (self.config.frame.x_offset_m, self.config.frame.y_offset_m)
        self._scans = 0
        self._measured_m: list[tuple[float, float]] = []
        self._points_since_scan = 0
        self._returned_at: float | None = None
        self._last_recording: Recording | None = None

    @property
    def instrument_id(self) -> str:
        """Name of this instrument."""
        return self.config.instrument_id

    @property
    def model(self) -> str:
        """Make and model; it says that it is simulated."""
        return "Asylum Research MFP-3D (simulated)"

    @property
    def limits(self) -> Limits:
        """What it is allowed to do."""
        return self.config.limits

    def scan(self) -> Scan:
        """The next frame, after rows / scan rate of simulated time.

        Raises
        ------
        InstrumentFaultError
            If the instrument was closed meanwhile or before, or no file of the frame appeared.
        ScanFileError, ScanDataError
            If the file of the frame cannot be read, or shows no frame.
        """
        with self._busy():
            number = self.config.first_scan + self._scans
            self._scans += 1
            started_at = self.clock.now()
            timing = self.config.timing
            recording = self._microscope.record(
                self.config.frame, scan_rate_Hz=timing.scan_rate_Hz, scan_down=self.config.scan_down
            )
            self._points_since_scan = 0
            self._last_recording = recording
            finished_at = self.clock.now()
            note = scan_note(
                self.config.frame,
                self.config.dart,
                scan_rate_Hz=timing.scan_rate_Hz,
                scan_down=self.config.scan_down,
                number=number,
                centre_Hz=tracker_stands_at(recording.channels["FrequencyRetrace"]),
                finished_at=finished_at,
            )
            finished = Scan(
                channels=recording.channels,
                units=CHANNELS,
                frame=self.config.frame,
                scan_id=f"{self.instrument_id}-scan-{number:04d}",
                sample_id=self.config.sample_id,
                started_at=started_at,
                finished_at=finished_at,
                metadata=note,
            )
            return self._saving.newest(finished)

    def measure(self, request: MeasurementRequest) -> Measurement:
        """One hysteresis loop where `request` says, as well as the stage can go there.

        The arrays are `bias_V` and `response`, in picometres with its sign; the parameters those of `loop_parameters`. The
        loop leaves a written spot behind, also when it fails.

        Raises
        ------
        LimitError
            If the point lies outside the stage's range or the frame, too near to a measured one, or if no more points may
            be measured after this scan; nothing was moved.
        FailedLoopError
            If the loop is of no use.
        InterruptedWaitError
            If the instrument was closed meanwhile or before.
        """
        with self._busy():
            self._admit(request)
            self._approach()
            self._measured_m.append((request.x_m, request.y_m))
            self._points_since_scan += 1
            stage_m = self._stage_goes_to(request)
            if not self._quirks.frozen_position:
                self._read_m = stage_m
            read_m = self._read_m
            loop = self._microscope.loop_at(*stage_m)
            return Measurement(
                x_m=read_m[0],
                y_m=read_m[1],
                measured_at=self.clock.now(),
                arrays={"bias_V": loop.bias_V, "response": loop.response_pm},
                parameters=loop_parameters(loop),
            )

    def close(self) -> None:
        """Stop whatever the instrument is doing, from any thread; it stays closed."""
        self.clock.stop()

    @property
    def surface(self) -> Surface:
        """Sealed: the sample as it is now, with what was written on it."""
        return self._microscope.surface

    def true_position(self, xy_m: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Sealed: where the tip really is, now, when it is sent to the positions (x, y)."""
        return self._microscope.true_position(xy_m)

    @property
    def last_recording(self) -> Recording | None:
        """Sealed: the latest frame with the true position of each pixel; None before the first."""
        return self._last_recording

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """While the instrument works; what passed since it last handed back is charged to the agent."""
        self.clock.check()
        if self.config.charge_latency and self._returned_at is not None:
            self.clock.idle(max(0.0, self.clock.wall() - self._returned_at))
        try:
            yield
        finally:
            self._returned_at = self.clock.wall()

    def _stage_goes_to(self, request: MeasurementRequest) -> tuple[float, float]:
        """Where the stage stops by its own sensors."""
        half = self._quirks.half_range_m if self._quirks.silent_clamp else math.inf
        return max(-half, min(request.x_m, half)), max(-half, min(request.y_m, half))

    def _approach(self) -> None:
        timing = self.config.timing
        if len(self._measured_m) % timing.retune_every == 0:
            self.clock.advance(timing.retune_s)
        self.clock.advance(timing.move_s)

    def _admit(self, request: MeasurementRequest) -> None:
        check_request(request, self.limits)
        point = np.array([[request.x_m, request.y_m]])
        where = f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um"
        if not self.config.frame.contains(point)[0]:
            _refuse(f"{where} is outside the scanned frame; only points inside it can be measured")
        if self._points_since_scan >= self.limits.points_max:
            _refuse(
                f"{self._points_since_scan} points were measured since the last scan, {self.limits.points_max} are allowed; scan"
            )
        if not self._measured_m:
            return
        nearest = float(np.hypot(*(np.array(self._measured_m) - point).T).min())
        if nearest < self.limits.spacing_min_m:
            _refuse(
                f"{where} is {nearest * 1e9:.0f} nm from a measured point, {self.limits.spacing_min_m * 1e9:.0f} nm are needed; "
                "choose another point"
            )


def _refuse(reason: str) -> NoReturn:
    raise LimitError(f"{reason}; the point was not measured")
