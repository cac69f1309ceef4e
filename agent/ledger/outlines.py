"""Reading the events that make up the state of a run, without the details of old decisions.

Of a scan that is not the newest of its instrument the ledger keeps an outline anyway. The details of its decision, nine tenths of
a long history, would be read and checked only to be dropped when the next scan comes.
"""

from collections.abc import Iterable, Iterator

from agent.history.event_log import Event, History
from agent.history.readers import reading_event
from agent.ledger.ledger import KINDS
from agent.schema import event_kinds as kinds


def state_events(history: History, *, after: int = 0, also: Iterable[str] = ()) -> Iterator[Event]:
    """The events that change a ledger, in order; a ledger that takes in all of them ends in the same state as with whole ones.

    Parameters
    ----------
    history
        History of the run.
    after
        Sequence number after which events are read.
    also
        Further kinds of events to read.

    Raises
    ------
    HistoryError
        If an event cannot be read.
    """
    newest_scans = history.newest_seqs(kinds.SCAN_RECEIVED, after)
    for event in history.events(after=after, kinds=(*KINDS, *also), outlines=True):
        if event.kind in (kinds.DECISION_MADE, kinds.DECISION_DEEPENED):
            with reading_event(event):
                whole = _is_needed_whole(event, newest_scans)
            yield (history.event(event.seq) or event) if whole else event
        else:
            yield event


def _is_needed_whole(event: Event, newest_scans: dict[str, int]) -> bool:
    """Whether no newer scan follows, or the ledger looks whether there are candidates: there are none, so nothing is saved."""
    if event.seq > newest_scans.get(event.body["instrument_id"], 0):
        return True
    decision = event.body["decision"]
    return decision["outcome"] == "not_resolvable" and not decision["keypoints_found"]
