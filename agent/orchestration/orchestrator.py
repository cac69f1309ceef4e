"""Which scan is decided on, and how: the newest of each instrument, one at a time, who has waited longest first.

A search runs in a thread, which only waits for the training processes. What becomes of it when a newer scan of its instrument
comes in is a matter of policy (`schedule.when_newer`). While nothing waits, the newest decision may be searched once more with
more effort; nothing of that is sent, the search on the sample's next scan goes on from it.
"""

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.errors import AgentError, HistoryError, SearchCancelledError
from agent.ledger.entries import ScanEntry
from agent.messaging.dispatcher import Dispatcher
from agent.orchestration.idle_search import IdleSearch
from agent.orchestration.previous_decisions import PreviousDecisions
from agent.orchestration.scan_queue import ScanQueue, running
from agent.orchestration.search_thread import End, SearchRun, in_thread
from agent.schema.decision import Decision
from agent.schema.decision_basis import asked
from agent.search.task_cache import TaskCache
from agent.search.task_runner import deadline
from agent.search.warm_start import deep_start
from instrument_adapters.errors import AdapterError
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.messages import State
from instrument_adapters.scan import Scan

_LOG = structlog.get_logger("vaestar.agent")
Start = Callable[[Callable[[], Decision]], "asyncio.Future[Decision]"]


class DecisionListener(Protocol):
    """Told of decisions, in the event loop's thread."""

    async def publish(self, kind: str, **facts: Any) -> None:
        """Tell whoever watches; nothing depends on it."""

    async def recommend(self, instrument_id: str) -> None:
        """An instrument has a decision that it does not know yet."""


