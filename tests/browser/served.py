"""A real service with its dashboard in a thread of its own, a scripted instrument, and hand-made decisions."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from agent.config.model import Config
from agent.dashboard.page import dashboard_page
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.schema.decision import Decision
from agent.service.service import Service
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.scan import Scan
from tests.support.history.decision_records import make_decision
from tests.support.samples import NOW, hello, packet, result, scan_message
from tests.system.bench import Bench, instrument, serving

FRAME = Frame(size_fast_m=2e-6, size_slow_m=2e-6, rows=48, cols=48)
T = TypeVar("T")


def a_scan(scan_id: str, frame: Frame = FRAME) -> Scan:
    """Stripes and noise; every scan id gives a different scan."""
    rng = np.random.default_rng(sum(scan_id.encode()))
    stripes = np.sin(np.arange(frame.cols) / 3)[None, :] + 0.2 * rng.standard_normal((frame.rows, frame.cols))
    amplitude, height = (stripes * 1e-10 + 3e-10).astype(np.float32), (stripes * 1e-9).astype(np.float32)
    channels = {"AmplitudeRetrace": amplitude, "HeightRetrace": height}
    return Scan(channels, {"AmplitudeRetrace": "m", "HeightRetrace": "m"}, frame, scan_id, "bto")


def a_decision(scan: Scan, **changes: Any) -> Decision:
    """A decision with three clusters and two requests each, with ids after the scan."""
    made = make_decision(scan.frame, **changes)
    decision_id = f"d-{scan.scan_id}"
    requests = [r.model_copy(update={"request_id": f"{decision_id}-{i:03d}"}) for i, r in enumerate(made.record.requests)]
    names = {"decision_id": decision_id, "scan_id": scan.scan_id, "sample_id": scan.sample_id, "requests": requests}
    return Decision(made.record.model_copy(update=names), made.arrays)


@dataclass
class Served:
    """The running service and its instruments; every method runs in the service's event loop."""

    loop: asyncio.AbstractEventLoop
    service: Service
    address: str
    run: Path
    state: dict[str, Any]
    benches: dict[str, Bench] = field(default_factory=dict)

    @property
    def token(self) -> str:
        return (self.run / "control.token").read_text()

    def do(self, action: Awaitable[T]) -> T:
        async def with_timeout() -> T:
            async with asyncio.timeout(10):
                return await action

        future: Future[T] = asyncio.run_coroutine_threadsafe(with_timeout(), self.loop)
        return future.result(12)

    def connect(self, name: str = "afm-1", **limits: object) -> None:
        """Connect an instrument and wait for the welcome."""

        async def connected() -> None:
            stack = contextlib.ExitStack()
            self.benches[name] = stack.enter_context(instrument(self.state["bind"], name))
            self.benches[name].close = stack.close
            await self.benches[name].ask(hello(name, **limits), wire.Welcome)

        self.do(connected())

    def scans(self, scan_id: str, name: str = "afm-1", frame: Frame = FRAME) -> None:
        self.do(self.benches[name].ask(scan_message(a_scan(scan_id, frame), f"m-{scan_id}"), wire.Ack))

    def measures(self, request_id: str, status: str = "ok", name: str = "afm-1", **fields: object) -> None:
        self.do(self.benches[name].ask(result(request_id, status, f"r-{request_id}", **fields), wire.Ack))

    def hears(self, kind: type, name: str = "afm-1") -> Any:
        return self.do(self.benches[name].hear(kind))

    def says(self, message: wire.Message, arrays: dict[str, np.ndarray] | None = None, name: str = "afm-1") -> None:
        self.do(self.benches[name].say(packet(message, arrays)))

    def status(self, activity: str, name: str = "afm-1", **facts: object) -> None:
        self.says(wire.StatusMessage(id="status-1", sent_at=NOW, activity=activity, **facts), name=name)


def settings(mode: str = "review") -> Config:
    service = {"bind": "tcp://127.0.0.1:*", "telemetry": ""}
    return Config.model_validate({"search": {"workers": 0}, "approval": {"mode": mode}, "service": service})


@contextlib.contextmanager
def served(run: Path, config: Config | None = None, http: str = "127.0.0.1:0") -> Iterator[Served]:
    """Run the service with its dashboard while the context is open."""
    full = (config or settings()).with_service(http=http)
    ready: Future[Served] = Future()
    finished = asyncio.Event()

    async def main() -> None:
        async with serving(run, full, dashboard_page(full, run, announce=False)) as (service, state):
            ready.set_result(made := Served(asyncio.get_running_loop(), service, state["http"], run, state))
            await finished.wait()
            for bench in made.benches.values():
                bench.close()

    def thread() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    worker = threading.Thread(target=thread)
    worker.start()
    try:
        made = ready.result(20)
        yield made
    finally:
        if ready.done() and ready.exception() is None:
            made.loop.call_soon_threadsafe(finished.set)
        worker.join(20)


def with_hand_made_decisions(monkeypatch: Any, decide: Callable[[Scan], Decision] = a_decision) -> None:
    """Replace the search by `decide`, which returns a decision at once."""

    def by_hand(self: Agent, inputs: DecisionInputs, control: SearchControl, **_more: object) -> Decision:
        control.progress("training", 1, 2)
        return decide(inputs.scan)

    monkeypatch.setattr(Agent, "decide", by_hand)
