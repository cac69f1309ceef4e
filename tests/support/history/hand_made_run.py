"""A run with one event of each common kind, made without a search; one event is about a peer whose name needs escaping."""

from pathlib import Path

from agent.history.event_log import History
from agent.messaging.dispatcher import Dispatcher
from instrument_adapters.errors import ProtocolError
from tests.support.samples import Clock, ack, decision, hello, result, sample_scan, scan_message

KINDS = (
    "run_started",
    "instrument_connected",
    "scan_received",
    "candidates_scored",
    "decision_made",
    "approval_given",
    "recommendation_sent",
    "recommendation_acknowledged",
    "result_received",
    "message_refused",
    "run_stopped",
)


def hand_made_run(directory: Path) -> Path:
    """Write the run to a directory; returns the directory."""
    with History(directory) as history:
        agent = Dispatcher(history, "run-1", Clock())
        agent.run_log.started({"seed": 0}, {"python": "3"})
        agent.on_packet("afm-1", hello())
        agent.on_packet("afm-1", scan_message(sample_scan("0007")))
        entry = agent.ledger.undecided("afm-1")
        agent.decision_log.decided(entry, decision("0007"), 1.5)
        agent.sent(entry)
        agent.on_packet("afm-1", ack("rec-d-0007"))
        agent.on_packet("afm-1", result("d-0007-000"))
        agent.refuse("[/red] \\xff", None, ProtocolError("bad_json", "the header [/is] not JSON"))
        agent.run_log.stopped("asked to stop")
    return directory
