"""Which decision is worth a deeper search while nothing waits: the newest of an instrument, once, some time after it was made."""

import time
from collections.abc import Callable, Iterable

from agent.config.schedule import ScheduleSettings
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger


class IdleSearch:
    """What there is to do when there is nothing to do.

    Parameters
    ----------
    settings
        Whether and when.
    ledger
        Knows the decisions.
    clock
        Monotonic, in seconds; the age of a decision counts from when it was first seen here.
    """

    def __init__(self, settings: ScheduleSettings, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._ledger, self._clock = settings, ledger, clock
        self._seen: dict[str, tuple[str, float]] = {}  # instrument -> newest decision, and since when
        self._given_up: set[tuple[str, str]] = set()

    def due(self, instruments: Iterable[str]) -> ScanEntry | None:
        """The scan to search more deeply now, or None."""
        if not self._settings.deep:
            return None
        ages = [(self._age_s(entry), entry) for i in instruments if (entry := self._open(i)) is not None]
        old = [(age, entry) for age, entry in ages if age >= self._settings.idle_after_s]
        return max(old, key=lambda pair: pair[0])[1] if old else None

    def again(self, entry: ScanEntry) -> None:
        """Wait as long once more: the search was interrupted."""
        self._seen.pop(entry.instrument_id, None)

    def give_up(self, entry: ScanEntry) -> None:
        """Do not try it again in this process: the search failed."""
        self._given_up = {key for key in self._given_up if key[0] != entry.instrument_id} | {(entry.instrument_id, entry.scan_id)}

    def _open(self, instrument_id: str) -> ScanEntry | None:
        entry = self._ledger.latest(instrument_id)
        if entry is None or entry.decision is None or entry.decision.chosen is None or entry.deepened is not None:
            return None
        return None if (instrument_id, entry.scan_id) in self._given_up else entry

    def _age_s(self, entry: ScanEntry) -> float:
        seen = self._seen.get(entry.instrument_id)
        if seen is None or seen[0] != entry.scan_id:
            seen = self._seen[entry.instrument_id] = entry.scan_id, self._clock()
        return self._clock() - seen[1]
