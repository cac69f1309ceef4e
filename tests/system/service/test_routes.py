"""Commands and recommendations reach the instrument that they are for, whoever else connects under its name."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.schema import event_kinds as kinds
from agent.service.service import Service
from instrument_adapters.client import run_client
from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.curve_keys import ClientKeys, load_pair, load_public, make_keys
from tests.support.samples import NOW, decision, hello, packet, request, sample_scan, scan_message
from tests.system.bench import LONGEST_S, Bench, config, deciding, events, instrument, recorded, serving

PROMISE = "A stop for an instrument reaches that instrument within a second."
BEAT = packet(wire.Heartbeat(id="beat", sent_at=NOW))


class Scanning:
    """An instrument in the middle of a scan that only a halt ends."""

    instrument_id, model, limits = "afm-1", "none", wire.Limits()

    def __init__(self) -> None:
        self.halted = threading.Event()

    def scan(self) -> None:
        self.halted.wait()
        raise InstrumentFaultError("halted")

    def measure(self, _: object) -> None:
        raise AssertionError("nothing was recommended")

    def halt(self) -> None:
        self.halted.set()

    def release(self) -> None:
        raise AssertionError("nobody resumes")

    def close(self) -> None:
        self.halted.set()


@asynccontextmanager
async def scanning(address: str, keys: ClientKeys | None = None) -> AsyncIterator[Scanning]:
    """Our own client with an instrument in the middle of a scan."""
    stop, afm = threading.Event(), Scanning()
    started, loop = asyncio.Event(), asyncio.get_running_loop()

    def on_event(name: str, _: object) -> None:
        if name == "scan_started":
            loop.call_soon_threadsafe(started.set)

    client = asyncio.create_task(
        asyncio.to_thread(run_client, afm, address, stop=stop, on_event=on_event, keys=keys)  # type: ignore[arg-type]
    )
    try:
        async with asyncio.timeout(LONGEST_S):
            await started.wait()
        yield afm
    finally:
        stop.set()
        await client


@asynccontextmanager
async def service_and_instrument(tmp_path: Path, keys: ClientKeys | None = None) -> AsyncIterator[tuple[Service, str, Scanning]]:
    """A service, with keys if the instrument has some, its address, and our client with an instrument that scans."""
    settings = config(**with_keys(tmp_path)) if keys else config()
    async with serving(tmp_path / "run", settings) as (service, state), scanning(state["bind"], keys) as afm:
        yield service, state["bind"], afm


@pytest.fixture
def keys(tmp_path: Path) -> Callable[[str], ClientKeys]:
    """Keys of two instruments that are both allowed."""
    folder = tmp_path / "keys"
    make_keys("agent", folder)
    for name in ("afm-1", "afm-2"):
        make_keys(name, folder / "allowed")
    agent = load_public(folder / "agent.key")
    return lambda name: ClientKeys(load_pair(folder / "allowed" / f"{name}.key_secret"), agent)


def with_keys(tmp_path: Path) -> dict[str, str]:
    return {"key": str(tmp_path / "keys" / "agent.key_secret"), "allowed": str(tmp_path / "keys" / "allowed")}


async def obeyed(service: Service, run: Path, afm: Scanning) -> None:
    """Give a stop; it reaches the instrument, which acknowledges it."""
    await service.control.emergency_stop("Ada", "smoke")
    assert await asyncio.to_thread(afm.halted.wait, LONGEST_S)
    (event,) = await recorded(run, kinds.COMMAND_ACKNOWLEDGED)
    assert "refused" not in event.body


@pytest.mark.attack("connects under another instrument's name, with a key of its own", promise=PROMISE)
@pytest.mark.parametrize("routing_id", ["afm-1", "afm-1/guess"])
def test_with_keys_a_stop_goes_to_the_key_of_its_instrument(
    tmp_path: Path, keys: Callable[[str], ClientKeys], routing_id: str
) -> None:
    async def scenario() -> None:
        async with service_and_instrument(tmp_path, keys("afm-1")) as (service, address, afm):
            with instrument(address, routing_id, keys=keys("afm-2")) as thief:
                assert (await thief.ask(hello("afm-1"), wire.Refused)).code == "wrong_identity"
                await obeyed(service, tmp_path / "run", afm)
                await service.tick()
                await thief.ask(hello("afm-1"), wire.Refused)
                assert {type(message) for message in thief.heard} == {wire.Refused}

    asyncio.run(scenario())


@pytest.mark.attack("takes over an instrument's name with one word, without keys", promise=PROMISE)
@pytest.mark.parametrize("routing_id", ["afm-1", "afm-1/other"])
def test_without_keys_a_stop_goes_to_every_connection_under_the_name(tmp_path: Path, routing_id: str) -> None:
    async def scenario() -> None:
        async with service_and_instrument(tmp_path) as (service, address, afm):
            with instrument(address, routing_id) as other:
                await other.ask(hello("afm-1"), wire.Welcome)
                await obeyed(service, tmp_path / "run", afm)
                assert (await other.hear(wire.CommandMessage)).command == "stop"
                replies = service.status()["instruments"]["afm-1"]["command_replies"]
                assert (replies["connections"], replies["answered"]) == (2, 1)

    asyncio.run(scenario())


@pytest.mark.attack("takes over an instrument's name and says goodbye in its place", promise=PROMISE)
def test_a_goodbye_of_one_connection_does_not_make_the_instrument_unreachable(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service_and_instrument(tmp_path) as (service, address, afm):
            with instrument(address, "afm-1") as other:
                await other.ask(hello("afm-1"), wire.Welcome)
                await other.ask(packet(wire.Bye(id="bye", sent_at=NOW)), wire.Ack)
                assert events(tmp_path / "run", kinds.INSTRUMENT_LEFT) == []
                await obeyed(service, tmp_path / "run", afm)

    asyncio.run(scenario())


def test_a_recommendation_goes_to_the_connection_that_spoke_last_and_past_one_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch, lambda scan, _: decision(scan.scan_id, (request("r-1"),)))

    async def recommended(bench: Bench, of: str) -> None:
        assert (await bench.hear(wire.RecommendationMessage)).scan_id == of

    async def scenario() -> None:
        async with serving(tmp_path / "run") as (_, state):
            with instrument(state["bind"], "afm-1/first") as first:
                await first.ask(hello("afm-1"), wire.Welcome)
                with instrument(state["bind"], "afm-1/second") as second:
                    await second.ask(hello("afm-1", "hello-2"), wire.Welcome)
                    await first.ask(scan_message(sample_scan("s1"), "m1"), wire.Ack)
                    await recommended(first, "s1")
                    await second.ask(packet(wire.Resend(id="resend", sent_at=NOW)), wire.SnapshotMessage)
                    await recommended(second, "s1")
                with instrument(state["bind"], "afm-1/third") as third:
                    await third.ask(hello("afm-1", "hello-3"), wire.Welcome)
                    await recommended(third, "s1")
                await first.ask(packet(wire.Resend(id="resend", sent_at=NOW)), wire.SnapshotMessage)
                await recommended(first, "s1")

    asyncio.run(scenario())


@pytest.mark.attack(
    "an unreadable file lies in the folder of allowed keys while a key is removed from it",
    promise="New connections with a removed key are refused.",
)
@pytest.mark.parametrize("broken", ["half a file", "a folder"])
def test_a_key_that_is_removed_is_refused_although_another_file_cannot_be_read(
    tmp_path: Path, keys: Callable[[str], ClientKeys], broken: str
) -> None:
    allowed, second, first = tmp_path / "keys" / "allowed", keys("afm-2"), keys("afm-1")

    async def scenario() -> None:
        async with serving(tmp_path / "run", config(**with_keys(tmp_path))) as (_, state):
            with instrument(state["bind"], "afm-1", keys=first) as bench:
                await bench.ask(hello("afm-1"), wire.Welcome)
                if broken == "a folder":
                    (allowed / "afm-3.key").mkdir()
                else:
                    (allowed / "afm-3.key").write_text("metadata\ncurve\n")
                (allowed / "afm-2.key").unlink()
                with instrument(state["bind"], "afm-2", keys=second):
                    (denied,) = await recorded(tmp_path / "run", kinds.CLIENT_DENIED)
                assert denied.body["key"] == second.own.public.decode()[:8]
                with instrument(state["bind"], "afm-1/again", keys=first) as again:
                    await again.ask(hello("afm-1", "hello-2"), wire.Welcome)
                (allowed / "afm-1.key").write_text("half a ")
                with instrument(state["bind"], "afm-1/late", keys=first):
                    await recorded(tmp_path / "run", kinds.CLIENT_DENIED, 2)
                await bench.ask(packet(wire.Resend(id="resend", sent_at=NOW)), wire.SnapshotMessage)  # it goes on

    asyncio.run(scenario())
