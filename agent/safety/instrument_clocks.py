"""Time by each instrument's clock, inferred from its messages; the clock may differ from ours and from its computer's."""

from collections.abc import Callable
from datetime import datetime, timedelta

from instrument_adapters.protocol import messages as wire


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
        """Update the clock from a message: a hello sets it; a scan or result, which may be delayed, only moves it forward."""
        if isinstance(message, wire.Hello):
            self._readings[instrument_id] = (message.sent_at, self._monotonic())
            return
        field = {wire.ScanMessage: "finished_at", wire.ResultMessage: "measured_at"}.get(type(message))
        known, time = self.now(instrument_id), getattr(message, field) if field else None
        if time is not None and (known is None or time > known):
            self._readings[instrument_id] = (time, self._monotonic())

    def now(self, instrument_id: str) -> datetime | None:
        """Current time by the instrument's clock; None before its first message."""
        reading = self._readings.get(instrument_id)
        return None if reading is None else reading[0] + timedelta(seconds=self._monotonic() - reading[1])
