"""Whose scan is next: each instrument has a slot of depth one, which holds its newest scan, and who has waited longest is first.

An instrument waits from its first scan that was not looked at, not from its newest: one that scans often is not put off for ever
by those that scan seldom.
"""

from collections.abc import Callable, Iterable

from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from instrument_adapters.protocol.messages import State


def running(_instrument_id: str) -> State:
    """Every instrument is."""
    return "running"


class ScanQueue:
    """The slots of all instruments.

    Parameters
    ----------
    ledger
        Knows the newest scan of each.
    instruments
        Those that are connected.
    state_of
        Whether an instrument is running, paused (its scans are decided on) or stopped (they wait).
    """

    def __init__(self, ledger: Ledger, instruments: Callable[[], Iterable[str]], state_of: Callable[[str], State] = running):
        self._ledger, self._instruments, self._state_of = ledger, instruments, state_of
        self._since: dict[str, int] = {}  # number of the event from which on an instrument has been waiting
        self.current: ScanEntry | None = None

    def look(self) -> None:
        """Take note of who waits; to be called whenever a scan has come in."""
        for instrument_id in self._instruments():
            entry = self._ledger.undecided(instrument_id)
            if entry is None or entry is self.current:
                self._since.pop(instrument_id, None)
            else:
                self._since.setdefault(instrument_id, entry.event.seq)

    def waiting(self) -> list[ScanEntry]:
        """The scans that may be decided on, who has waited longest first."""
        self.look()
        entries = [self._ledger.undecided(i) for i in self._instruments() if self._state_of(i) != "stopped"]
        found = [entry for entry in entries if entry is not None and entry is not self.current]
        return sorted(found, key=lambda entry: self._since[entry.instrument_id])

    def take(self) -> ScanEntry | None:
        """The next scan, which is then the current one; None if none waits."""
        self.current = None
        self.current = next(iter(self.waiting()), None)
        self.look()
        return self.current

    def none_open(self) -> bool:
        """True when no scan of any instrument, connected or not, will ever be searched but one that is still to come."""
        owners = {owner for owner, _ in self._ledger.scans}
        return self.current is None and all(self._ledger.undecided(owner) is None for owner in owners)
