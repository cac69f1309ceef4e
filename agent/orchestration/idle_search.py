"""Selects the decision to deepen while no scan waits: the newest of an instrument, once, some time after it was made."""

import time
from collections.abc import Callable, Iterable

from agent.config.service import ScheduleSettings
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger


class IdleSearch:
    """Selects decisions for a deeper search.

    Parameters
    ----------
    settings
        Whether decisions are deepened, and after how many seconds.
    ledger
        State of the run, with its decisions.
    clock
        Monotonic clock in seconds; the age of a decision counts from when it was first seen here.
    """

    def __init__(self, settings: ScheduleSettings, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._seen: dict[str, tuple[str, float]] = {}  # instrument -> its newest decided scan, and when that was first seen
        self._failed: set[tuple[str, str]] = set()

    def due(self, instruments: Iterable[str]) -> ScanEntry | None:
        """The scan whose decision is to be deepened now; None if there is none."""
        if not self._settings.deep:
            return None
        ages = [(self._age_s(entry), entry) for i in instruments if (entry := self._open(i)) is not None]
        old = [(age, entry) for age, entry in ages if age >= self._settings.idle_after_s]
        return max(old, key=lambda pair: pair[0])[1] if old else None

    def retry(self, entry: ScanEntry) -> None:
        """Start the waiting time again, because the deeper search was interrupted."""
        self._seen.pop(entry.instrument_id, None)

    def give_up(self, entry: ScanEntry) -> None:
        """Do not deepen this decision again in this process, because its search failed."""
        self._failed = {key for key in self._failed if key[0] != entry.instrument_id} | {(entry.instrument_id, entry.scan_id)}

    def _open(self, instrument_id: str) -> ScanEntry | None:
        entry = self._ledger.latest(instrument_id)
        if entry is None or entry.decision is None or entry.decision.chosen is None or entry.deeper is not None:
            return None
        return None if (instrument_id, entry.scan_id) in self._failed else entry

    def _age_s(self, entry: ScanEntry) -> float:
        seen = self._seen.get(entry.instrument_id)
        if seen is None or seen[0] != entry.scan_id:
            seen = self._seen[entry.instrument_id] = entry.scan_id, self._clock()
        return self._clock() - seen[1]
