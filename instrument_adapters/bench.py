"""What the one worker thread does at the instrument: scan, check, measure, and record each before anyone hears of it."""

import math
import threading
from collections.abc import Callable
from datetime import datetime

from instrument_adapters import codec
from instrument_adapters.errors import AdapterError, InstrumentFaultError, LimitError, ScanDataError
from instrument_adapters.instrument import Instrument, Measurement, Planning, Streaming, check_request
from instrument_adapters.lines import Lines
from instrument_adapters.link import message_id
from instrument_adapters.messages import MeasurementRequest, Message, RecommendationMessage, ResultMessage, ScanMessage
from instrument_adapters.spool import Outgoing, Spool

_ROUNDING = 1e-6  # two points planned at exactly the smallest spacing are not "too close"


class StoppedError(Exception):
    """The client was told to stop; nothing more is asked of the instrument."""


class Bench:
    """An instrument with the spool that records what is done at it.

    Parameters
    ----------
    instrument
        What scans and measures; called from this class only, apart from its `close`.
    spool
        Where intents and outcomes are recorded.
    stop
        Once set, the instrument is not called again.
    clock
        Wall time, for `sent_at`.
    """

    def __init__(self, instrument: Instrument, spool: Spool, stop: threading.Event, clock: Callable[[], datetime]) -> None:
        self._instrument, self._spool, self._stop, self._clock = instrument, spool, stop, clock

    def scan(self, on_lines: Callable[[Lines], None]) -> Outgoing | None:
        """The next scan, recorded; None if the instrument returned one that was sent before.

        An instrument that can tell of lines while it records them tells `on_lines`.

        Raises
        ------
        AdapterError
            If the instrument cannot scan, or returns what cannot be sent.
        StoppedError
            If the client was told to stop.
        """
        self._heed_stop()
        instrument = self._instrument
        scan = instrument.scan_in_lines(on_lines) if isinstance(instrument, Streaming) else instrument.scan()
        if scan.scan_id in self._spool.scan_ids:
            return None
        try:
            header = Message(id=message_id("scan", scan.scan_id), sent_at=self._clock())
            packet = codec.scan_packet(scan, header)
            frames = codec.encode(packet)
        except ValueError as error:
            raise ScanDataError(f"scan '{scan.scan_id}' cannot be sent: {codec.explain(error)}") from error
        assert isinstance(packet.message, ScanMessage)
        return self._record(Outgoing(packet.message, frames))

    def plan(self, recommendation: RecommendationMessage) -> None:
        """Show an instrument that wants to see it what is about to be carried out."""
        if isinstance(self._instrument, Planning):
            self._instrument.plan(recommendation)

    def carry_out(self, request: MeasurementRequest, scan_id: str, refusal: str = "") -> Outgoing:
        """The recorded result of one request: ok, skipped (not begun) or failed (begun, or begun before a restart).

        Parameters
        ----------
        request
            Where to measure.
        scan_id
            The scan that it was chosen from.
        refusal
            Why it must not be measured; "" if it may.

        Raises
        ------
        StoppedError
            If the client was told to stop before the request was begun.
        """
        try:
            self._check(request, scan_id, refusal)
            self._heed_stop()
            self._spool.begin(request, scan_id)
            return self._record(self._ok(request, self._instrument.measure(request)))
        except LimitError as error:
            return self._record(self._not_ok(request, "skipped", error))
        except AdapterError as error:
            return self._record(self._not_ok(request, "failed", error))

    def _heed_stop(self) -> None:
        if self._stop.is_set():
            raise StoppedError

    def _record(self, outgoing: Outgoing) -> Outgoing:
        self._spool.send(outgoing)
        return outgoing

    def _check(self, request: MeasurementRequest, scan_id: str, refusal: str) -> None:
        """Refuse what was begun before, what is out of date, and what lies outside the limits."""
        if request.request_id in self._spool.begun:
            raise InstrumentFaultError(
                "interrupted: the client was stopped while it measured this point; it is not measured a second time"
            )
        if refusal:
            raise LimitError(refusal)
        if scan_id != self._spool.latest_scan:
            raise LimitError(f"a newer scan exists ({self._spool.latest_scan}); points of {scan_id} are not measured any more")
        check_request(request, self._instrument.limits)
        self._check_spacing(request, scan_id)

    def _check_spacing(self, request: MeasurementRequest, scan_id: str) -> None:
        limits = self._instrument.limits
        begun = [b for b in self._spool.begun.values() if b.scan_id == scan_id]
        if len(begun) >= limits.points_max:
            raise LimitError(f"{limits.points_max} points have been measured after scan {scan_id}, and no more are allowed")
        nearest_m = min((math.hypot(b.x_m - request.x_m, b.y_m - request.y_m) for b in begun), default=math.inf)
        if nearest_m < limits.spacing_min_m * (1 - _ROUNDING):
            raise LimitError(
                f"the point lies {nearest_m * 1e9:.1f} nm from one measured after the same scan, "
                f"at least {limits.spacing_min_m * 1e9:.1f} nm are required; it was not measured"
            )

    def _ok(self, request: MeasurementRequest, measurement: Measurement) -> Outgoing:
        """A measured result; one that the wire cannot carry (a NaN among its parameters) is a failed one."""
        try:
            message = ResultMessage(
                id=message_id("result", request.request_id),
                sent_at=self._clock(),
                arrays=codec.specs(measurement.arrays),
                request_id=request.request_id,
                status="ok",
                reason=measurement.remark[:2000],
                x_m=measurement.x_m,
                y_m=measurement.y_m,
                measured_at=measurement.measured_at,
                parameters=dict(measurement.parameters),
            )
            return Outgoing(message, codec.encode(codec.Packet(message, measurement.arrays)))
        except ValueError as error:
            raise InstrumentFaultError(
                f"the point was measured, but what came out cannot be sent: {codec.explain(error)}"
            ) from error

    def _not_ok(self, request: MeasurementRequest, status: str, error: AdapterError) -> Outgoing:
        message = ResultMessage(
            id=message_id("result", request.request_id),
            sent_at=self._clock(),
            request_id=request.request_id,
            status="skipped" if status == "skipped" else "failed",
            reason=(str(error) or type(error).__name__)[:2000],
        )
        return Outgoing(message, codec.encode(codec.Packet(message)))
