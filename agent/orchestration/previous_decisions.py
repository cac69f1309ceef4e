"""The previous decision of the same instrument on the same sample, from which a search starts.

Tip sharpness, drift and model weights belong to one pair of instrument and sample; they are not shared with other instruments or
other samples. A few decisions are kept in memory, the others are read back from the history.
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
    """Decisions with their arrays, the most recently used in memory and all others in the history.

    Parameters
    ----------
    history, ledger
        History and state of the run.
    kept
        Number of decisions kept in memory; each has some megabytes of weights.
    """

    def __init__(self, history: History, ledger: Ledger, kept: int = _KEPT) -> None:
        self._history, self._ledger, self._kept_max = history, ledger, kept
        self._kept: OrderedDict[str, Decision] = OrderedDict()

    def keep(self, entry: ScanEntry, decision: Decision) -> None:
        """Keep a decision that was just recorded in memory."""
        self._kept[_key(entry, decision.record.decision_id)] = decision
        self._kept.move_to_end(_key(entry, decision.record.decision_id))
        while len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)

    def before(self, entry: ScanEntry) -> ScanEntry | None:
        """The last scan before `entry` of the same instrument and sample that has a decision other than "bad_scan"."""
        earlier = self._ledger.scans_before(entry)
        return next((other for other in earlier if other.decided is not None and other.decided.outcome != "bad_scan"), None)

    def decision_on(self, entry: ScanEntry, *, deepest: bool = True) -> Decision | None:
        """The decision on a scan, with `deepest` the deepened one if there is one; None if it cannot be read back."""
        decided, kind = entry.decided, kinds.DECISION_MADE
        if deepest and entry.deeper is not None:
            decided, kind = entry.deeper, kinds.DECISION_DEEPENED
        if decided is None:
            return None
        key = _key(entry, decided.decision_id)
        if key not in self._kept:
            try:
                event = self._event(entry, kind, decided.decision_id)
                decision = decision_in(self._history, event)
            except HistoryError as error:  # not essential: the search then makes a cold start
                _LOG.warning(
                    "the previous decision cannot be read back; the search makes a cold start", scan=entry.scan_id, why=str(error)
                )
                return None
            self.keep(entry, decision)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _event(self, entry: ScanEntry, kind: str, decision_id: str) -> Event:
        for event in self._history.events(kind=kind, subject=decision_id):
            if event.body["instrument_id"] == entry.instrument_id:  # decisions on a scan sent by two instruments share an id
                return event
        raise HistoryError(f"the history does not hold decision {decision_id}")


def _key(entry: ScanEntry, decision_id: str) -> str:
    return f"{entry.instrument_id}\0{decision_id}"
