"""What time it is at each instrument, told from what it sends: its clock need not be ours."""

from collections.abc import Callable
from datetime import datetime, timedelta

_OTHER_CLOCK = timedelta(days=30)


class Clocks:
    """The clock of each instrument, going on by ours between its messages.

    Parameters
    ----------
    monotonic
        Our seconds from any origin; never jumps backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._heard: dict[str, tuple[datetime, float]] = {}

    def heard(self, instrument_id: str, sent_at: datetime, *, fresh: bool) -> None:
        """Learn from a message; one that is not `fresh` may have waited for the agent, and never sets the clock back."""
        known = self.now(instrument_id)
        if fresh or known is None or sent_at > known:
            self._heard[instrument_id] = (sent_at, self._monotonic())

    def now(self, instrument_id: str) -> datetime | None:
        """By the instrument's clock; None where nothing has been heard of it."""
        heard = self._heard.get(instrument_id)
        return None if heard is None else heard[0] + timedelta(seconds=self._monotonic() - heard[1])


def scan_end(sent_at: datetime, finished_at: datetime | None) -> datetime:
    """When a scan ended, by the clock of the messages that carry it.

    A scan that says nothing ended when it was sent, at the latest. So did one that says a time more than a month away: it was
    simulated, or recorded long ago, and its times are by a clock that has nothing to do with when it can be measured.
    """
    if finished_at is None or abs(sent_at - finished_at) > _OTHER_CLOCK:
        return sent_at
    return min(finished_at, sent_at)
