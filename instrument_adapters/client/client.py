"""Runs beside an instrument: sends its scans to the agent, measures where the agent says, and sends what came of it.

The event loop's thread owns the socket, one worker thread makes all blocking calls of the instrument, and the spool
remembers what was said and done, so that neither a lost message nor a killed process loses a result or repeats a measurement.
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


@dataclass(frozen=True)
class ClientReport:
    """What a client did until it ended.

    Parameters
    ----------
    cycles
        Scans whose recommendations were carried out to the end, or that were refused.
    scans_sent
        Scans that the agent has recorded.
    scans_refused, scans_failed
        Scans that the agent refused, and that the instrument could not record.
    results_ok, results_skipped, results_failed
        What came of the requests.
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
    """What was done for the agent at `address` until `cycles` were finished or `stop` was set.

    Parameters
    ----------
    instrument
        What scans and measures; it is closed in any case, at `stop` while a call of it may still be under way.
    address
        Where the agent listens, such as "tcp://127.0.0.1:5555".
    cycles
        How many scans to take and follow up; None for no end.
    spool_dir
        Where a killed client finds what it had not finished; None to remember nothing.
    stop
        Set it, from any thread, to end in order.
    timings
        How long to wait for what.
    on_event
        Called in this thread with a name and facts, among them a `sentence`, whenever something happens.
    clock
        Wall time with its zone; default the computer's, in UTC.
    keys
        Of this instrument and of the agent; None for an agent on this computer that wants none.

    Raises
    ------
    ProtocolError
        If the agent refuses this instrument.
    AdapterError
        If the instrument fails to scan three times in a row, or the spool cannot be used.
    ValueError
        If the address is none.
    """
    stop = stop or threading.Event()
    close = _Once(instrument.close)

    def tell(event: str, sentence: str, level: int = logging.INFO, **facts: object) -> None:
        _LOG.log(level, "%s", sentence)
        if on_event is not None:
            on_event(event, {"sentence": sentence, **facts})

    with contextlib.ExitStack() as stack:
        stack.callback(close)
        spool = stack.enter_context(Spool(spool_dir))
        worker = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="instrument"))
        stack.callback(close)  # before the worker is waited for: a call under way may end only because of it
        # zmq needs a selector loop, which is not Windows' default
        runner = stack.enter_context(asyncio.Runner(loop_factory=asyncio.SelectorEventLoop))
        session = Session(instrument, spool, worker, stop, close, timings, tell, clock or _utc_now, keys)
        return ClientReport(**runner.run(session.run(address, cycles)))


def stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` at the first SIGINT or SIGTERM; a second one acts as it did before. Call it from the main thread."""
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}

    def heed(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, heed)


class _Once:
    """A function that is called the first time only."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function: Callable[[], None] | None = function

    def __call__(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            function()


def _utc_now() -> datetime:
    return datetime.now(UTC)