class Orchestrator:
    """Decides on scans for as long as the service runs.

    Parameters
    ----------
    agent
        Decides.
    dispatch
        Knows which scans wait, and records decisions.
    config
        All choices.
    work
        Keeps finished work over a kill.
    listener
        Told of decisions.
    state_of
        Whether an instrument is running, paused (its scans are decided on) or stopped (its search is given up, its scan waits).
    start
        Starts a search elsewhere.
    clock
        Monotonic, in seconds.
    """

    def __init__(
        self,
        agent: Agent,
        dispatch: Dispatcher,
        config: Config,
        work: TaskCache,
        listener: DecisionListener,
        *,
        state_of: Callable[[str], State] = running,
        start: Start = in_thread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._agent, self._dispatch, self._config, self._work, self._listener = agent, dispatch, config, work, listener
        self._deeper = agent.deeper() if config.schedule.deep else agent
        self._state_of, self._start, self._clock = state_of, start, clock
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._search: SearchRun | None = None
        self._deepening: ScanEntry | None = None
        self._turns = ScanQueue(dispatch.ledger, lambda: list(dispatch.limits), state_of)
        self._idle = IdleSearch(config.schedule, dispatch.ledger, clock)
        self._recall = PreviousDecisions(dispatch.history, dispatch.ledger)
        dispatch.finishes = self._finishes

    def news(self) -> None:
        """Look what waits, and give up a search that has become pointless; asked too often does no harm."""
        self._turns.look()
        why = self._pointless()
        if why is not None and self._search is not None:
            self._give_up(self._search, why)
        self._wake.set()

    def interrupt(self) -> None:
        """A person has said something: what is done while nothing waits makes room at once."""
        if self._deepening is not None and self._search is not None:
            self._give_up(self._search, "interrupted")
        self.news()

    def end(self) -> None:
        """Decide on nothing more; a search under way is given up, and taken up by the next agent of this run."""
        self._stop.set()
        self._wake.set()
        if self._search is not None:
            self._search.end("agent stops")
        self._agent.workers.dismiss()

    def forget_work(self) -> None:
        """Remove finished work that no search will ask for."""
        if self._turns.none_open():
            self._work.clear()

    async def run(self) -> None:
        """Decide on the newest scan of each instrument, who has waited longest first, for as long as the service runs."""
        self._close_overtaken()
        while not self._stop.is_set():
            self._wake.clear()
            if (entry := self._turns.take()) is not None:
                with structlog.contextvars.bound_contextvars(scan=entry.scan_id, instrument=entry.instrument_id):
                    await self._decide_on(entry)
                self._turns.current = None
            elif (entry := self._idle.due(self._not_stopped())) is not None:
                await self._deepen(entry)
            else:
                await self._wake.wait()

    def _finishes(self, entry: ScanEntry) -> bool:
        return self._config.schedule.when_newer == "finish" and entry is self._turns.current

    def _not_stopped(self) -> list[str]:
        return [i for i in self._dispatch.limits if self._state_of(i) != "stopped"]

    def _pointless(self) -> End | None:
        """Why the search under way is to be given up, if it is."""
        entry = self._turns.current or self._deepening
        if entry is None:
            return None
        if self._state_of(entry.instrument_id) == "stopped":
            return "emergency stop"
        if entry is self._deepening:
            return "overtaken" if self._turns.waiting() else None
        newest = self._dispatch.ledger.latest(entry.instrument_id)
        return "overtaken" if entry.settled or (newest is not entry and not self._finishes(entry)) else None

    def _give_up(self, search: SearchRun, why: End) -> None:
        search.end(why)
        self._agent.workers.cancel()

    def _close_overtaken(self) -> None:
        """Close scans whose search a killed agent was to finish although newer ones had come in: nobody waits for them."""
        ledger = self._dispatch.ledger
        for entry in list(ledger.scans.values()):
            newest = ledger.latest(entry.instrument_id)
            if newest is not None and newest is not entry:
                self._dispatch.cancelled(entry, f"a newer scan came in: {newest.scan_id}")

    async def _decide_on(self, entry: ScanEntry) -> None:
        try:
            scan = self._dispatch.scan_of(entry)
        except HistoryError as error:
            self._dispatch.cancelled(entry, f"it cannot be read back: {error}")
            return
        _LOG.info("deciding", scan=entry.scan_id)
        search = self._search = SearchRun(self._config.search.longest_s, self._clock)
        decision = await self._decision(entry, scan, search)
        self._search = None
        if decision is None or entry.settled:
            self._given_up(entry, search)
            return
        self._dispatch.decided(entry, decision, search.seconds, search.question)
        if decision.record.outcome != "bad_scan":
            self._recall.keep(entry, decision)
        self._work.clear()
        record = decision.record
        _LOG.info(
            "decided", scan=entry.scan_id, decision=record.decision_id, seconds=round(search.seconds, 1), why=record.explanation
        )
        await self._listener.publish(
            "decision", scan_id=entry.scan_id, decision_id=record.decision_id, explanation=record.explanation
        )
        await self._listener.recommend(entry.instrument_id)

    async def _decision(self, entry: ScanEntry, scan: Scan, search: SearchRun) -> Decision | None:
        """The decision on a scan; None where its search was given up."""
        seconds_allowed = self._config.search.deadline_s
        call = self._call(
            self._agent,
            entry,
            scan,
            search,
            store=self._work,
            progress=self._progress(entry),
            out_of_time=None if seconds_allowed is None else deadline(seconds_allowed, self._clock),
            on_rung=self._provisional(entry) if self._config.service.telemetry else None,
        )
        try:
            decision = await search.result(self._start(call))
        except SearchCancelledError as error:
            if search.why in ("overtaken", "agent stops", "emergency stop"):
                return None
            return self._agent.unresolved(scan, self._too_long() if search.why == "too long" else str(error))
        except (AdapterError, AgentError) as error:
            return self._agent.unresolved(scan, str(error))
        except Exception as error:  # noqa: BLE001 - the service's outer edge: a fault in one decision must not end the run
            _LOG.exception("a decision failed", scan=entry.scan_id)
            return self._agent.unresolved(scan, f"a fault in the agent ({type(error).__name__}: {error}); please report it")
        return None if search.why == "emergency stop" else decision

    async def _deepen(self, entry: ScanEntry) -> None:
        """Search a scan that has been decided on once more, with more effort; nothing of it is sent."""
        decision = self._recall.decision_on(entry, deepest=False)
        try:
            scan = self._dispatch.scan_of(entry)
        except HistoryError:
            decision = None
        if decision is None:
            self._idle.give_up(entry)
            return
        _LOG.info("nothing waits; searching more deeply", scan=entry.scan_id)
        search = self._search = SearchRun(self._config.search.longest_s, self._clock)
        self._deepening = entry
        try:
            call = self._call(self._deeper, entry, scan, search, start=deep_start(decision, self._config))
            found = await search.result(self._start(call))
        except SearchCancelledError:
            _LOG.info("the deeper search was given up", scan=entry.scan_id, why=search.why)
            (self._idle.give_up if search.why in (None, "too long") else self._idle.again)(entry)
        except Exception as error:  # noqa: BLE001 - nothing depends on it
            _LOG.warning("the deeper search failed", scan=entry.scan_id, why=str(error))
            self._idle.give_up(entry)
        else:
            await self._deepened(entry, found, search)
        finally:
            self._search = self._deepening = None

    async def _deepened(self, entry: ScanEntry, found: Decision, search: SearchRun) -> None:
        seconds = search.seconds
        self._dispatch.deepened(entry, found, seconds, search.question)
        self._recall.keep(entry, found)
        record = found.record
        _LOG.info("searched more deeply", scan=entry.scan_id, decision=record.decision_id, seconds=round(seconds, 1))
        await self._listener.publish(
            "deepened", scan_id=entry.scan_id, decision_id=record.decision_id, explanation=record.explanation
        )

    def _call(self, agent: Agent, entry: ScanEntry, scan: Scan, search: SearchRun, **more: Any) -> Callable[[], Decision]:
        """The question, with all that bears on it as of now."""
        ledger, before = self._dispatch.ledger, self._recall.before(entry)
        limits = self._dispatch.limits.get(entry.instrument_id, wire.Limits())
        previous = None if before is None else self._recall.decision_on(before)
        earlier = None if before is None else self._earlier(before)
        search.question = asked(self._dispatch.history.head.seq, limits, previous, earlier)
        return functools.partial(
            agent.on_scan,
            scan,
            limits,
            ledger.measured_xy(entry.sample_id),
            measured_s=ledger.measured_s(entry.sample_id),
            results=ledger.results(entry.sample_id),
            previous=previous,
            earlier=earlier,
            cancelled=search.ended,
            **more,
        )

    def _given_up(self, entry: ScanEntry, search: SearchRun) -> None:
        """A scan gets no decision now: a newer one is in, or it waits for a person or for the next agent of this run."""
        _LOG.info("search cancelled", scan=entry.scan_id, why=search.why)
        newest = self._dispatch.ledger.latest(entry.instrument_id)
        if newest is not None and newest is not entry:
            self._dispatch.cancelled(entry, f"a newer scan came in: {newest.scan_id}")
        if entry.settled:
            self._work.clear()

    def _too_long(self) -> str:
        return (
            f"its search did not end within {self._config.search.longest_s:g} s (search.longest_s) and was given up; look "
            "whether a reward or key-point method of your own hangs, or allow more time"
        )

    def _earlier(self, before: ScanEntry) -> Scan | None:
        """The scan that the last decision was on."""
        try:
            return self._dispatch.scan_of(before)
        except HistoryError as error:  # it is of use only; drift is then not known
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
