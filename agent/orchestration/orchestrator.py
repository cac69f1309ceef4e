"""Decides on scans: the newest of each instrument, one at a time, the instrument that has waited longest first.

A search runs in a thread, which only waits for the training processes. `schedule.when_newer` says what happens to it when a newer
scan of its instrument arrives. While no scan waits, the newest decision may be searched once more with more effort; nothing of
that is sent, but the search on the next scan of the sample starts from it.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.errors import AgentError, HistoryError, SearchCancelledError, fault_sentence
from agent.ledger.entries import ScanEntry
from agent.messaging.decision_log import DecisionLog
from agent.messaging.presence import Presence
from agent.orchestration.idle_search import IdleSearch
from agent.orchestration.previous_decisions import PreviousDecisions
from agent.orchestration.scan_queue import ScanQueue, running
from agent.orchestration.search_thread import EndReason, SearchRun, in_thread
from agent.schema.decision import Decision
from agent.schema.decision_basis import decision_basis
from agent.search.task_cache import TaskCache
from agent.search.task_runner import deadline
from agent.search.warm_start import WarmStart, deep_start
from instrument_adapters.errors import AdapterError
from instrument_adapters.protocol.messages import State
from instrument_adapters.scan import Scan

_LOG = structlog.get_logger("vaestar.agent")
Start = Callable[[Callable[[], Decision]], "asyncio.Future[Decision]"]


class DecisionListener(Protocol):
    """Is informed of decisions, in the event loop's thread."""

    async def publish(self, kind: str, **facts: Any) -> None:
        """Publish progress. Best effort: nothing depends on it."""

    async def recommend(self, instrument_id: str) -> None:
        """Send an instrument its newest recommendation."""


