"""A service in this event loop, and an instrument that talks to it over a real socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zmq
import zmq.asyncio

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.history.event_log import Event, History
from agent.schema.decision import Decision
from agent.service.service import STATE_FILE, Service
from agent.service.supervision import Page
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode
from instrument_adapters.protocol.curve_keys import ClientKeys
from tests.support.samples import decision, hello

LONGEST_S = 60.0
_M = TypeVar("_M", bound=wire.Message)


def config(**service: object) -> Config:
    """A configuration with free ports, without worker processes and without HTTP."""
    addresses = {"bind": "tcp://127.0.0.1:*", "telemetry": "tcp://127.0.0.1:*", "http": ""}
    return Config.model_validate({"search": {"workers": 0}, "service": addresses | service})


class Bench:
    """The DEALER socket of an instrument."""

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        self._socket = socket
        self.heard: list[wire.Message] = []

    async def say(self, sent: Packet | Sequence[bytes]) -> None:
        await self._socket.send_multipart(encode(sent) if isinstance(sent, Packet) else list(sent))

    async def hear(self, kind: type[_M], of: str | None = None) -> _M:
        """The next message of a kind (and answering `of`); earlier messages are skipped."""
        async with asyncio.timeout(LONGEST_S):
            while True:
                message = decode(await self._socket.recv_multipart()).message
                self.heard.append(message)
                if isinstance(message, kind) and (of is None or getattr(message, "of", None) == of):
                    return message

    async def ask(self, sent: Packet | Sequence[bytes], kind: type[_M]) -> _M:
        await self.say(sent)
        return await self.hear(kind)


@contextmanager
def instrument(address: str, name: str | None = "afm-1", reads_ahead: int = 1000, keys: ClientKeys | None = None):
    """A connected instrument that has sent nothing yet. `name` None leaves the name to zmq."""
    with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVHWM, reads_ahead)
        if name is not None:
            socket.setsockopt(zmq.ROUTING_ID, name.encode())
        if keys is not None:
            socket.curve_publickey, socket.curve_secretkey, socket.curve_serverkey = keys.own.public, keys.own.secret, keys.agent
        socket.connect(address)
        yield Bench(socket)


@asynccontextmanager
async def serving(
    run: Path, settings: Config | None = None, page: Callable[[Service], Page] | None = None
) -> AsyncIterator[tuple[Service, dict[str, Any]]]:
    """A running service and its state file; stopped at the end, with no task left behind."""
    service = Service(settings or config(), run, page=page)
    task = asyncio.create_task(service.run())
    try:
        async with asyncio.timeout(LONGEST_S):
            while not (run / STATE_FILE).exists() and not task.done():
                await asyncio.sleep(0.005)
        if task.done():
            await task
        yield service, json.loads((run / STATE_FILE).read_text())
    finally:
        service.stop()
        async with asyncio.timeout(LONGEST_S):
            await asyncio.gather(task, return_exceptions=True)
    task.result()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, others


@asynccontextmanager
async def connected(run: Path, settings: Config | None = None, name: str = "afm-1", **limits: object) -> AsyncIterator[Bench]:
    """An instrument after its hello to a service of its own."""
    async with serving(run, settings) as (_, state):
        with instrument(state["bind"], name) as bench:
            await bench.ask(hello(name, **limits), wire.Welcome)
            yield bench


def deciding(monkeypatch: pytest.MonkeyPatch, decide: Callable[..., Decision] | None = None) -> list[tuple]:
    """Replace the search; returns the list of (scan, limits, measured positions) of its calls."""
    calls = []

    def by_hand(self: Agent, inputs: DecisionInputs, control: SearchControl, **_others: object) -> Decision:
        calls.append((inputs.scan, inputs.limits, inputs.measured_xy))
        control.progress("training", 1, 1)
        return decide(inputs.scan, control.cancelled) if decide else decision(inputs.scan.scan_id)

    monkeypatch.setattr(Agent, "decide", by_hand)
    return calls


def events(run: Path, *kinds: str) -> list[Event]:
    with History(run, read_only=True) as history:
        assert history.verify() == []
        return [e for e in history.events() if not kinds or e.kind in kinds]


async def recorded(run: Path, kind: str, count: int = 1) -> list[Event]:
    """The events of a kind, once there are `count`."""
    async with asyncio.timeout(LONGEST_S):
        while len(found := events(run, kind)) < count:
            await asyncio.sleep(0.01)
    return found
