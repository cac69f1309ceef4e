"""A service in this event loop, and an instrument that speaks to it over a real socket."""

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
from agent.history.event_log import Event, History
from agent.schema.decision import Decision
from agent.service.service import STATE_FILE, Service
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode
from instrument_adapters.protocol.curve_keys import ClientKeys
from tests.support.samples import decision, hello

LONGEST_S = 10.0
_M = TypeVar("_M", bound=wire.Message)


def config(**service: object) -> Config:
    """Any port; nothing is trained in processes; no HTTP."""
    addresses = {"bind": "tcp://127.0.0.1:*", "telemetry": "tcp://127.0.0.1:*", "http": ""}
    return Config.model_validate({"search": {"workers": 0}, "service": addresses | service})


class Bench:
    """An instrument's DEALER; `name` None leaves it to zmq to name it."""

    def __init__(self, socket: zmq.asyncio.Socket) -> None:
        self._socket = socket
        self.heard: list[wire.Message] = []

    async def say(self, said: Packet | Sequence[bytes]) -> None:
        await self._socket.send_multipart(encode(said) if isinstance(said, Packet) else list(said))

    async def hear(self, kind: type[_M], of: str | None = None) -> _M:
        """The next message of a kind (and answering `of`); what comes before it is passed over."""
        async with asyncio.timeout(LONGEST_S):
            while True:
                message = decode(await self._socket.recv_multipart()).message
                self.heard.append(message)
                if isinstance(message, kind) and (of is None or getattr(message, "of", None) == of):
                    return message

    async def ask(self, said: Packet | Sequence[bytes], kind: type[_M]) -> _M:
        await self.say(said)
        return await self.hear(kind)


@contextmanager
def instrument(address: str, name: str | None = "afm-1", reads_ahead: int = 1000, keys: ClientKeys | None = None):
    """A connected instrument that has said nothing yet."""
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
    run: Path, settings: Config | None = None, prepare: Callable[[Service], None] = lambda _: None
) -> AsyncIterator[tuple[Service, dict[str, Any]]]:
    """A service and what it announced; stopped at the end, with no task left behind."""
    service = Service(settings or config(), run)
    prepare(service)
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
    """An instrument that has been welcomed by a service of its own."""
    async with serving(run, settings) as (_, state):
        with instrument(state["bind"], name) as bench:
            await bench.ask(hello(name, **limits), wire.Welcome)
            yield bench


def deciding(monkeypatch: pytest.MonkeyPatch, decide: Callable[..., Decision] | None = None) -> list[tuple]:
    """Replaces the search; what it was asked is in the list."""
    asked = []

    def on_scan(self: Agent, scan, limits, measured_xy, *, progress, cancelled, **_others):
        asked.append((scan, limits, measured_xy))
        progress("training", 1, 1)
        return decide(scan, cancelled) if decide else decision(scan.scan_id)

    monkeypatch.setattr(Agent, "on_scan", on_scan)
    return asked


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
