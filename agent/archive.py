"""Scans and decisions read back from a history, whole."""

from agent import ledger as kinds
from agent.decision import Decision, DecisionRecord
from agent.history import Event, History, HistoryError
from instrument_adapters.codec import Packet, scan_of
from instrument_adapters.messages import ScanMessage
from instrument_adapters.scan import Scan


def scan_in(history: History, event: Event) -> Scan:
    """The scan of a "scan_received" event."""
    with kinds.trusted(event):
        header = ScanMessage.model_validate({k: v for k, v in event.body["header"].items() if k != "version"})
        return scan_of(Packet(header, {"channels": history.arrays.get(event.arrays["channels"])}))


def decision_in(history: History, event: Event) -> Decision:
    """The decision of a "decision_made" event."""
    with kinds.trusted(event):
        record = DecisionRecord.model_validate(event.body["decision"])
        return Decision(record, {name: history.arrays.get(digest) for name, digest in event.arrays.items()})


def scan_behind(history: History, event: Event) -> Scan:
    """The scan that a "decision_made" event decided on.

    Raises
    ------
    HistoryError
        If the history does not hold it.
    """
    wanted = event.body["instrument_id"]
    for received in history.events(kind=kinds.SCAN_RECEIVED, subject=event.body["scan_id"]):
        if received.body["instrument_id"] == wanted:
            return scan_in(history, received)
    raise HistoryError(
        f"the history does not hold scan {event.body['scan_id']} of {wanted}, which decision {event.subject} is about"
    )


def last_decision(history: History, sample_id: str) -> Decision | None:
    """The newest decision on a sample that came of a scan fit for one, or None."""
    newest = None
    for event in history.events(kind=kinds.DECISION_MADE):
        with kinds.trusted(event):
            body = event.body["decision"]
            if body["sample_id"] == sample_id and body["outcome"] != "bad_scan":
                newest = event
    return None if newest is None else decision_in(history, newest)
