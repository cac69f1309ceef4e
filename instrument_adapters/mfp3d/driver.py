"""The driver of an Asylum MFP-3D: an `Instrument` that scans in DART mode and measures hysteresis loops.

The same driver serves the simulated controller (`simulators.controller.controller`) and the real one through Igor
(`igor_transport.py`), which could not be tested. Every setting and every move is read back and compared, because the controller
gives no error message when it rejects a command.
"""

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import numpy as np

from instrument_adapters.errors import InstrumentFaultError, ScanDataError, ScanFileError
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.formats.igor_loops import read_loop
from instrument_adapters.instrument import Measurement
from instrument_adapters.mfp3d.file_watch import FRAME_AXES, LOOP_AXES, listing, wait_for_file
from instrument_adapters.mfp3d.igor_commands import SAFE_COMMANDS, Button, press
from instrument_adapters.mfp3d.measured_points import MeasuredPoints
from instrument_adapters.mfp3d.panel import Panel, Stage, check_frame
from instrument_adapters.mfp3d.settings import MFP3DSettings, check_settings
from instrument_adapters.mfp3d.transport import Transport
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan

Analysis = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
"""(bias in volts, response in picometres) -> parameters of the loop, by name with unit."""
_CALL_ENDS_WITHIN_S = 3.0


class MFP3D:
    """An MFP-3D, reached through a transport.

    The constructor applies the settings and confirms each of them; nothing moves yet.

    Parameters
    ----------
    settings
        Frame, scan and loop settings, and the limits.
    transport
        Connection to the controller.
    analyse
        Function that determines the result's parameters from a loop; without it a result has only its curves. If it raises
        `InstrumentFaultError`, the loop counts as failed.
    zone
        Time zone of the controller's clock, which its files do not state.

    Raises
    ------
    LimitError
        If the settings exceed the limits; nothing was sent.
    InstrumentFaultError
        If the controller rejects a setting or does not answer.
    """

    def __init__(
        self, settings: MFP3DSettings, transport: Transport, *, analyse: Analysis | None = None, zone: tzinfo = UTC
    ) -> None:
        check_settings(settings)
        self.settings = settings
        self._transport, self._analyse, self._zone = transport, analyse, zone
        self._panel = Panel(settings, transport)
        self._panel.set_up()
        self._stage = Stage(settings, transport)
        self._points = MeasuredPoints(settings.frame, settings.limits)
        self._in_use = threading.Lock()

    @property
    def instrument_id(self) -> str:
        """Name of this instrument."""
        return self.settings.instrument_id

    @property
    def model(self) -> str:
        """Make and model."""
        return "Asylum Research MFP-3D"

    @property
    def limits(self) -> Limits:
        """Limits of stage, bias and points."""
        return self.settings.limits

    @property
    def bias_V(self) -> float:
        """Largest magnitude of the tip bias in a loop, in volts."""
        return self.settings.loop.bias_max_V

    def now(self) -> datetime:
        """Time by the controller's clock."""
        return self._transport.now()

    def scan(self) -> Scan:
        """The next frame, as saved by the controller.

        Raises
        ------
        InstrumentFaultError
            If no complete frame at the set position was saved within 2 · lines / rate + 60 s, or the instrument was closed or
            halted during the scan. The scan is stopped.
        """
        with self._in_use:
            return self._scan()

    def _scan(self) -> Scan:
        settings = self.settings
        self._raise_if_closed()
        button: Button = "DownScan" if settings.scan_down else "UpScan"
        path = self._record(button, FRAME_AXES, settings.frame_s, settings.frame_deadline_s)
        self._transport.execute(press("StopScan"))
        self._points.reset()
        self._stage.forget_position()
        try:
            scan = read_ibw(path, self._zone)
        except (ScanFileError, ScanDataError) as error:
            raise InstrumentFaultError(f"the frame was saved but cannot be used: {error}") from error
        check_frame(scan.frame, settings.frame, f"the frame in {path.name}")
        return replace(scan, sample_id=settings.sample_id)

    def measure(self, request: MeasurementRequest) -> Measurement:
        """One hysteresis loop at the requested point.

        The arrays are `bias_V` and `response`, the signed response in picometres. The position is the set-point, which the
        sensors have confirmed to within one pixel, since files of loops do not state it.

        Raises
        ------
        LimitError
            If the point lies outside the stage's range or the frame or too near to one measured since the last scan, or if the
            number of points after a scan is used up; nothing was moved.
        InstrumentFaultError
            If the tip does not arrive (nothing was measured), the loop fails or is not saved before its deadline, or the
            instrument was closed or halted during the measurement.
        """
        with self._in_use:
            return self._measure(request)

    def _measure(self, request: MeasurementRequest) -> Measurement:
        settings = self.settings
        self._points.check(request)
        self._raise_if_closed()
        if len(self._points) % settings.retune_every == 0:
            self._panel.retune()
        self._stage.go_to(request.x_m, request.y_m)
        self._points.add(request)
        path = self._record("SingleForce", LOOP_AXES, settings.loop.duration_s, settings.loop_deadline_s)
        try:
            bias_V, response_pm = read_loop(path, settings.loop.phase_zero_deg)
        except ScanFileError as error:
            raise InstrumentFaultError(f"the loop was saved but cannot be used: {error}") from error
        return Measurement(
            x_m=request.x_m,
            y_m=request.y_m,
            measured_at=self._transport.now(),
            arrays={"bias_V": bias_V, "response": response_pm},
            parameters=self._analyse(bias_V, response_pm) if self._analyse else {},
        )

    def halt(self) -> None:
        """End every wait, stop the scanner and abort a loop under way; callable from any thread. Calls fail until `release`.

        Raises
        ------
        NoAnswerError
            If the controller does not accept the stop commands.
        """
        self._transport.halt()
        # The call under way ends at once, unless it hangs in the controller's software.
        acquired = self._in_use.acquire(timeout=_CALL_ENDS_WITHIN_S)
        try:
            for text in SAFE_COMMANDS:
                self._transport.execute(text)
        finally:
            if acquired:
                self._in_use.release()

    def release(self) -> None:
        """Allow scans and measurements again."""
        self._transport.release()

    def close(self) -> None:
        """End every wait, from any thread. A scan under way is stopped; the instrument stays closed."""
        self._transport.close()

    def _raise_if_closed(self) -> None:
        self._transport.sleep(0.0)

    def _record(self, button: Button, axes: int, expected_s: float, deadline_s: float) -> Path:
        """Press a button and return the file that the controller saves; on any fault the scan is stopped."""
        before, begun_s = listing(self._transport.folder), self._transport.elapsed_s()
        try:
            self._transport.execute(press(button))
            spent_s = self._transport.elapsed_s() - begun_s
            return wait_for_file(
                self._transport,
                before,
                axes=axes,
                expected_s=max(0.0, expected_s - spent_s),
                deadline_s=deadline_s - spent_s,
                poll_s=self.settings.poll_s,
                what="complete frame" if axes == FRAME_AXES else "complete loop",
            )
        except InstrumentFaultError:
            with contextlib.suppress(InstrumentFaultError):
                self._transport.execute(press("StopScan"))
            raise
