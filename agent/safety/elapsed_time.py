"""Seconds since a scan was received or an approval asked for, whatever happens to the wall clock."""

from collections.abc import Callable
from datetime import datetime

from agent.history.event_log import Event
from agent.ledger.entries import ScanEntry
from agent.ledger.recorder import Recorder
from agent.schema import event_kinds as kinds


class ElapsedTime:
    """Elapsed time: by our monotonic clock within this process, and by the recorded times before it.

    After a restart the wall clock is all there is. If it was set back meanwhile, so that it shows less than the newest event, the
    time of that event is used: then too little time may be counted, but never less than what is known to have passed.

    Parameters
    ----------
    recorder
        Records the events, and gives the wall clock.
    monotonic
        Our monotonic clock in seconds.
    """

    def __init__(self, recorder: Recorder, monotonic: Callable[[], float]) -> None:
        self._ledger, self._monotonic = recorder.ledger, monotonic
        latest_at = recorder.ledger.latest_at
        self._started_at = None if latest_at is None else max(latest_at, recorder.now())
        self._started_s = monotonic()
        recorder.listen(self._note)

    def since_received(self, entry: ScanEntry) -> float:
        """Seconds since a scan was received."""
        return self._since(entry.received_s, entry.event.recorded_at)

    def since_asked(self, entry: ScanEntry) -> float:
        """Seconds since an operator was asked to approve the decision on a scan; 0 if none was."""
        return 0.0 if entry.approval_asked_at is None else self._since(entry.approval_asked_s, entry.approval_asked_at)

    def _since(self, noted_s: float | None, recorded_at: datetime) -> float:
        if noted_s is not None:
            return self._monotonic() - noted_s
        started_at = self._started_at or recorded_at
        return (started_at - recorded_at).total_seconds() + self._monotonic() - self._started_s

    def _note(self, event: Event) -> None:
        """Note the monotonic time of an event of this process."""
        if event.kind == kinds.SCAN_RECEIVED:
            self._ledger.scans[event.body["instrument_id"], event.subject].received_s = self._monotonic()
        elif event.kind == kinds.APPROVAL_ASKED:
            self._ledger.scans[event.body["instrument_id"], event.body["scan_id"]].approval_asked_s = self._monotonic()
