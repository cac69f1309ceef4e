"""What time it is at each instrument, told from what it sends: its clock need not be ours, nor its computer's."""

from collections.abc import Callable
from datetime import datetime, timedelta

from instrument_adapters.protocol import messages as wire


class Clocks:
    """The clock of each instrument, going on by ours between its messages.

    `hello` is sent by it, scans end and points are measured by it; all else is sent by the clock of the instrument's computer.

    Parameters
    ----------
    monotonic
        Our seconds from any origin; never jumps backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard: dict[str, tuple[datetime, float]] = {}

    def heard(self, instrument_id: str, message: wire.Message) -> None:
        """Learn from a message: a hello sets the clock, a scan or a result may have waited and only moves it forward."""
        if isinstance(message, wire.Hello):
            self._heard[instrument_id] = (message.sent_at, self._monotonic())
            return
        at = {wire.ScanMessage: "finished_at", wire.ResultMessage: "measured_at"}.get(type(message))
        known, said = self.now(instrument_id), getattr(message, at) if at else None
        if said is not None and (known is None or said > known):
            self._heard[instrument_id] = (said, self._monotonic())

    def now(self, instrument_id: str) -> datetime | None:
        """By the instrument's clock; None where nothing has been heard of it."""
        heard = self._heard.get(instrument_id)
        return None if heard is None else heard[0] + timedelta(seconds=self._monotonic() - heard[1])
