"""An orchestrator whose searches are ended by the test, with a real ledger and history; nothing runs in a thread."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.config.model import Config
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.errors import SearchCancelledError
from agent.history.event_log import History
from agent.ledger.entries import ScanEntry
from agent.messaging.dispatcher import Dispatcher
from agent.orchestration.orchestrator import Orchestrator
from agent.schema.decision import Decision
from agent.search.task_cache import ResultCache, TaskCache
from instrument_adapters.protocol.messages import State
from instrument_adapters.scan import Scan
from tests.support.samples import Clock, decision, hello, sample_scan, scan_message

QUICK = {"workers": 0}


class Workers:
    cancelled = shut_downs = 0

    def cancel(self) -> None:
        self.cancelled += 1

    def shut_down(self) -> None:
        self.shut_downs += 1


class FakeAgent:
    def __init__(self, name: str = "d", workers: Workers | None = None) -> None:
        self.name, self.workers = name, workers or Workers()

    def deeper(self) -> "FakeAgent":
        return FakeAgent("deep", self.workers)

    def unresolved(self, scan: Scan, reason: str) -> Decision:
        return decision(scan.scan_id, sample_id=scan.sample_id, outcome="not_resolvable", explanation=reason, chosen=None)

    def decide(self, inputs: DecisionInputs, control: SearchControl, *, cache: ResultCache | None = None) -> Decision:
        raise AssertionError("the test finishes this search")


class Running:
    """A running search, which the test finishes, fails or ends after its cancellation."""

    def __init__(self, call: Callable[[], Decision]) -> None:
        self.agent: FakeAgent = call.func.__self__  # type: ignore[attr-defined]
        self.inputs: DecisionInputs = call.args[0]  # type: ignore[attr-defined]
        self.control: SearchControl = call.args[1]  # type: ignore[attr-defined]
        self.scan = self.inputs.scan
        self.future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()

    @property
    def deep(self) -> bool:
        return self.agent.name == "deep"

    @property
    def cancelled(self) -> bool:
        return bool(self.control.cancelled())

    def finish(self) -> None:
        name = f"{self.agent.name}-{self.scan.scan_id}"
        self.future.set_result(decision(self.scan.scan_id, decision_id=name, sample_id=self.scan.sample_id))

    def fail(self, error: Exception) -> None:
        self.future.set_exception(error)

    def end_cancelled(self) -> None:
        assert self.cancelled
        self.fail(SearchCancelledError("the search was cancelled"))


class Bench:
    """Instruments without sockets, and the orchestrator that serves them; use it inside a `FastLoop`."""

    def __init__(self, run: Path, instruments: tuple[str, ...] = ("afm-1",), **schedule: Any) -> None:
        self.history = History(run)
        self.history._db.execute("PRAGMA synchronous=OFF")
        self.dispatcher = Dispatcher(self.history, "run-1", Clock(), finishes=lambda entry: self.orchestrator.finishes(entry))
        self.searches: list[Running] = []
        self.states: dict[str, State] = {}
        self.recommended: list[str] = []
        self.published: list[str] = []
        config = Config.model_validate({"search": QUICK, "schedule": schedule})
        clock = asyncio.get_running_loop().time
        self.orchestrator = Orchestrator(
            FakeAgent(),  # type: ignore[arg-type]
            self.dispatcher.decision_log,
            self.dispatcher.presence,
            config,
            TaskCache(run / "work"),
            self,
            state_of=lambda i: self.states.get(i, "running"),
            start=self._start,
            clock=clock,
        )
        for name in instruments:
            self.connect(name)
        self.task = asyncio.create_task(self.orchestrator.run())

    def _start(self, call: Callable[[], Decision]) -> "asyncio.Future[Decision]":
        self.searches.append(Running(call))
        return self.searches[-1].future

    async def publish(self, kind: str, **facts: Any) -> None:
        self.published.append(kind)

    async def recommend(self, instrument_id: str) -> None:
        self.recommended.append(instrument_id)

    def connect(self, name: str) -> None:
        self.dispatcher.on_packet(name, hello(name))
        self.orchestrator.wake()

    async def scan(self, scan_id: str, instrument: str = "afm-1", sample_id: str = "bto", *, wake: bool = True) -> ScanEntry:
        scan = sample_scan(scan_id, value=float(len(self.dispatcher.ledger.scans)), sample_id=sample_id)
        self.dispatcher.on_packet(instrument, scan_message(scan))
        if wake:
            self.orchestrator.wake()
        await self.settle()
        return self.dispatcher.ledger.scans[instrument, scan_id]

    async def settle(self) -> None:
        """Run all callbacks that do not wait for time to pass."""
        for _ in range(30):
            await asyncio.sleep(0)

    @property
    def running(self) -> Running:
        """The only running search."""
        (search,) = [s for s in self.searches if not s.future.done()]
        return search

    async def finish(self) -> str:
        search = self.running
        search.finish()
        await self.settle()
        return search.scan.scan_id

    async def end_cancelled(self) -> None:
        self.running.end_cancelled()
        await self.settle()

    async def close(self) -> None:
        self.orchestrator.end()
        for search in self.searches:
            if not search.future.done():
                search.end_cancelled()
        await self.task
        assert self.history.verify() == []
        self.history.close()

    async def __aenter__(self) -> "Bench":
        return self

    async def __aexit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            await self.close()
        else:
            self.task.cancel()
            self.history.close()
