"""What a search goes on from: the last decision of the same instrument on the same sample, kept in memory or read back.

The tip's sharpness, the drift and the weights of models are one instrument's on one sample: another instrument on that sample, or
another sample in that instrument, has its own.
"""

from collections import OrderedDict

import structlog

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.readers import decision_in
from agent.ledger.entries import ScanEntry
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision

_KEPT = 8
_LOG = structlog.get_logger("vaestar.agent")


class PreviousDecisions:
    """Decisions with their arrays; a few in memory, all others in the history.

    Parameters
    ----------
    history, ledger
        Of this run.
    kept
        How many are kept in memory; weights make each some megabytes.
    """

    def __init__(self, history: History, ledger: Ledger, kept: int = _KEPT) -> None:
        self._history, self._ledger, self._most = history, ledger, kept
        self._kept: OrderedDict[str, Decision] = OrderedDict()

    def keep(self, entry: ScanEntry, decision: Decision) -> None:
        """Have a decision at hand that has just been recorded."""
        self._kept[_key(entry, decision.record.decision_id)] = decision
        self._kept.move_to_end(_key(entry, decision.record.decision_id))
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def before(self, entry: ScanEntry) -> ScanEntry | None:
        """The last scan before `entry` of the same instrument and sample that was fit for a decision."""
        found = None
        for other in self._ledger.scans.values():
            if other is entry:
                break
            same = (other.instrument_id, other.sample_id) == (entry.instrument_id, entry.sample_id)
            if same and other.decision is not None and other.decision.outcome != "bad_scan":
                found = other
        return found

    def decision_on(self, entry: ScanEntry, *, deepest: bool = True) -> Decision | None:
        """The decision on a scan, or what a deeper search on it has found; None where that cannot be read back."""
        record, kind = entry.decision, kinds.DECISION_MADE
        if deepest and entry.deepened is not None:
            record, kind = entry.deepened, kinds.DECISION_DEEPENED
        if record is None:
            return None
        key = _key(entry, record.decision_id)
        if key not in self._kept:
            try:
                event = self._event(entry, kind, record.decision_id)
                decision = decision_in(self._history, event)
            except HistoryError as error:  # it is of use only; the search starts from nothing
                _LOG.warning("the last decision cannot be read back", scan=entry.scan_id, why=str(error))
                return None
            self.keep(entry, decision)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _event(self, entry: ScanEntry, kind: str, decision_id: str) -> Event:
        for event in self._history.events(kind=kind, subject=decision_id):
            if event.body["instrument_id"] == entry.instrument_id:  # two instruments that send one scan have one name for it
                return event
        raise HistoryError(f"the history does not hold decision {decision_id}")


def _key(entry: ScanEntry, decision_id: str) -> str:
    return f"{entry.instrument_id}\0{decision_id}"
