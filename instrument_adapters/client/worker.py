"""What the one worker thread does at the instrument: scan, check, measure, and record each before anyone hears of it."""

import math
import threading
from collections.abc import Callable
from datetime import datetime

import numpy as np

from instrument_adapters.client.connection import message_id
from instrument_adapters.client.safety_envelope import Terms, check_point
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
    """The client was told to stop; nothing more is asked of the instrument."""


class MeasurementWorker:
    """An instrument with the spool that records what is done at it.

    Parameters
    ----------
    instrument
        What scans and measures; called from this class only, apart from its `close` and `halt`.
    spool
        Where intents and outcomes are recorded.
    stop
        Once set, the instrument is not called again.
    clock
        Wall time, for `sent_at`.
    now
        Time by the instrument's clock, by which scans grow old and recommendations expire.
    """

    def __init__(
        self,
        instrument: Instrument,
        spool: Spool,
        stop: threading.Event,
        clock: Callable[[], datetime],
        now: Callable[[], datetime],
    ) -> None:
        self._instrument, self._spool, self._stop, self._clock, self._now = instrument, spool, stop, clock, now
        self._bias_seen_V: float | None = None

    @property
    def bias_V(self) -> float | None:
        """Largest magnitude of the bias that measurements apply: what the instrument tells, or has applied if that was more."""
        told = self._instrument.bias_V if isinstance(self._instrument, Biasing) else None
        known = [v for v in (told, self._bias_seen_V) if v is not None]
        return max(known) if known else None

    def scan(self, on_lines: Callable[[Lines], None]) -> Outgoing | None:
        """The next scan, recorded; None if the instrument returned one that was sent before.

        An instrument that can tell of lines while it records them tells `on_lines`.

        Raises
        ------
        AdapterError
            If the instrument cannot scan, or returns what cannot be sent.
        StoppedError
            If the client was told to stop.
        HeldError
            If a person has paused or stopped the instrument, before or, by an emergency stop, while it scanned.
        """
        self._heed_stop()
        scan = self._scanned(on_lines)
        got_at = self._now()
        if scan.scan_id in self._spool.samples:
            return None
        try:
            header = Message(id=message_id("scan", scan.scan_id), sent_at=self._clock())
            packet = codec.scan_packet(scan, header)
            frames = codec.encode(packet)
        except ValueError as error:
            raise ScanDataError(f"scan '{scan.scan_id}' cannot be sent: {codec.explain(error)}") from error
        assert isinstance(packet.message, ScanMessage)
        # A file's clock may run ahead of the instrument's; a scan never ends after it was handed over.
        ended_at = min(packet.message.finished_at or got_at, got_at)
        return self._record(Outgoing(packet.message, frames), ended_at)

    def plan(self, recommendation: RecommendationMessage) -> None:
        """Show an instrument that wants to see it what is about to be carried out."""
        if isinstance(self._instrument, Planning):
            self._instrument.plan(recommendation)

    def _scanned(self, on_lines: Callable[[Lines], None]) -> Scan:
        """What the instrument scans; a scan during which an emergency stop came is given up, whatever became of it."""
        self._spool.check_free()
        stops, instrument = self._spool.stops, self._instrument
        try:
            scan = instrument.scan_in_lines(on_lines) if isinstance(instrument, Streaming) else instrument.scan()
        except AdapterError as error:
            if self._spool.stops != stops:
                raise HeldError(str(error)) from error
            raise
        if self._spool.stops != stops:
            raise HeldError(self._spool.standing.barred)
        return scan

    def carry_out(self, request: MeasurementRequest, plan: RecommendationMessage, refusal: str = "") -> Outgoing:
        """The recorded result of one request: ok, skipped (not begun) or failed (begun, or begun before a restart).

        Parameters
        ----------
        request
            Where to measure.
        plan
            The recommendation that it belongs to.
        refusal
            Why it must not be measured; "" if it may.

        Raises
        ------
        StoppedError
            If the client was told to stop before the request was begun.
        HeldError
            If a person has paused or stopped the instrument before the request was begun.
        SpoolError
            If something could not be recorded; what was not recorded as begun was not begun.
        """
        try:
            self._check(request, plan, refusal)
            self._heed_stop()
            self._spool.begin(request, plan.scan_id)
            result = self._measured(request, plan, self._instrument.measure(request))
        except SpoolError:
            raise
        except LimitError as error:
            result = self._not_ok(request, "skipped", str(error))
        except AdapterError as error:
            result = self._not_ok(request, "failed", self._with_stop(str(error) or type(error).__name__))
        return self._record(result)

    def _heed_stop(self) -> None:
        if self._stop.is_set():
            raise StoppedError

    def _record(self, outgoing: Outgoing, ended_at: datetime | None = None) -> Outgoing:
        self._spool.send(outgoing, ended_at)
        return outgoing

    def _check(self, request: MeasurementRequest, plan: RecommendationMessage, refusal: str) -> None:
        """Refuse what was begun before, what a person does not want, and what the envelope does not allow."""
        spool = self._spool
        if request.request_id in spool.begun:
            raise InstrumentFaultError(
                "interrupted: the client was stopped while it measured this point; it is not measured a second time"
            )
        if refusal or spool.standing.barred:
            raise LimitError(refusal or spool.standing.barred)
        terms = Terms(
            limits=self._instrument.limits,
            plan=plan,
            plan_seq=spool.standing.plan_seq,
            latest=spool.latest,
            begun=spool.begun,
            samples=spool.samples,
            now=self._now(),
            bias_V=self.bias_V,
        )
        check_point(request, terms)

    def _with_stop(self, reason: str) -> str:
        """A reason with the emergency stop that lies behind it, if one does."""
        standing = self._spool.standing
        return f"{standing.sentence}; {reason}" if standing.state == "stopped" else reason

    def _measured(self, request: MeasurementRequest, plan: RecommendationMessage, got: Measurement) -> Outgoing:
        """A measured result; one that broke a limit, or that the wire cannot carry (a NaN in its parameters), is a failed one."""
        breach, remark = self._flaws(request, plan, got)
        try:
            message = ResultMessage(
                id=message_id("result", request.request_id),
                sent_at=self._clock(),
                arrays=codec.specs(got.arrays),
                request_id=request.request_id,
                status="failed" if breach else "ok",
                reason=as_sentence("; ".join(part for part in (breach, got.remark, remark) if part)),
                x_m=got.x_m,
                y_m=got.y_m,
                measured_at=got.measured_at,
                parameters={} if breach else dict(got.parameters),
            )
            return Outgoing(message, codec.encode(codec.Packet(message, got.arrays)))
        except ValueError as error:
            raise InstrumentFaultError(
                f"the point was measured, but what came out cannot be sent: {codec.explain(error)}"
            ) from error

    def _flaws(self, request: MeasurementRequest, plan: RecommendationMessage, got: Measurement) -> tuple[str, str]:
        """(which limit a measurement has broken, what a person should know of it); "" for nothing."""
        limits, breach = self._instrument.limits, ""
        applied_V = _largest(got.arrays.get("bias_V"))
        if applied_V is not None:
            self._bias_seen_V = max(applied_V, self._bias_seen_V or 0.0)
            allowed_V = min(limits.bias_max_V, plan.bias_max_V or math.inf)
            if applied_V > allowed_V:
                breach = f"measured with a bias of {applied_V:g} V, {allowed_V:g} V are allowed; see to the instrument's settings"
        try:
            check_request(request.model_copy(update={"x_m": got.x_m, "y_m": got.y_m}), limits)
        except LimitError:
            breach = (
                breach
                or f"measured at ({got.x_m * 1e6:.3f}, {got.y_m * 1e6:.3f}) um, outside the stage's range; see to the stage"
            )
        off_m = math.hypot(got.x_m - request.x_m, got.y_m - request.y_m)
        pixel_m = max(self._spool.latest.frame.pitch_m) if self._spool.latest else math.inf
        remark = f"measured {off_m * 1e9:.1f} nm from the point that was asked for, a pixel is {pixel_m * 1e9:.1f} nm"
        return breach, remark if off_m > pixel_m else ""

    def _not_ok(self, request: MeasurementRequest, status: str, reason: str) -> Outgoing:
        message = ResultMessage(
            id=message_id("result", request.request_id),
            sent_at=self._clock(),
            request_id=request.request_id,
            status="skipped" if status == "skipped" else "failed",
            reason=as_sentence(reason),
        )
        return Outgoing(message, codec.encode(codec.Packet(message)))


def _largest(values: np.ndarray | None) -> float | None:
    """Largest finite magnitude; None where there is none."""
    finite = np.abs(values[np.isfinite(values)]) if values is not None else np.empty(0)
    return float(finite.max()) if finite.size else None
