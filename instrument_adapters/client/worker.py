"""Work of the one thread that calls the instrument: scan, check, measure, and record each step before it is sent."""

import math
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np

from instrument_adapters.client.connection import message_id
from instrument_adapters.client.safety_envelope import PointContext, check_point
from instrument_adapters.errors import AdapterError, InstrumentFaultError, LimitError, ScanDataError
from instrument_adapters.instrument import Biasing, Instrument, Measurement, Planning, Streaming, check_request
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.live_lines import Lines
from instrument_adapters.protocol.messages import (
    MeasurementRequest,
    Message,
    RecommendationMessage,
    ResultMessage,
    ScanMessage,
    as_sentence,
)
from instrument_adapters.scan import Scan
from instrument_adapters.spool.spool import HeldError, Outgoing, Spool, SpoolError


class StoppedError(Exception):
    """The client is stopping; the instrument is not called again."""


class MeasurementWorker:
    """Calls the instrument and records each step in the spool.

    Parameters
    ----------
    instrument
        Instrument that scans and measures; all methods except `close` and `halt` are called by this class only.
    spool
        Journal of intents and outcomes.
    stop
        Event after which the instrument is not called again.
    clock
        Wall clock, for `sent_at`.
    now
        The instrument's clock, for the age of scans and the expiry of recommendations.
    monotonic
        Monotonic clock in seconds: whatever happens to the other clocks, scans and recommendations age at least by it.
    """

    def __init__(
        self,
        instrument: Instrument,
        spool: Spool,
        stop: threading.Event,
        clock: Callable[[], datetime],
        now: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._instrument, self._spool, self._stop, self._clock, self._now = instrument, spool, stop, clock, now
        self._applied_bias_V: float | None = None
        self._monotonic = monotonic
        self._scan_returned_s: float | None = None  # of the newest scan, if this process recorded it
        self._plan_received: tuple[str, datetime, float] | None = None  # the newest: its id, and both clocks

    @property
    def bias_V(self) -> float | None:
        """Largest magnitude of the bias in volts: as stated by the instrument, or as applied so far if that is larger."""
        stated_V = self._instrument.bias_V if isinstance(self._instrument, Biasing) else None
        known = [v for v in (stated_V, self._applied_bias_V) if v is not None]
        return max(known) if known else None

    def scan(self, on_lines: Callable[[Lines], None]) -> Outgoing | None:
        """The next scan, recorded in the spool; None if the instrument returned one that was sent before.

        An instrument that supports it passes lines to `on_lines` while it scans.

        Raises
        ------
        AdapterError
            If the instrument cannot scan, or returns a scan that cannot be sent.
        StoppedError
            If the client is stopping.
        HeldError
            If the instrument is paused or stopped, or an emergency stop came during the scan.
        """
        self._raise_if_stopped()
        scan = self._record_scan(on_lines)
        received_at, received_s = self._now(), self._monotonic()
        if scan.scan_id in self._spool.samples:
            return None
        try:
            header = Message(id=message_id("scan", scan.scan_id), sent_at=self._clock())
            packet = codec.scan_packet(scan, header)
            frames = codec.encode(packet)
        except ValueError as error:
            raise ScanDataError(f"scan '{scan.scan_id}' cannot be sent: {codec.explain(error)}") from error
        assert isinstance(packet.message, ScanMessage)
        # The clock of a file may run ahead of the instrument's; a scan cannot end after it was returned.
        ended_at = min(packet.message.finished_at or received_at, received_at)
        outgoing = self._record_outgoing(Outgoing(packet.message, frames), ended_at)
        self._scan_returned_s = received_s
        return outgoing

    def note_receipt(self, recommendation: RecommendationMessage) -> None:
        """Note when a recommendation was received; called in any thread."""
        if self._plan_received is None or self._plan_received[0] != recommendation.id:
            self._plan_received = recommendation.id, self._now(), self._monotonic()

    def plan(self, recommendation: RecommendationMessage) -> None:
        """Pass a recommendation to an instrument that plans ahead."""
        if isinstance(self._instrument, Planning):
            self._instrument.plan(recommendation)

    def _record_scan(self, on_lines: Callable[[Lines], None]) -> Scan:
        """A new scan of the instrument; one during which an emergency stop came is discarded, whatever its outcome."""
        self._spool.raise_if_held()
        stop_count, instrument = self._spool.stop_count, self._instrument
        try:
            scan = instrument.scan_in_lines(on_lines) if isinstance(instrument, Streaming) else instrument.scan()
        except AdapterError as error:
            if self._spool.stop_count != stop_count:
                raise HeldError(str(error)) from error
            raise
        if self._spool.stop_count != stop_count:
            raise HeldError(self._spool.command_state.barred)
        return scan

    def measure_point(self, request: MeasurementRequest, plan: RecommendationMessage, refusal: str = "") -> Outgoing:
        """The recorded result of one request: ok, skipped (not begun) or failed (begun, possibly before a restart).

        Parameters
        ----------
        request
            Point to measure.
        plan
            Recommendation that the request belongs to.
        refusal
            Reason why the point must not be measured; "" if it may.

        Raises
        ------
        StoppedError
            If the client stops before the request is begun.
        HeldError
            If the instrument is paused or stopped before the request is begun.
        SpoolError
            If a step could not be recorded; a request that was not recorded as begun was not begun.
        """
        try:
            self._check(request, plan, refusal)
            self._raise_if_stopped()
            self._spool.begin(request, plan.scan_id)
            result = self._result(request, plan, self._instrument.measure(request))
        except SpoolError:
            raise
        except LimitError as error:
            result = self._result_without_data(request, "skipped", str(error))
        except AdapterError as error:
            result = self._result_without_data(request, "failed", self._with_stop(str(error) or type(error).__name__))
        return self._record_outgoing(result)

    def _raise_if_stopped(self) -> None:
        if self._stop.is_set():
            raise StoppedError

    def _record_outgoing(self, outgoing: Outgoing, ended_at: datetime | None = None) -> Outgoing:
        self._spool.send(outgoing, ended_at)
        return outgoing

    def _check(self, request: MeasurementRequest, plan: RecommendationMessage, refusal: str) -> None:
        """Refuse a point that was begun before, that an operator has stopped, or that the envelope does not allow."""
        spool = self._spool
        if request.request_id in spool.begun:
            raise InstrumentFaultError(
                "interrupted: the client ended while it measured this point, which is not measured a second time"
            )
        if refusal or spool.command_state.barred:
            raise LimitError(refusal or spool.command_state.barred)
        self.note_receipt(plan)
        assert self._plan_received is not None
        _, received_at, received_s = self._plan_received
        context = PointContext(
            limits=self._instrument.limits,
            plan=plan,
            plan_seq=spool.command_state.plan_seq,
            latest=spool.latest,
            begun=spool.begun,
            samples=spool.samples,
            now=self._now(),
            scan_age_s=0.0 if self._scan_returned_s is None else self._monotonic() - self._scan_returned_s,
            earliest_now=received_at + timedelta(seconds=self._monotonic() - received_s),
            bias_V=self.bias_V,
        )
        check_point(request, context)

    def _with_stop(self, reason: str) -> str:
        """The reason, preceded by the emergency stop that caused it, if there was one."""
        command_state = self._spool.command_state
        return f"{command_state.hold_reason}; {reason}" if command_state.state == "stopped" else reason

    def _result(self, request: MeasurementRequest, plan: RecommendationMessage, measured: Measurement) -> Outgoing:
        """Result of a measurement: failed if it exceeded a limit, or if the wire cannot carry it (such as NaN parameters)."""
        breach, remark = self._check_measurement(request, plan, measured)
        try:
            message = ResultMessage(
                id=message_id("result", request.request_id),
                sent_at=self._now(),  # as `measured_at`, which cannot be later
                arrays=codec.specs(measured.arrays),
                request_id=request.request_id,
                status="failed" if breach else "ok",
                reason=as_sentence("; ".join(part for part in (breach, measured.remark, remark) if part)),
                x_m=measured.x_m,
                y_m=measured.y_m,
                measured_at=measured.measured_at,
                parameters={} if breach else dict(measured.parameters),
            )
            return Outgoing(message, codec.encode(codec.Packet(message, measured.arrays)))
        except ValueError as error:
            raise InstrumentFaultError(
                f"the point was measured, but its result cannot be sent: {codec.explain(error)}"
            ) from error

    def _check_measurement(
        self, request: MeasurementRequest, plan: RecommendationMessage, measured: Measurement
    ) -> tuple[str, str]:
        """(exceeded limit, remark for the operator) of a measurement; "" where there is none."""
        limits, breach = self._instrument.limits, ""
        bias_V = measured.arrays.get("bias_V")
        applied_V = _largest_magnitude(bias_V)
        if bias_V is not None and bias_V.size and (applied_V is None or np.isinf(bias_V).any()):
            breach = "the recorded bias is infinite or holds no number, so the applied bias is unknown; check the instrument"
        elif applied_V is not None:
            self._applied_bias_V = max(applied_V, self._applied_bias_V or 0.0)
            allowed_V = min(limits.bias_max_V, plan.bias_max_V or math.inf)
            if applied_V > allowed_V:
                breach = (
                    f"measured with a bias of {applied_V:g} V, at most {allowed_V:g} V are allowed; "
                    "check the instrument's settings"
                )
        try:
            check_request(request.model_copy(update={"x_m": measured.x_m, "y_m": measured.y_m}), limits)
        except LimitError:
            place = f"({measured.x_m * 1e6:.3f}, {measured.y_m * 1e6:.3f}) um"
            breach = breach or f"measured at {place}, outside the stage's range; check the stage"
        off_m = math.hypot(measured.x_m - request.x_m, measured.y_m - request.y_m)
        pixel_m = max(self._spool.latest.frame.pitch_m) if self._spool.latest else math.inf
        remark = f"measured {off_m * 1e9:.1f} nm from the requested point, more than a pixel ({pixel_m * 1e9:.1f} nm)"
        return breach, remark if off_m > pixel_m else ""

    def _result_without_data(self, request: MeasurementRequest, status: str, reason: str) -> Outgoing:
        message = ResultMessage(
            id=message_id("result", request.request_id),
            sent_at=self._clock(),
            request_id=request.request_id,
            status="skipped" if status == "skipped" else "failed",
            reason=as_sentence(reason),
        )
        return Outgoing(message, codec.encode(codec.Packet(message)))


def _largest_magnitude(values: np.ndarray | None) -> float | None:
    """Largest finite magnitude; None if there are no finite values."""
    finite = np.abs(values[np.isfinite(values)]) if values is not None else np.empty(0)
    return float(finite.max()) if finite.size else None
