"""Queue of the scans to be decided on: one slot for each instrument, which holds its newest scan; longest-waiting first.

The waiting time of an instrument counts from its first undecided scan, not from its newest, so that an instrument that scans
often is not starved by those that scan seldom.
"""

from collections.abc import Callable, Iterable

from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from instrument_adapters.protocol.messages import State


def running(_instrument_id: str) -> State:
    """State of an instrument if there is no operator to pause or stop it."""
    return "running"


class ScanQueue:
    """The slots of all instruments.

    Parameters
    ----------
    ledger
        Newest scan of each instrument.
    instruments
        Connected instruments.
    state_of
        State of an instrument: running, paused (its scans are decided on) or stopped (they wait).
    """

    def __init__(self, ledger: Ledger, instruments: Callable[[], Iterable[str]], state_of: Callable[[str], State] = running):
        self._ledger, self._instruments, self._state_of = ledger, instruments, state_of
        self._waiting_since: dict[str, int] = {}  # instrument -> number of the event of its first undecided scan
        self.current: ScanEntry | None = None

    def refresh(self) -> None:
        """Note which instruments wait. Called whenever a scan has arrived."""
        for instrument_id in self._instruments():
            entry = self._ledger.undecided(instrument_id)
            if entry is None or entry is self.current:
                self._waiting_since.pop(instrument_id, None)
            else:
                self._waiting_since.setdefault(instrument_id, entry.event.seq)

    def waiting(self) -> list[ScanEntry]:
        """The scans that may be decided on, longest-waiting instrument first."""
        self.refresh()
        entries = [self._ledger.undecided(name) for name in self._instruments() if self._state_of(name) != "stopped"]
        found = [entry for entry in entries if entry is not None and entry is not self.current]
        return sorted(found, key=lambda entry: self._waiting_since[entry.instrument_id])

    def pop(self) -> ScanEntry | None:
        """The next scan, which becomes the current one; None if none waits."""
        self.current = None
        self.current = next(iter(self.waiting()), None)
        self.refresh()
        return self.current

    def none_open(self) -> bool:
        """True if no scan received so far, whether its instrument is connected or not, still waits for a decision."""
        return self.current is None and all(self._ledger.undecided(owner) is None for owner in self._ledger.owners())
