"""A short run, recorded in the way the service records it."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from agent.history.event_log import History
from agent.messaging.dispatcher import Dispatcher
from tests.support.samples import Clock, ack, decision, hello, request, result, sample_scan, scan_message

EVENTS = 10
"""Number of events of a run with one scan."""


def record_run(run: Path, scans: int = 1) -> None:
    """Record `scans` scans with their decisions; of each, the first point is measured and the second skipped."""
    shutil.copytree(_recorded(scans), run, dirs_exist_ok=True)


@cache
def _recorded(scans: int) -> Path:
    run = Path(tempfile.mkdtemp(prefix="vaestar-test-"))
    atexit.register(shutil.rmtree, run, ignore_errors=True)
    with History(run) as history:
        dispatch = Dispatcher(history, "run-1", Clock())
        dispatch.run_log.started({"seed": 0}, {"python": "3"})
        dispatch.on_packet("afm-1", hello())
        for number in range(1, scans + 1):
            name = f"scan-{number}"
            dispatch.on_packet("afm-1", scan_message(sample_scan(name)))
            entry = dispatch.ledger.latest("afm-1")
            y_m = -4e-7 + 2e-7 * number  # away from measured points
            requests = [request(f"d-{name}-{i:03}", x_m, y_m) for i, x_m in enumerate((1e-7, 3e-7))]
            dispatch.decision_log.decided(entry, decision(name, tuple(requests)), 12.5)
            dispatch.sent(entry)
            dispatch.on_packet("afm-1", ack(f"rec-d-{name}"))
            dispatch.on_packet("afm-1", result(f"d-{name}-000", message_id=f"r-{number}-0", y_m=y_m))
            dispatch.on_packet("afm-1", result(f"d-{name}-001", "skipped", f"r-{number}-1"))
    return run
