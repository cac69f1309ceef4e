"""One run of a client: what the link tells, and the cycle of scan, recommendation, measurements and results."""

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
from instrument_adapters.client.listener import Tell
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
_SCAN_FAULTS_MAX = 3  # in a row; then a person has to look at the instrument
_T = TypeVar("_T")


class Session:
    """One run of a client; the `Listener` of its link.

    Parameters
    ----------
    instrument
        What scans and measures.
    spool
        What was said and done, in this run and before.
    worker
        The one thread that calls the instrument.
    stop
        Ends the run in order.
    close
        Closes the instrument; called as soon as `stop` is set, so that a call under way may end.
    timings, tell, clock
        How long to wait for what, whom to tell what happens, and the wall time; an instrument's own clock goes first.
    keys
        For an encrypted connection.
    """

    def __init__(
        self,
        instrument: Instrument,
        spool: Spool,
        worker: ThreadPoolExecutor,
        stop: threading.Event,
        close: Callable[[], None],
        timings: ClientTimings,
        tell: Tell,
        clock: Callable[[], datetime],
        keys: ClientKeys | None = None,
    ) -> None:
        self._instrument, self._spool, self._worker, self._stop, self._close = instrument, spool, worker, stop, close
        self._timings, self.tell, self._clock, self._keys = timings, tell, clock, keys
        self._now = instrument.now if isinstance(instrument, Timed) else clock
        self._troubles = FaultReports(spool, clock, self._post, tell)
        self._bench = MeasurementWorker(instrument, spool, stop, clock, self._now)
        self._orders = OperatorCommands(instrument, close, spool, timings, tell, self._changed)
        self._doing: dict[str, object] = {"activity": "waiting"}
        self._plans: deque[RecommendationMessage] = deque(spool.plans.values())
        self._news = asyncio.Event()
        self._run_id: str | None = None
        self._new_scan: str | None = None  # message id of a scan that no agent can know yet
        self._arrived: set[str] = set()
        self._counts: Counter[str] = Counter()

    async def run(self, address: str, cycles: int | None) -> Mapping[str, int]:
        """Counts of what was done, by the names of `ClientReport`.

        Raises
        ------
        AdapterError
            See `run_client`.
        """
        try:
            with Connection(address, self._hello, self, self._timings, self._clock, self._keys) as self._link:
                self._troubles.listen(self._instrument)
                async with asyncio.TaskGroup() as group:
                    jobs = (self._link.send(), self._link.receive(), self._link.watch(), self._heed_stop())
                    tasks = [group.create_task(job) for job in jobs]
                    try:
                        await self._work(cycles)
                    finally:
                        self._orders.end()
                    for task in tasks:
                        task.cancel()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return {"scans_sent": len(self._arrived), **self._counts}

    def _hello(self, hello_id: str) -> Hello:
        return Hello(
            id=hello_id,
            sent_at=self._now(),
            instrument_id=self._instrument.instrument_id,
            model=self._instrument.model,
            software=software(),
            limits=self._instrument.limits,
            bias_V=self._bench.bias_V,
        )

    @property
    def seq(self) -> int:
        """Number of the last recommendation or command that came in order."""
        return self._spool.standing.seq

    async def welcomed(self, message: Welcome) -> None:
        """Join a run; one that does not hold the latest scan is sent it again."""
        self._run_id = message.run_id
        await self._orders.adopt(message.snapshot, message.run_id)
        self.tell(
            "welcome",
            f"joined run {message.run_id} of the agent, which holds {message.scans_recorded} scans",
            run_id=message.run_id,
            scans_recorded=message.scans_recorded,
        )
        scan, newest = self._spool.open_scan, message.snapshot.newest_scan_id
        arrived_there = self._spool.open_scan_run == message.run_id and newest in (None, self._spool.latest_scan)
        if scan is not None and self._spool.open_scan_run is not None and not arrived_there:
            self._new_scan = None
            self._post(scan)
        self._show()
        self._news.set()

    async def situated(self, snapshot: Snapshot) -> None:
        """Stand where the agent says; what is still open follows."""
        await self._orders.adopt(snapshot, self._run_id or "")

    async def commanded(self, message: CommandMessage) -> bool | None:
        """Obey a person; the command is on disk before."""
        return await self._orders.take(message)

    def answered(self, message_id: str, answer: Ack | Refused, attempts: int) -> None:
        """Record an answer: the message need not be sent any more."""
        scan = self._spool.open_scan
        is_scan = scan is not None and scan.message.id == message_id
        known = is_scan and isinstance(answer, Ack) and answer.duplicate and self._is_another(message_id, answer, attempts)
        refused = isinstance(answer, Refused)
        self._spool.answered(message_id, run_id=self._run_id or "", refused=refused or known)
        if is_scan and not refused and not known:
            self._arrived.add(message_id)
        self._counts["scans_refused"] += is_scan and (refused or known)
        if isinstance(answer, Refused):
            self.tell(
                "refused", f"the agent refused {message_id}: {answer.reason}", logging.ERROR, of=message_id, code=answer.code
            )
        elif known:
            self.tell(
                "scan_known",
                f"the agent already holds another scan named {message_id}; give scans names that are never used again",
                logging.ERROR,
                of=message_id,
            )
        else:
            self.tell("acknowledged", f"the agent has recorded {message_id}", logging.DEBUG, of=message_id)
        self._news.set()

    def _is_another(self, message_id: str, answer: Ack, attempts: int) -> bool:
        """Whether the agent knew a scan before it was sent: it holds another of that name, and will not recommend on this one."""
        scan = self._spool.open_scan
        if answer.first_sent_at is not None and scan is not None:
            return answer.first_sent_at != scan.message.sent_at
        return attempts == 1 and message_id == self._new_scan

    def recommended(self, message: RecommendationMessage) -> bool | None:
        """True if the recommendation was known; a new one is recorded, and carried out when its turn comes.

        None if something is missing before it, which might be a stop: it is not taken.
        """
        if message.id in self._spool.accepted:
            return True
        if self._spool.standing.misses_before(message.seq):
            return None
        self._plans.append(self._spool.accept(message))
        scan = message_id("scan", message.scan_id)
        self._link.withdraw(scan)
        if message.scan_id in self._spool.samples:
            self._arrived.add(scan)
        count = len(message.requests)
        self.tell(
            "recommendation",
            f"{count} points recommended after scan {message.scan_id}: {message.reason}",
            scan_id=message.scan_id,
            requests=count,
            reason=message.reason,
        )
        self._news.set()
        return False

    async def _work(self, cycles: int | None) -> None:
        try:
            await self._until(lambda: self._run_id is not None)
            await self._resume()
            while cycles is None or self._counts["cycles"] < cycles:
                scan = await self._next_scan()
                if scan is not None:
                    self._post(scan)
                    await self._settle()
        except StoppedError:
            if self._run_id is not None:
                await self._wait(lambda: not self._spool.waiting, self._timings.stop_s)
        fault = self._orders.fault
        await self._link.bye(str(fault) if fault else "stopped" if self._stop.is_set() else f"all {cycles} cycles are done")
        if fault is not None and not self._stop.is_set():
            raise fault

    async def _resume(self) -> None:
        """Finish what an earlier process left: say again what was not answered, report what was begun, measure the rest."""
        for outgoing in self._spool.waiting.values():
            self._post(outgoing)
        before = self._spool.last_written
        down_s = 0.0 if before is None else (self._clock() - before).total_seconds()
        if down_s <= self._timings.resume_s:
            if self._plans or self._spool.open_scan is not None:
                self.tell("resumed", "going on with what this client had not finished when it last ended")
                await self._settle()
            return
        while self._plans:
            await self._carry_out(self._plans.popleft(), f"the client was down for {down_s:.0f} s; it begins with a new scan")

    async def _next_scan(self) -> Outgoing | None:
        """The next scan; None if an emergency stop has ended it."""
        faults = 0
        while True:
            await self._held()
            self.tell("scan_started", "the instrument records a scan")
            try:
                outgoing = await self._in_worker(partial(self._bench.scan, self._shown()), activity="scanning")
            except HeldError as held:
                self._troubles.tell("scan_abandoned", f"the scan was given up: {held}", logging.WARNING)
                return None
            except SpoolError:
                raise
            except AdapterError as error:
                if self._over:
                    raise StoppedError from error
                faults += 1
                self._counts["scans_failed"] += 1
                self._troubles.tell("scan_failed", f"no scan was recorded: {error}", logging.ERROR)
                if faults == _SCAN_FAULTS_MAX:
                    await self._wait(lambda: not self._spool.waiting, self._timings.stop_s)
                    raise
                await self._until(lambda: False, self._timings.repeat_s)
                continue
            if outgoing is not None:
                self._new_scan = outgoing.message.id
                self.tell("scan_recorded", f"{outgoing.message.id} was recorded and goes to the agent", of=outgoing.message.id)
                return outgoing
            self._troubles.tell(
                "scan_repeated", "the instrument returned a scan that was sent before; it is left out", logging.WARNING
            )

    def _shown(self) -> Callable[[Lines], None]:
        """What the instrument's thread calls with the lines of one scan; it must not fail, whatever becomes of the session."""
        loop = asyncio.get_running_loop()

        def show(lines: Lines) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody watches any more
                loop.call_soon_threadsafe(self._link.show, lines)

        return LineBuffer(show, self._timings.lines_s, time.monotonic).add

    async def _settle(self) -> None:
        """End a cycle: the scan has been recommended on and measured, or refused, and scan and results have been answered.

        After an emergency stop nothing is waited for but answers; the scan's cycle does not count.
        """

        def at_rest() -> bool:
            return self._spool.open_scan is None and not self._spool.owes_answers

        while self._plans or not at_rest():
            await self._until(lambda: bool(self._plans) or at_rest())
            while self._plans:
                await self._carry_out(self._plans.popleft())
        self._counts["cycles"] += not self._spool.standing.barred

    async def _carry_out(self, plan: RecommendationMessage, refusal: str = "") -> None:
        await self._until(lambda: self._spool.standing.state != "paused" or bool(refusal), or_fault=False)
        if not refusal and not self._spool.standing.barred:
            await self._in_worker(partial(self._bench.plan, plan))
        for number, request in enumerate(plan.requests):
            outgoing = await self._result_of(request, plan, refusal, len(plan.requests) - number)
            self._post(outgoing)
            result = outgoing.message
            assert isinstance(result, ResultMessage)
            self._counts[f"results_{result.status}"] += 1
            self.tell(
                "result",
                f"{result.request_id} is {result.status}{': ' if result.reason else ''}{result.reason}",
                request_id=result.request_id,
                status=result.status,
                reason=result.reason,
            )

    async def _result_of(
        self, request: MeasurementRequest, plan: RecommendationMessage, refusal: str, points_left: int
    ) -> Outgoing:
        """What came of a request, once it may be begun; a pause is waited out, an emergency stop refuses it."""
        while True:
            await self._until(lambda: self._spool.standing.state != "paused" or bool(refusal), or_fault=False)
            self.tell("measuring", f"measuring {request.request_id}", logging.DEBUG, request_id=request.request_id)
            job = partial(self._bench.carry_out, request, plan, refusal or self._spool.standing.barred)
            facts = {"scan_id": plan.scan_id, "request_id": request.request_id, "points_left": points_left}
            with contextlib.suppress(HeldError):
                return await self._in_worker(job, activity="measuring", **facts)

    async def _held(self) -> None:
        """Wait while a person has the instrument paused or stopped; what is recommended after an emergency stop is skipped."""

        def stopped_with_plans() -> bool:
            return self._spool.standing.state == "stopped" and bool(self._plans)

        while self._spool.standing.state != "running":
            await self._until(lambda: self._spool.standing.state == "running" or stopped_with_plans())
            while stopped_with_plans():
                await self._carry_out(self._plans.popleft())

    def _post(self, outgoing: Outgoing) -> None:
        self._link.post(outgoing.message.id, outgoing.frames)

    async def _in_worker(self, job: Callable[[], _T], **doing: object) -> _T:
        """What `job` returns in the instrument's thread; it is waited for to its end, also at a stop."""
        self._show(**doing)
        self._orders.used = True
        self._orders.call = call = asyncio.wrap_future(self._worker.submit(job))
        try:
            return await call
        finally:
            self._orders.call = None
            self._show(activity="waiting")

    def _show(self, **doing: object) -> None:
        """Tell whoever watches what the instrument does now, or, without anything new, does still."""
        self._doing = doing or self._doing
        standing, shown = self._spool.standing, dict(self._doing)
        if shown["activity"] == "waiting":
            left = sum(len(plan.requests) for plan in self._plans)
            shown |= {"scan_id": self._spool.latest_scan, "points_left": left}
            if standing.state != "running":
                shown |= {"activity": standing.state, "sentence": standing.sentence}
        self._link.show_status(**shown)

    def _changed(self) -> None:
        """The instrument may do something else than before."""
        self._show()
        self._news.set()

    @property
    def _over(self) -> bool:
        return self._stop.is_set() or self._orders.fault is not None

    async def _until(self, ready: Callable[[], bool], timeout_s: float | None = None, *, or_fault: bool = True) -> None:
        """Wait for something; raise `StoppedError` if told to stop before."""

        def over() -> bool:
            return self._over if or_fault else self._stop.is_set()

        await self._wait(lambda: ready() or over(), timeout_s)
        if over():
            raise StoppedError

    async def _wait(self, ready: Callable[[], bool], timeout_s: float | None = None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not ready():
                    self._news.clear()
                    await self._news.wait()

    async def _heed_stop(self) -> None:
        while not self._stop.is_set():
            await asyncio.sleep(_STOP_POLL_S)
        self.tell("stopping", "told to stop; the instrument is closed and what it has done is sent")
        self._close()
        self._news.set()
