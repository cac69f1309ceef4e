"""Time by each instrument's clock, inferred from its messages; the clock may differ from ours and from its computer's."""

from collections.abc import Callable
from datetime import datetime, timedelta

from instrument_adapters.protocol import messages as wire

_TOLERANCE = timedelta(seconds=60)  # of the dates that an instrument gives; an hour, as of summer time, is far outside


class InstrumentClocks:
    """The clock of each instrument, advanced by our monotonic clock between its messages.

    The send time of `hello`, the end of a scan and the time of a measurement are given by the instrument's clock; all other times
    by that of the instrument's computer.

    Parameters
    ----------
    monotonic
        Our monotonic clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._readings: dict[str, tuple[datetime, float]] = {}  # instrument -> (its time, our monotonic time) at its last reading

    def heard(self, instrument_id: str, message: wire.Message) -> None:
        """Update the clock from a message: a hello sets it; a scan or result, which may be delayed, only moves it forward.

        A result whose date cannot be right does not move it.
        """
        if isinstance(message, wire.Hello):
            self._readings[instrument_id] = (message.sent_at, self._monotonic())
            return
        field = {wire.ScanMessage: "finished_at", wire.ResultMessage: "measured_at"}.get(type(message))
        if isinstance(message, wire.ResultMessage) and self.misdated(instrument_id, message, None):
            return
        known, time = self.now(instrument_id), getattr(message, field) if field else None
        if time is not None and (known is None or time > known):
            self._readings[instrument_id] = (time, self._monotonic())

    def now(self, instrument_id: str) -> datetime | None:
        """Current time by the instrument's clock; None before its first message."""
        reading = self._readings.get(instrument_id)
        return None if reading is None else reading[0] + timedelta(seconds=self._monotonic() - reading[1])

    def misdated(self, instrument_id: str, message: wire.ResultMessage, scanned_at: datetime | None) -> str:
        """Why the date of a measurement cannot be right; empty if it can.

        It lies between the end of the scan that the point was chosen from, `scanned_at` (None: unknown), and the moment at which
        the result was made or received, by the instrument's clock. The clock of a simulated instrument may run faster than ours,
        so of the two the later one counts.
        """
        at, now = message.measured_at, self.now(instrument_id)
        if at is None:
            return ""
        latest = message.sent_at if now is None else max(now, message.sent_at)
        if at > latest + _TOLERANCE:
            return f"{message.request_id} is dated {at.isoformat()}, but was received at {latest.isoformat()} already"
        if scanned_at is not None and at < scanned_at - _TOLERANCE:
            return f"{message.request_id} is dated {at.isoformat()}, before the end of its scan at {scanned_at.isoformat()}"
        return ""
