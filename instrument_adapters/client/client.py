"""The client beside an instrument: sends scans to the agent, measures the recommended points, and sends the results.

The event loop's thread owns the socket, and one worker thread makes all blocking calls of the instrument. The spool records
every step, so that neither a lost message nor a killed process loses a result or repeats a measurement.
"""

import asyncio
import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from instrument_adapters.client.session import Session
from instrument_adapters.client.timings import ClientTimings
from instrument_adapters.instrument import Instrument
from instrument_adapters.protocol.curve_keys import ClientKeys
from instrument_adapters.spool.spool import Spool

__all__ = ["ClientReport", "ClientTimings", "run_client", "stop_on_signals"]

_LOG = logging.getLogger(__name__)
_DEFAULT_TIMINGS = ClientTimings()
_STILL_STOPPING = (
    "still stopping: the instrument's call in progress has to end, and the last results are sent; a third Ctrl-C ends "
    "the program at once, and leaves the instrument as it is"
)


@dataclass(frozen=True)
class ClientReport:
    """Counts of what a client did until it ended.

    Parameters
    ----------
    cycles
        Scans that were refused, or whose recommended points all have a result.
    scans_sent
        Scans that the agent has recorded.
    scans_refused, scans_failed
        Scans that the agent refused, and scans that the instrument could not record.
    results_ok, results_skipped, results_failed
        Requests by the status of their result.
    """

    cycles: int = 0
    scans_sent: int = 0
    scans_refused: int = 0
    scans_failed: int = 0
    results_ok: int = 0
    results_skipped: int = 0
    results_failed: int = 0


def run_client(
    instrument: Instrument,
    address: str,
    *,
    cycles: int | None = None,
    spool_dir: Path | None = None,
    stop: threading.Event | None = None,
    timings: ClientTimings = _DEFAULT_TIMINGS,
    on_event: Callable[[str, Mapping[str, object]], None] | None = None,
    clock: Callable[[], datetime] | None = None,
    keys: ClientKeys | None = None,
) -> ClientReport:
    """Run an instrument for the agent at `address`, until `cycles` cycles are finished or `stop` is set.

    Parameters
    ----------
    instrument
        Instrument that scans and measures. It is always closed at the end; after `stop`, possibly during a call in progress.
    address
        Address of the agent, such as "tcp://127.0.0.1:5555".
    cycles
        Number of scans to record and follow up; None for no limit.
    spool_dir
        Directory that keeps unfinished work for the next client; None to keep nothing.
    stop
        Event that ends the client cleanly; may be set from any thread.
    timings
        Pauses and time-outs.
    on_event
        Called in this thread with the name and the facts of each event; one of the facts is a `sentence` for people.
    clock
        Wall clock that returns times with a zone; by default the computer's, in UTC.
    keys
        Keys of this instrument and of the agent; None for an agent without keys.

    Raises
    ------
    ProtocolError
        If the agent refuses this instrument.
    AdapterError
        If the instrument fails to scan three times in a row, or the spool cannot be used.
    ValueError
        If the address is not valid.
    """
    stop = stop or threading.Event()
    close = _CallOnce(instrument.close)

    def report(event: str, sentence: str, level: int = logging.INFO, **facts: object) -> None:
        _LOG.log(level, "%s", sentence)
        if on_event is not None:
            on_event(event, {"sentence": sentence, **facts})

    with contextlib.ExitStack() as stack:
        stack.callback(close)
        spool = stack.enter_context(Spool(spool_dir))
        worker = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="instrument"))
        stack.callback(close)  # before waiting for the worker: only this may end a call in progress
        # zmq needs a selector loop, which is not the default on Windows
        runner = stack.enter_context(asyncio.Runner(loop_factory=asyncio.SelectorEventLoop))
        session = Session(instrument, spool, worker, stop, close, timings, report, clock or _utc_now, keys)
        return ClientReport(**runner.run(session.run(address, cycles)))


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` at the first SIGINT, SIGTERM or SIGHUP; call it from the main thread.

    The second one changes nothing and says what is being waited for, so that a Ctrl-C pressed twice does not tear the clean end
    apart. The third acts as it would without this function, usually by ending the process at once. SIGHUP stays ignored where it
    is, as under `nohup`.
    """
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # a closed terminal; Windows has no such signal
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        numbers.append(hangup)
    before = {number: signal.getsignal(number) for number in numbers}
    received = 0

    def set_stop(number: int, _: FrameType | None) -> None:
        nonlocal received
        received += 1
        stop.set()
        if received == 2:
            # In a thread of its own: the signal may have come while this one held a lock of the log.
            threading.Thread(target=_LOG.warning, args=(_STILL_STOPPING,), daemon=True).start()
        if received > 2:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, set_stop)


class _CallOnce:
    """Wraps a function so that only the first call has an effect."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


def _utc_now() -> datetime:
    return datetime.now(UTC)
