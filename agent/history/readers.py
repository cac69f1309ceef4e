"""Scans and decisions read back from a history."""

from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision, DecisionRecord
from instrument_adapters.protocol.codec import Packet, explain, scan_from_packet
from instrument_adapters.protocol.messages import ScanMessage
from instrument_adapters.scan import Scan


@contextmanager
def reading_event(event: Event) -> Iterator[None]:
    """Turn errors from a malformed event into one `HistoryError` that names the event."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = explain(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise HistoryError(
            f"event {event.seq} ({event.kind}) cannot be read back: it was altered or written by another version: {reason}"
        ) from error


def scan_in(history: History, event: Event) -> Scan:
    """The scan of a "scan_received" event."""
    with reading_event(event):
        header = ScanMessage.model_validate({k: v for k, v in event.body["header"].items() if k != "version"})
        return scan_from_packet(Packet(header, {"channels": history.arrays.get(event.arrays["channels"])}))


def decision_in(history: History, event: Event) -> Decision:
    """The decision of a "decision_made" or "decision_deepened" event, without arrays that retention has released."""
    with reading_event(event):
        record = DecisionRecord.model_validate(event.body["decision"])
        released = history.released()
        held = {name: digest for name, digest in event.arrays.items() if digest not in released}
        return Decision(record, {name: history.arrays.get(digest) for name, digest in held.items()})


def decided_scan(history: History, event: Event) -> Scan:
    """The scan that a "decision_made" or "decision_deepened" event is about.

    Raises
    ------
    HistoryError
        If the history does not hold it.
    """
    return scan_in(history, scan_event(history, event.body["instrument_id"], event.body["scan_id"]))


def scan_event(history: History, instrument_id: str, scan_id: str) -> Event:
    """The "scan_received" event of a scan.

    Raises
    ------
    HistoryError
        If the history does not hold it.
    """
    for event in history.events(kind=kinds.SCAN_RECEIVED, subject=scan_id):
        if event.body.get("instrument_id") == instrument_id:
            return event
    raise HistoryError(f"the history in {history.run_directory} does not hold scan {scan_id} of {instrument_id}")
