"""The driver of an Asylum MFP-3D: an `Instrument` that scans in DART mode and measures hysteresis loops.

It is one for the simulated controller (`simulators.controller.controller`) and for the real one through Igor (`mfp3d_igor`),
which could not be tried. Every setting and every move is read back and compared, because a rejected command says nothing.
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
from instrument_adapters.mfp3d.igor_commands import SAFE, Button, press
from instrument_adapters.mfp3d.measured_points import MeasuredPoints
from instrument_adapters.mfp3d.panel import Panel, Stage, check_frame
from instrument_adapters.mfp3d.settings import MFP3DSettings, check_settings
from instrument_adapters.mfp3d.transport import Transport
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan

Analysis = Callable[[np.ndarray, np.ndarray], Mapping[str, float]]
"""(bias in volts, response in picometres) -> numbers drawn from the loop, names with units."""
_CALL_ENDS_S = 3.0


class MFP3D:
    """An MFP-3D behind a transport.

    The constructor sets the instrument up and confirms each setting; nothing moves yet.

    Parameters
    ----------
    settings
        What to scan and how, and the limits.
    transport
        The way to the controller.
    analyse
        Draws the result's parameters from a loop; by default there are none, only the curves. An `InstrumentFaultError` of
        it makes the loop a failed one.
    zone
        Zone of the controller's clock, which its files do not name.

    Raises
    ------
    LimitError
        If the settings lie outside the limits; nothing was sent.
    InstrumentFaultError
        If the controller does not take a setting or does not answer.
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
        self._at_work = threading.Lock()

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
        """What it is allowed to do."""
        return self.settings.limits

    @property
    def bias_V(self) -> float:
        """Largest magnitude of the tip bias in a loop."""
        return self.settings.loop.bias_max_V

    def now(self) -> datetime:
        """Time by the controller's clock."""
        return self._transport.now()

    def scan(self) -> Scan:
        """The next frame, as the controller has saved it.

        Raises
        ------
        InstrumentFaultError
            If no complete frame of the place that was set is there before the deadline of 2 · lines / rate + 60 s, or the
            instrument was closed or halted meanwhile. The scan is stopped.
        """
        with self._at_work:
            return self._scan()

    def _scan(self) -> Scan:
        settings = self.settings
        self._heed_close()
        button: Button = "DownScan" if settings.scan_down else "UpScan"
        path = self._record(button, FRAME_AXES, settings.frame_s, settings.frame_deadline_s)
        self._transport.execute(press("StopScan"))
        self._points.scanned()
        self._stage.scanned()
        try:
            scan = read_ibw(path, self._zone)
        except (ScanFileError, ScanDataError) as error:
            raise InstrumentFaultError(f"the frame was saved and cannot be used: {error}") from error
        check_frame(scan.frame, settings.frame, f"the frame in {path.name}")
        return replace(scan, sample_id=settings.sample_id)

    def measure(self, request: MeasurementRequest) -> Measurement:
        """One hysteresis loop where `request` says.

        The arrays are `bias_V` and `response`, in picometres with its sign. The position is the set-point, which the
        sensors have confirmed to within one pixel: files of loops carry none.

        Raises
        ------
        LimitError
            If the point lies outside the stage's range or the frame, too near to one measured since the last scan, or if no
            more points may be measured after this scan; nothing was moved.
        InstrumentFaultError
            If the tip does not arrive (nothing was measured), the loop fails or is not saved before its deadline, or the
            instrument was closed or halted meanwhile.
        """
        with self._at_work:
            return self._measure(request)

    def _measure(self, request: MeasurementRequest) -> Measurement:
        settings = self.settings
        self._points.admit(request)
        self._heed_close()
        if len(self._points) % settings.retune_every == 0:
            self._panel.retune()
        self._stage.go_to(request.x_m, request.y_m)
        self._points.add(request)
        path = self._record("SingleForce", LOOP_AXES, settings.loop.duration_s, settings.loop_deadline_s)
        try:
            bias_V, response_pm = read_loop(path, settings.loop.phase_zero_deg)
        except ScanFileError as error:
            raise InstrumentFaultError(f"the loop was saved and cannot be used: {error}") from error
        return Measurement(
            x_m=request.x_m,
            y_m=request.y_m,
            measured_at=self._transport.now(),
            arrays={"bias_V": bias_V, "response": response_pm},
            parameters=self._analyse(bias_V, response_pm) if self._analyse else {},
        )

    def halt(self) -> None:
        """End whatever waits, stop the scanner and give up a loop under way, from any thread; nothing else until `release`.

        Raises
        ------
        NoAnswerError
            If the controller does not take what stops it.
        """
        self._transport.halt()
        # The call under way ends in a moment, unless it hangs in the controller's software.
        alone = self._at_work.acquire(timeout=_CALL_ENDS_S)
        try:
            for text in SAFE:
                self._transport.execute(text)
        finally:
            if alone:
                self._at_work.release()

    def release(self) -> None:
        """Let the instrument work again."""
        self._transport.release()

    def close(self) -> None:
        """End whatever waits, from any thread; a scan under way is stopped, and the instrument stays closed."""
        self._transport.close()

    def _heed_close(self) -> None:
        self._transport.sleep(0.0)

    def _record(self, button: Button, axes: int, expected_s: float, deadline_s: float) -> Path:
        """The file that a button gives; whatever goes wrong, the controller is told to stop."""
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
