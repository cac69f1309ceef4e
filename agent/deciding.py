"""Which scan is decided on, and how: the newest of each instrument, one at a time, the one that waits longest first.

Deciding runs in a thread, which only waits for the training processes. The newest scan of an instrument wins: a search over an
older one is cancelled.
"""

import asyncio
import time
from typing import Any, Protocol

import structlog

from agent.archive import last_decision
from agent.asking import deadline
from agent.config import Config
from agent.core import Agent
from agent.decision import Decision
from agent.dispatch import Dispatcher
from agent.history import HistoryError
from agent.ledger import ScanEntry
from agent.work import WorkDirectory
from agent.workflow.errors import AgentError, SearchCancelledError
from instrument_adapters import messages as wire
from instrument_adapters.errors import AdapterError
from instrument_adapters.scan import Scan

_LOG = structlog.get_logger("vaestar.agent")


class DecisionListener(Protocol):
    """Told of decisions, in the event loop's thread."""

    async def publish(self, kind: str, **facts: Any) -> None:
        """Tell whoever watches; nothing depends on it."""

    async def recommend(self, instrument_id: str) -> None:
        """An instrument has a decision that it does not know yet."""


class Decider:
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
    """

    def __init__(
        self, agent: Agent, dispatch: Dispatcher, config: Config, work: WorkDirectory, listener: DecisionListener
    ) -> None:
        self._agent, self._dispatch, self._config, self._work, self._listener = agent, dispatch, config, work, listener
        self._stop = asyncio.Event()
        self._wake = asyncio.Event()
        self._deciding: ScanEntry | None = None
        self._last: dict[str, Decision] = {}

    def news(self) -> None:
        """Something has come in: look what waits, and give up a search that has become pointless."""
        if self._deciding is not None and self._deciding.settled:
            self._agent.workers.cancel()
        self._wake.set()

    def end(self) -> None:
        """Decide on nothing more; a search under way is given up, and taken up by the next agent of this run."""
        self._stop.set()
        self._wake.set()
        self._agent.workers.dismiss()

    async def run(self) -> None:
        """Decide on the newest scan of each instrument, the one that waits longest first, for as long as the service runs."""
        while not self._stop.is_set():
            self._wake.clear()
            newest = (self._dispatch.ledger.undecided(i) for i in self._dispatch.limits)
            waiting = [entry for entry in newest if entry is not None]
            if waiting:
                self._deciding = min(waiting, key=lambda entry: entry.event.seq)
                await self._decide_on(self._deciding)
                self._deciding = None
            else:
                await self._wake.wait()

    async def _decide_on(self, entry: ScanEntry) -> None:
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        _LOG.info("deciding", scan=entry.scan_id)

        def progress(stage: str, done: int, total: int) -> None:
            facts = {"scan_id": entry.scan_id, "stage": stage, "done": done, "total": total}
            asyncio.run_coroutine_threadsafe(self._listener.publish("progress", **facts), loop)

        def cancelled() -> bool:
            return self._stop.is_set() or entry.settled or self._dispatch.ledger.latest(entry.instrument_id) is not entry

        def provisional(decision: Decision) -> None:
            facts = {"scan_id": entry.scan_id, "rungs": decision.record.rungs, "explanation": decision.record.explanation}
            asyncio.run_coroutine_threadsafe(
                self._listener.publish("provisional", places=len(decision.record.requests), **facts), loop
            )

        seconds_allowed = self._config.search.deadline_s
        limits = self._dispatch.limits.get(entry.instrument_id, wire.Limits())
        measured = self._dispatch.ledger.measured_xy(entry.sample_id)
        measured_s = self._dispatch.ledger.measured_s(entry.sample_id)
        previous = self._previous(entry.sample_id)
        results = self._dispatch.ledger.results(entry.sample_id)
        try:
            scan = self._dispatch.scan_of(entry)
        except HistoryError as error:
            self._dispatch.cancelled(entry, f"it cannot be read back: {error}")
            return
        decision: Decision
        try:
            decision = await asyncio.to_thread(
                self._agent.on_scan,
                scan,
                limits,
                measured,
                measured_s=measured_s,
                results=results,
                previous=previous,
                earlier=self._earlier(entry, previous),
                store=self._work,
                progress=progress,
                cancelled=cancelled,
                out_of_time=None if seconds_allowed is None else deadline(seconds_allowed),
                on_rung=provisional if self._config.service.telemetry else None,
            )
        except SearchCancelledError:
            # The newer scan's arrival has been recorded as its end; a stopped search is taken up by the next agent of this run.
            _LOG.info("search cancelled", scan=entry.scan_id)
            if not self._stop.is_set():
                self._work.clear()
            return
        except (AdapterError, AgentError) as error:
            decision = self._agent.unresolved(scan, str(error))
        except Exception as error:  # noqa: BLE001 - the service's outer edge: a fault in one decision must not end the run
            _LOG.exception("a decision failed", scan=entry.scan_id)
            decision = self._agent.unresolved(scan, f"a fault in the agent ({type(error).__name__}: {error}); please report it")
        if entry.settled:
            self._work.clear()
            return
        seconds = time.monotonic() - started
        self._dispatch.decided(entry, decision, seconds)
        self._remember(decision)
        self._work.clear()
        record = decision.record
        _LOG.info("decided", scan=entry.scan_id, decision=record.decision_id, seconds=round(seconds, 1), why=record.explanation)
        await self._listener.publish(
            "decision", scan_id=entry.scan_id, decision_id=record.decision_id, explanation=record.explanation
        )
        await self._listener.recommend(entry.instrument_id)

    def _earlier(self, entry: ScanEntry, previous: Decision | None) -> Scan | None:
        """The scan that the last decision was on, if this instrument recorded it."""
        if previous is None:
            return None
        found = self._dispatch.ledger.scans.get((entry.instrument_id, previous.record.scan_id))
        try:
            return None if found is None else self._dispatch.scan_of(found)
        except HistoryError as error:  # it is of use only; drift is then not known
            _LOG.warning("the last scan cannot be read back", scan=previous.record.scan_id, why=str(error))
            return None

    def _remember(self, decision: Decision) -> None:
        """Let the search on the sample's next scan go on from here, unless the scan was not fit for a decision."""
        if decision.record.outcome != "bad_scan":
            self._last[decision.record.sample_id] = decision

    def _previous(self, sample_id: str) -> Decision | None:
        """The last decision on a sample, from this process or, after a restart, from the history."""
        if sample_id not in self._last:
            try:
                last = last_decision(self._dispatch.history, sample_id)
            except HistoryError as error:  # it is of use only; the search starts from nothing
                _LOG.warning("the last decision cannot be read back", sample=sample_id, why=str(error))
                last = None
            if last is None:
                return None
            self._last[sample_id] = last
        return self._last[sample_id]