class Orchestrator:
    """Decides on scans for as long as the service runs.

    Parameters
    ----------
    agent
        Makes the decisions.
    decision_log
        Records them.
    presence
        Connected instruments and their limits.
    config
        Configuration of the agent.
    cache
        Keeps finished training tasks, so that a restarted agent need not train them again.
    listener
        Informed of decisions and progress.
    state_of
        State of an instrument: running, paused (its scans are decided on) or stopped (its search is cancelled, its scan waits).
    start
        Starts a search in another thread.
    clock
        Monotonic clock in seconds.
    """

    def __init__(
        self,
        agent: Agent,
        decision_log: DecisionLog,
        presence: Presence,
        config: Config,
        cache: TaskCache,
        listener: DecisionListener,
        *,
        state_of: Callable[[str], State] = running,
        start: Start = in_thread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent, self._log, self._presence = agent, decision_log, presence
        self._config, self._cache, self._listener = config, cache, listener
        self._ledger = decision_log.ledger
        self._deeper = agent.deeper() if config.schedule.deep else agent
        self._state_of, self._start, self._clock = state_of, start, clock
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._search: SearchRun | None = None
        self._deepening: ScanEntry | None = None
        self._queue = ScanQueue(self._ledger, presence.connected, state_of)
        self._idle = IdleSearch(config.schedule, self._ledger, clock)
        self._previous = PreviousDecisions(decision_log.history, self._ledger)

    def wake(self) -> None:
        """Re-evaluate the queue, and cancel a search that has become pointless. Idempotent."""
        self._queue.refresh()
        reason = self._reason_to_cancel()
        if reason is not None and self._search is not None:
            self._cancel(self._search, reason)
        self._wake.set()

    def interrupt(self) -> None:
        """Cancel a deeper search at once, because an operator has given a command."""
        if self._deepening is not None and self._search is not None:
            self._cancel(self._search, "interrupted")
        self.wake()

    def end(self) -> None:
        """Make no more decisions; a running search is cancelled, and the next agent on this run starts it again."""
        self._stop.set()
        self._wake.set()
        if self._search is not None:
            self._search.end("agent stops")
        self._agent.workers.shut_down()

    def clear_cache(self) -> None:
        """Remove finished training tasks that no search will ask for."""
        if self._queue.none_open():
            self._cache.clear()

    def finishes(self, entry: ScanEntry) -> bool:
        """Whether the search on a scan continues although a newer scan of its instrument has arrived."""
        return self._config.schedule.when_newer == "finish" and entry is self._queue.current

    async def run(self) -> None:
        """Decide on the newest scan of each instrument, the longest-waiting instrument first, until `end`."""
        self._close_superseded()
        while not self._stop.is_set():
            self._wake.clear()
            if (entry := self._queue.pop()) is not None:
                with structlog.contextvars.bound_contextvars(scan=entry.scan_id, instrument=entry.instrument_id):
                    await self._decide_on(entry)
                self._queue.current = None
            elif (entry := self._idle.due(self._not_stopped())) is not None:
                await self._deepen(entry)
            else:
                await self._wake.wait()

    def _not_stopped(self) -> list[str]:
        return [name for name in self._presence.connected() if self._state_of(name) != "stopped"]

    def _reason_to_cancel(self) -> EndReason | None:
        """Reason to cancel the running search; None if there is none."""
        entry = self._queue.current or self._deepening
        if entry is None:
            return None
        if self._state_of(entry.instrument_id) == "stopped":
            return "emergency stop"
        if entry is self._deepening:
            return "superseded" if self._queue.waiting() else None
        newest = self._ledger.latest(entry.instrument_id)
        return "superseded" if entry.settled or (newest is not entry and not self.finishes(entry)) else None

    def _cancel(self, search: SearchRun, reason: EndReason) -> None:
        search.end(reason)
        self._agent.workers.cancel()

    def _close_superseded(self) -> None:
        """Close superseded scans whose search a killed agent would still have finished."""
        for entry in list(self._ledger.scans.values()):
            self._close_if_superseded(entry)

    def _close_if_superseded(self, entry: ScanEntry) -> None:
        newest = self._ledger.latest(entry.instrument_id)
        if newest is not None and newest is not entry:
            self._log.cancelled(entry, f"a newer scan came in: {newest.scan_id}")

    async def _decide_on(self, entry: ScanEntry) -> None:
        search = self._search = SearchRun(self._config.search.longest_s, self._clock)  # can be cancelled from now on
        try:
            scan = await self._log.read_scan(entry)
        except HistoryError as error:
            self._search = None
            self._log.cancelled(entry, f"it cannot be read back: {error}")
            return
        _LOG.info("deciding", scan=entry.scan_id)
        decision: Decision | None
        try:
            decision = await self._decision(entry, scan, search)
            self._search = None
            if decision is None or entry.settled:
                self._close_cancelled(entry, search)
                return
            self._log.decided(entry, decision, search.seconds, search.basis)
        except HistoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one decision must not end the run: it is that scan's outcome
            _LOG.exception("a decision could not be recorded", scan=entry.scan_id)
            self._search = None
            decision = self._record_fault(entry, scan, error, search)
        if decision is None:
            return
        if decision.record.outcome != "bad_scan":
            self._previous.keep(entry, decision)
        self._cache.clear()
        record = decision.record
        _LOG.info(
            "decided", scan=entry.scan_id, decision=record.decision_id, seconds=round(search.seconds, 1), why=record.explanation
        )
        await self._listener.publish(
            "decision", scan_id=entry.scan_id, decision_id=record.decision_id, explanation=record.explanation
        )
        await self._listener.recommend(entry.instrument_id)

    def _record_fault(self, entry: ScanEntry, scan: Scan, fault: Exception, search: SearchRun) -> Decision | None:
        """Record that a scan gets no points because of a fault; None if it already has a decision, or can have none."""
        if entry.decision is not None:
            return None
        try:
            decision = self._agent.unresolved(scan, fault_sentence(fault))
            self._log.decided(entry, decision, search.seconds)
        except HistoryError:
            raise
        except Exception:  # noqa: BLE001 - the last resort is to close the scan
            _LOG.exception("a scan could not be decided on", scan=entry.scan_id)
            self._log.cancelled(entry, fault_sentence(fault)[:2000])
            return None
        return decision

    async def _decision(self, entry: ScanEntry, scan: Scan, search: SearchRun) -> Decision | None:
        """The decision on a scan; None if its search was cancelled."""
        deadline_s = self._config.search.deadline_s
        control = SearchControl(
            cancelled=search.ended,
            out_of_time=None if deadline_s is None else deadline(deadline_s, self._clock),
            progress=self._progress(entry),
            on_rung=self._provisional(entry) if self._config.service.telemetry else None,
        )
        try:
            call = functools.partial(self._agent.decide, await self._inputs(entry, scan, search), control, cache=self._cache)
            decision = await search.result(self._start(call))
        except SearchCancelledError as error:
            if search.end_reason in ("superseded", "agent stops", "emergency stop"):
                return None
            return self._agent.unresolved(scan, self._too_long() if search.end_reason == "too long" else str(error))
        except (AdapterError, AgentError) as error:
            return self._agent.unresolved(scan, str(error))
        except Exception as error:  # noqa: BLE001 - the service's outer edge: a fault in one decision must not end the run
            _LOG.exception("a decision failed", scan=entry.scan_id)
            return self._agent.unresolved(scan, fault_sentence(error))
        return None if search.end_reason == "emergency stop" else decision

    async def _deepen(self, entry: ScanEntry) -> None:
        """Search a decided scan again with more effort; the deepened decision is never sent."""
        decision = self._previous.decision_on(entry, deepest=False)
        try:
            scan = await self._log.read_scan(entry)
        except HistoryError:
            decision = None
        if decision is None:
            self._idle.give_up(entry)
            return
        _LOG.info("no scan waits; searching more deeply", scan=entry.scan_id)
        search = self._search = SearchRun(self._config.search.longest_s, self._clock)
        self._deepening = entry
        try:
            inputs = await self._inputs(entry, scan, search, deep_start(decision, self._config))
            call = functools.partial(self._deeper.decide, inputs, SearchControl(cancelled=search.ended))
            await self._deepened(entry, await search.result(self._start(call)), search)
        except SearchCancelledError:
            _LOG.info("the deeper search was cancelled", scan=entry.scan_id, why=search.end_reason)
            (self._idle.give_up if search.end_reason in (None, "too long") else self._idle.retry)(entry)
        except Exception as error:  # noqa: BLE001 - nothing depends on it
            _LOG.warning("the deeper search failed", scan=entry.scan_id, why=str(error))
            self._idle.give_up(entry)
        finally:
            self._search = self._deepening = None

    async def _deepened(self, entry: ScanEntry, found: Decision, search: SearchRun) -> None:
        seconds = search.seconds
        self._log.deepened(entry, found, seconds, search.basis)
        self._previous.keep(entry, found)
        record = found.record
        _LOG.info("searched more deeply", scan=entry.scan_id, decision=record.decision_id, seconds=round(seconds, 1))
        await self._listener.publish(
            "deepened", scan_id=entry.scan_id, decision_id=record.decision_id, explanation=record.explanation
        )

    async def _inputs(self, entry: ScanEntry, scan: Scan, search: SearchRun, start: WarmStart | None = None) -> DecisionInputs:
        """The inputs of the decision as of now; its basis, which is recorded with it, is stored in `search`."""
        before = self._previous.before(entry)
        earlier = None if before is None else await self._earlier(before)
        limits = self._presence.limits(entry.instrument_id)
        previous = None if before is None else self._previous.decision_on(before)
        search.basis = decision_basis(self._log.history.head.seq, limits, previous, earlier)
        return DecisionInputs(
            scan=scan,
            limits=limits,
            measured_xy=self._ledger.measured_xy(entry.sample_id),
            measured_s=self._ledger.measured_s(entry.sample_id),
            results=self._ledger.results(entry.sample_id),
            previous=previous,
            earlier=earlier,
            start=start,
        )

    def _close_cancelled(self, entry: ScanEntry, search: SearchRun) -> None:
        """Close a scan whose search was cancelled if it is superseded; else it waits for the operator or the next agent."""
        _LOG.info("search cancelled", scan=entry.scan_id, why=search.end_reason)
        self._close_if_superseded(entry)
        if entry.settled:
            self._cache.clear()

    def _too_long(self) -> str:
        return (
            f"its search did not end within {self._config.search.longest_s:g} s (search.longest_s) and was cancelled; check "
            "whether a reward or key-point method of your own hangs, or allow more time"
        )

    async def _earlier(self, before: ScanEntry) -> Scan | None:
        """The scan of the last decision; None if it cannot be read back."""
        try:
            return await self._log.read_scan(before)
        except HistoryError as error:  # drift is then unknown
            _LOG.warning("the last scan cannot be read back", scan=before.scan_id, why=str(error))
            return None

    def _progress(self, entry: ScanEntry) -> Callable[[str, int, int], None]:
        loop = asyncio.get_running_loop()

        def progress(stage: str, done: int, total: int) -> None:
            facts = {"scan_id": entry.scan_id, "stage": stage, "done": done, "total": total}
            asyncio.run_coroutine_threadsafe(self._listener.publish("progress", **facts), loop)

        return progress

    def _provisional(self, entry: ScanEntry) -> Callable[[Decision], None]:
        loop = asyncio.get_running_loop()

        def provisional(decision: Decision) -> None:
            facts = {"scan_id": entry.scan_id, "rungs": decision.record.rungs, "explanation": decision.record.explanation}
            asyncio.run_coroutine_threadsafe(
                self._listener.publish("provisional", places=len(decision.record.requests), **facts), loop
            )

        return provisional
