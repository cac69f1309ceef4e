"""Scans and decisions read back from a history, whole."""

from collections.abc import Iterator
from contextlib import contextmanager

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision, DecisionRecord
from instrument_adapters.protocol.codec import Packet, explain, scan_of
from instrument_adapters.protocol.messages import ScanMessage
from instrument_adapters.scan import Scan


@contextmanager
def trusted(event: Event) -> Iterator[None]:
    """Say in one sentence that an event does not hold what its kind promises."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        reason = explain(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise HistoryError(
            f"event {event.seq} ({event.kind}) cannot be read back, it was altered or written by another version: {reason}"
        ) from error


def scan_in(history: History, event: Event) -> Scan:
    """The scan of a "scan_received" event."""
    with trusted(event):
        header = ScanMessage.model_validate({k: v for k, v in event.body["header"].items() if k != "version"})
        return scan_of(Packet(header, {"channels": history.arrays.get(event.arrays["channels"])}))


def decision_in(history: History, event: Event) -> Decision:
    """The decision of a "decision_made" or "decision_deepened" event; without arrays that retention has released."""
    with trusted(event):
        record = DecisionRecord.model_validate(event.body["decision"])
        released = history.released()
        held = {name: digest for name, digest in event.arrays.items() if digest not in released}
        return Decision(record, {name: history.arrays.get(digest) for name, digest in held.items()})


def scan_behind(history: History, event: Event) -> Scan:
    """The scan that a "decision_made" event decided on.

    Raises
    ------
    HistoryError
        If the history does not hold it.
    """
    return scan_in(history, received(history, event.body["instrument_id"], event.body["scan_id"]))


def received(history: History, instrument_id: str, scan_id: str) -> Event:
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
