"""One run of a client: the cycle of scan, recommendation, measurements and results."""

import asyncio
import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import TypeVar

from instrument_adapters.client.connection import Connection, message_id
from instrument_adapters.client.fault_reports import FaultReports
from instrument_adapters.client.listener import ReportEvent
from instrument_adapters.client.operator_commands import OperatorCommands
from instrument_adapters.client.timings import ClientTimings
from instrument_adapters.client.version import software
from instrument_adapters.client.worker import MeasurementWorker, StoppedError
from instrument_adapters.errors import AdapterError
from instrument_adapters.instrument import Instrument, Timed
from instrument_adapters.protocol.curve_keys import ClientKeys
from instrument_adapters.protocol.live_lines import LineBuffer, Lines
from instrument_adapters.protocol.messages import (
    Ack,
    CommandMessage,
    Hello,
    MeasurementRequest,
    RecommendationMessage,
    Refused,
    ResultMessage,
    Snapshot,
    Welcome,
)
from instrument_adapters.spool.spool import HeldError, Outgoing, Spool, SpoolError

_STOP_POLL_S = 0.05
_SCAN_FAULTS_MAX = 3  # in a row; then an operator has to check the instrument
_T = TypeVar("_T")


class Session:
    """One run of a client; the `Listener` of its connection.

    Parameters
    ----------
    instrument
        Instrument that scans and measures.
    spool
        State of the client, of this run and of earlier ones.
    executor
        Executor with the one thread that calls the instrument.
    stop
        Event that ends the run cleanly.
    close
        Closes the instrument; called as soon as `stop` is set, so that a call in progress may end.
    timings, report
        Pauses and time-outs; reports events to the user.
    clock
        Wall clock; an instrument's own clock takes precedence.
    keys
        Keys for an encrypted connection; None for a connection without encryption.
    """

    def __init__(
        self,
        instrument: Instrument,
        spool: Spool,
        executor: ThreadPoolExecutor,
        stop: threading.Event,
        close: Callable[[], None],
        timings: ClientTimings,
        report: ReportEvent,
        clock: Callable[[], datetime],
        keys: ClientKeys | None = None,
    ) -> None:
        self._instrument, self._spool, self._executor, self._stop, self._close = instrument, spool, executor, stop, close
        self._timings, self.report, self._clock, self._keys = timings, report, clock, keys
        self._now = instrument.now if isinstance(instrument, Timed) else clock
        self._fault_reports = FaultReports(spool, clock, self._post, report)
        self._worker = MeasurementWorker(instrument, spool, stop, clock, self._now)
        self._commands = OperatorCommands(instrument, close, spool, timings, report, self._on_state_change)
        self._activity: dict[str, object] = {"activity": "waiting"}
        self._plans: deque[RecommendationMessage] = deque(spool.plans.values())
        self._wake = asyncio.Event()
        self._run_id: str | None = None
        self._new_scan: str | None = None  # message id of a scan that was never sent before
        self._recorded_scans: set[str] = set()
        self._counts: Counter[str] = Counter()

    async def run(self, address: str, cycles: int | None) -> Mapping[str, int]:
        """Run until the cycles are finished or `stop` is set; returns counts by the field names of `ClientReport`.

        Raises
        ------
        AdapterError
            See `run_client`.
        """
        try:
            with Connection(address, self._hello, self, self._timings, self._clock, self._keys) as self._connection:
                self._fault_reports.subscribe_to(self._instrument)
                async with asyncio.TaskGroup() as group:
                    loops = (self._connection.send_loop, self._connection.receive_loop, self._connection.monitor_loop)
                    tasks = [group.create_task(loop()) for loop in (*loops, self._watch_stop)]
                    try:
                        await self._run_cycles(cycles)
                    finally:
                        self._commands.cancel_watch()
                    for task in tasks:
                        task.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return {"scans_sent": len(self._recorded_scans), **self._counts}

    def _hello(self, hello_id: str) -> Hello:
        return Hello(
            id=hello_id,
            sent_at=self._now(),
            instrument_id=self._instrument.instrument_id,
            model=self._instrument.model,
            software=software(),
            limits=self._instrument.limits,
            bias_V=self._worker.bias_V,
        )

    @property
    def seq(self) -> int:
        """Last sequence number without a gap before it."""
        return self._spool.command_state.seq

    async def on_welcome(self, message: Welcome) -> None:
        """Join a run; resend the latest scan if the agent has not recorded it."""
        self._run_id = message.run_id
        await self._commands.adopt(message.snapshot, message.run_id, joining=True)
        self._fault_reports.report_hold()
        self.report(
            "welcome",
            f"joined run {message.run_id} of the agent, which has recorded {message.scans_recorded} scans",
            run_id=message.run_id,
            scans_recorded=message.scans_recorded,
        )
        scan, newest = self._spool.open_scan, message.snapshot.newest_scan_id
        is_recorded = self._spool.open_scan_run == message.run_id and newest in (None, self._spool.latest_scan_id)
        if scan is not None and self._spool.open_scan_run is not None and not is_recorded:
            self._new_scan = None
            self._post(scan)
        self._send_status()
        self._wake.set()

    async def on_snapshot(self, snapshot: Snapshot) -> None:
        """Adopt the agent's snapshot; the messages that are still open follow it."""
        await self._commands.adopt(snapshot, self._run_id or "")

    async def on_command(self, message: CommandMessage) -> bool | None:
        """Record an operator's command, then carry it out."""
        return await self._commands.accept(message)

    def on_answer(self, message_id: str, answer: Ack | Refused, attempts: int) -> None:
        """Record an answer, after which the message is no longer repeated."""
        scan = self._spool.open_scan
        is_scan = scan is not None and scan.message.id == message_id
        name_taken = is_scan and isinstance(answer, Ack) and self._is_other_scan(message_id, answer, attempts)
        refused = isinstance(answer, Refused)
        self._spool.record_answer(message_id, run_id=self._run_id or "", refused=refused or name_taken)
        if not refused and self._fault_reports.note_recorded(message_id):
            self._connection.request_snapshot()  # the agent may have lifted the hold already
        if is_scan and not refused and not name_taken:
            self._recorded_scans.add(message_id)
        self._counts["scans_refused"] += is_scan and (refused or name_taken)
        if isinstance(answer, Refused):
            sentence = f"the agent refused {message_id}: {answer.reason}"
            self.report("refused", sentence, logging.ERROR, of=message_id, code=answer.code)
        elif name_taken:
            sentence = f"the agent already holds another scan named {message_id}; give each scan a name of its own"
            self.report("scan_known", sentence, logging.ERROR, of=message_id)
        else:
            self.report("acknowledged", f"the agent has recorded {message_id}", logging.DEBUG, of=message_id)
        self._wake.set()

    def _is_other_scan(self, message_id: str, answer: Ack, attempts: int) -> bool:
        """True if the agent has recorded a different scan under this id, and so will not recommend points for this one."""
        scan = self._spool.open_scan
        if not answer.duplicate:
            return False
        if answer.first_sent_at is not None and scan is not None:
            return answer.first_sent_at != scan.message.sent_at
        return attempts == 1 and message_id == self._new_scan

    def on_recommendation(self, message: RecommendationMessage) -> bool | None:
        """True if the recommendation was known, False if it has now been recorded and queued.

        None if it was not accepted because a message before it, possibly a stop, is missing.
        """
        if message.id in self._spool.accepted:
            return True
        if self._spool.command_state.has_gap_before(message.seq):
            return None
        self._plans.append(self._spool.accept(message))
        self._worker.note_receipt(message)
        scan = message_id("scan", message.scan_id)
        self._connection.withdraw(scan)
        if message.scan_id in self._spool.samples:
            self._recorded_scans.add(scan)
        count = len(message.requests)
        self.report(
            "recommendation",
            f"{count} points recommended for scan {message.scan_id}: {message.reason}",
            scan_id=message.scan_id,
            requests=count,
            reason=message.reason,
        )
        self._wake.set()
        return False

    async def _run_cycles(self, cycles: int | None) -> None:
        try:
            await self._wait_or_stop(lambda: self._run_id is not None)
            await self._finish_earlier_work()
            while cycles is None or self._counts["cycles"] < cycles:
                scan = await self._next_scan()
                if scan is not None:
                    self._post(scan)
                    await self._complete_cycle()
        except StoppedError:
            if self._run_id is not None:
                await self._wait(lambda: not self._spool.unanswered, self._timings.stop_s)
        fault = self._commands.fault
        await self._connection.bye(str(fault) if fault else "stopped" if self._stop.is_set() else f"all {cycles} cycles are done")
        if fault is not None and not self._stop.is_set():
            raise fault

    async def _finish_earlier_work(self) -> None:
        """Finish the work of an earlier process: repeat unanswered messages, report begun points, measure the rest."""
        for outgoing in self._spool.unanswered.values():
            self._post(outgoing)
        before = self._spool.last_written
        down_s = 0.0 if before is None else (self._clock() - before).total_seconds()
        if 0.0 <= down_s <= self._timings.resume_s:
            if self._plans or self._spool.open_scan is not None:
                self.report("resumed", "continuing the unfinished work of the previous client")
                await self._complete_cycle()
            return
        down = f"the client was down for {down_s:.0f} s" if down_s > 0 else "the clock was set back while the client was down"
        reason = f"{down}, so it begins with a new scan"
        while self._plans:
            await self._measure_points(self._plans.popleft(), reason)

    async def _next_scan(self) -> Outgoing | None:
        """The next scan; None if an emergency stop aborted it."""
        faults = 0
        while True:
            await self._wait_while_held()
            self.report("scan_started", "recording a scan")
            try:
                outgoing = await self._in_worker(partial(self._worker.scan, self._line_callback()), activity="scanning")
            except HeldError as held:
                self._fault_reports.report("scan_abandoned", f"the scan was aborted: {held}", logging.WARNING)
                return None
            except SpoolError:
                raise
            except AdapterError as error:
                if self._must_end:
                    raise StoppedError from error
                faults += 1
                self._counts["scans_failed"] += 1
                self._fault_reports.report("scan_failed", f"no scan was recorded: {error}", logging.ERROR)
                if faults == _SCAN_FAULTS_MAX:
                    await self._wait(lambda: not self._spool.unanswered, self._timings.stop_s)
                    raise
                await self._wait_or_stop(lambda: False, self._timings.repeat_s)
                continue
            if outgoing is not None:
                self._new_scan = outgoing.message.id
                self.report("scan_recorded", f"recorded {outgoing.message.id}; sending it to the agent", of=outgoing.message.id)
                return outgoing
            sentence = "the instrument returned a scan that was sent before; it is left out"
            self._fault_reports.report("scan_repeated", sentence, logging.WARNING)

    def _line_callback(self) -> Callable[[Lines], None]:
        """Callback for the lines of one scan; called in the instrument's thread, where it must not raise after the session."""
        loop = asyncio.get_running_loop()

        def send(lines: Lines) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the session has ended
                loop.call_soon_threadsafe(self._connection.send_lines, lines)

        return LineBuffer(send, self._timings.lines_s, time.monotonic).add

    async def _complete_cycle(self) -> None:
        """Finish a cycle: measure the recommended points of the scan and wait until scan and results are answered.

        A refused scan has no points. After an emergency stop only answers are awaited, and the cycle does not count.
        """

        def is_done() -> bool:
            return self._spool.open_scan is None and not self._spool.awaits_answers

        while self._plans or not is_done():
            await self._wait_or_stop(lambda: bool(self._plans) or is_done())
            while self._plans:
                await self._measure_points(self._plans.popleft())
        self._counts["cycles"] += not self._spool.command_state.barred

    async def _measure_points(self, plan: RecommendationMessage, refusal: str = "") -> None:
        await self._wait_while_paused(refusal)
        if not refusal and not self._spool.command_state.barred:
            await self._in_worker(partial(self._worker.plan, plan))
        for number, request in enumerate(plan.requests):
            outgoing = await self._measure_point(request, plan, refusal, len(plan.requests) - number)
            self._post(outgoing)
            result = outgoing.message
            assert isinstance(result, ResultMessage)
            self._counts[f"results_{result.status}"] += 1
            self.report(
                "result",
                f"{result.request_id} is {result.status}{': ' if result.reason else ''}{result.reason}",
                request_id=result.request_id,
                status=result.status,
                reason=result.reason,
            )

    async def _measure_point(self, request: MeasurementRequest, plan: RecommendationMessage, refusal: str, left: int) -> Outgoing:
        """Result of a request, after waiting for the end of a pause; after an emergency stop the request is refused."""
        while True:
            await self._wait_while_paused(refusal)
            self.report("measuring", f"measuring {request.request_id}", logging.DEBUG, request_id=request.request_id)
            job = partial(self._worker.measure_point, request, plan, refusal or self._spool.command_state.barred)
            facts = {"scan_id": plan.scan_id, "request_id": request.request_id, "points_left": left}
            with contextlib.suppress(HeldError):
                return await self._in_worker(job, activity="measuring", **facts)

    async def _wait_while_paused(self, refusal: str) -> None:
        await self._wait_or_stop(lambda: self._spool.command_state.state != "paused" or bool(refusal), or_fault=False)

    async def _wait_while_held(self) -> None:
        """Wait while the instrument is paused or stopped; points recommended during an emergency stop are skipped."""

        def stopped_with_plans() -> bool:
            return self._spool.command_state.state == "stopped" and bool(self._plans)

        while self._spool.command_state.state != "running":
            await self._wait_or_stop(lambda: self._spool.command_state.state == "running" or stopped_with_plans())
            while stopped_with_plans():
                await self._measure_points(self._plans.popleft())

    def _post(self, outgoing: Outgoing) -> None:
        self._connection.post(outgoing.message.id, outgoing.frames)

    async def _in_worker(self, job: Callable[[], _T], **activity: object) -> _T:
        """Result of `job`, run in the instrument's thread and awaited to its end, even after `stop`."""
        self._send_status(**activity)
        self._commands.instrument_used = True
        self._commands.call = call = asyncio.wrap_future(self._executor.submit(job))
        try:
            return await call
        finally:
            self._commands.call = None
            self._send_status(activity="waiting")

    def _send_status(self, **activity: object) -> None:
        """Send a status message with the new activity; without arguments, with the present one."""
        self._activity = activity or self._activity
        command_state, fields = self._spool.command_state, dict(self._activity)
        if fields["activity"] == "waiting":
            left = sum(len(plan.requests) for plan in self._plans)
            fields |= {"scan_id": self._spool.latest_scan_id, "points_left": left}
            if command_state.state != "running":
                fields |= {"activity": command_state.state, "sentence": command_state.hold_reason}
        self._connection.send_status(**fields)

    def _on_state_change(self) -> None:
        """Announce a new command state or fault, and wake the cycle."""
        for ended in self._fault_reports.end_hold_reports():
            self._connection.withdraw(ended)
        self._send_status()
        self._wake.set()

    @property
    def _must_end(self) -> bool:
        return self._stop.is_set() or self._commands.fault is not None

    async def _wait_or_stop(self, ready: Callable[[], bool], timeout_s: float | None = None, *, or_fault: bool = True) -> None:
        """Wait for a condition; raise `StoppedError` if the client has to end."""

        def must_end() -> bool:
            return self._must_end if or_fault else self._stop.is_set()

        await self._wait(lambda: ready() or must_end(), timeout_s)
        if must_end():
            raise StoppedError

    async def _wait(self, ready: Callable[[], bool], timeout_s: float | None = None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not ready():
                    self._wake.clear()
                    await self._wake.wait()

    async def _watch_stop(self) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(_STOP_POLL_S)
        self.report("stopping", "stopping: the instrument is closed, and its last results are sent")
        self._close()
        self._wake.set()
