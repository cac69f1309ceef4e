"""Floods at the instruments' port: bytes, parts, connections, names, bad messages. A stop gets through, the agent goes on."""

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import zmq

from agent.history.counters import RunCounters
from agent.messaging.dispatcher import Dispatcher, Prepared
from agent.messaging.refusals import FULL_MAX
from agent.schema import event_kinds as kinds
from agent.service import rate_limit, receiver
from agent.service.connection_guard import ConnectionGuard
from agent.service.service import STATE_FILE
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode
from instrument_adapters.protocol.curve_keys import load_pair, load_public, make_keys
from tests.support.raw_zmtp import RawClient
from tests.support.samples import NOW, hello, packet, sample_scan, scan_message
from tests.system.bench import LONGEST_S, connected, deciding, events, instrument, recorded, serving

ROOT = Path(__file__).resolve().parents[3]


def trouble(message_id: str) -> Packet:
    return packet(wire.TroubleMessage(id=message_id, sent_at=NOW, event="e", sentence="it hums"))


class Reading:
    """Holds up the thread that reads large messages, until `go` is set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go, self.scans = threading.Event(), threading.Event(), 0
        monkeypatch.setattr(receiver, "LARGE_BYTES", 400)  # a hello has fewer bytes, a scan more
        prepare = Dispatcher.prepare

        def slowly(dispatcher: Dispatcher, found: Packet) -> Prepared:
            if isinstance(found.message, wire.ScanMessage):
                self.scans += 1
                self.begun.set()
                assert self.go.wait(LONGEST_S)
            return prepare(dispatcher, found)

        monkeypatch.setattr(Dispatcher, "prepare", slowly)


@pytest.mark.attack("another instrument's large scan is being read", promise="the operator's stop gets through at once")
def test_a_stop_overtakes_a_scan_that_is_being_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    reading = Reading(monkeypatch)

    async def scenario() -> None:
        async with serving(tmp_path) as (service, state):
            with instrument(state["bind"], "afm-1") as one, instrument(state["bind"], "afm-2") as other:
                await one.ask(hello("afm-1"), wire.Welcome)
                await other.ask(hello("afm-2"), wire.Welcome)
                await other.say(scan_message(sample_scan()))
                await asyncio.to_thread(reading.begun.wait, LONGEST_S)
                await service.control.emergency_stop("Ada", "it smokes", "afm-1")
                command = await one.hear(wire.CommandMessage)
                assert command.command == "stop"
                await one.say(packet(wire.Ack(id="a", sent_at=NOW, of=command.id)))
                await recorded(tmp_path, kinds.COMMAND_ACKNOWLEDGED)  # what the instrument answers is heard as well
                assert not reading.go.is_set()
                reading.go.set()
                assert (await other.hear(wire.Ack)).duplicate is False

    asyncio.run(scenario())
    assert len(events(tmp_path, kinds.SCAN_RECEIVED)) == 1


@pytest.mark.attack(
    "a client repeats a large scan that is being read", promise="a message that is being handled is not handled anew"
)
def test_what_comes_again_while_it_is_being_read_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    reading = Reading(monkeypatch)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            for _ in range(20):
                await bench.say(scan_message(sample_scan()))
            await asyncio.to_thread(reading.begun.wait, LONGEST_S)
            # After this answer, all of the twenty have been received.
            await bench.ask(hello(message_id="h2"), wire.Welcome)
            reading.go.set()
            assert (await bench.hear(wire.Ack)).duplicate is False
            assert (await bench.ask(scan_message(sample_scan()), wire.Ack)).duplicate is True

    asyncio.run(scenario())
    assert reading.scans == 2


def test_messages_of_one_instrument_keep_their_order_behind_a_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    reading = Reading(monkeypatch)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            await bench.say(scan_message(sample_scan()))
            await bench.say(trouble("t-1"))
            await bench.ask(hello(message_id="h2"), wire.Welcome)
            assert events(tmp_path, kinds.INSTRUMENT_TROUBLED) == []
            reading.go.set()
            assert [(await bench.hear(wire.Ack)).of for _ in range(2)] == ["m-scan", "t-1"]

    asyncio.run(scenario())
    order = [e.kind for e in events(tmp_path, kinds.SCAN_RECEIVED, kinds.INSTRUMENT_TROUBLED)]
    assert order == [kinds.SCAN_RECEIVED, kinds.INSTRUMENT_TROUBLED]


def test_where_too_much_waits_a_scan_is_not_answered_and_its_repetition_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch)
    reading = Reading(monkeypatch)
    first, second = scan_message(sample_scan("s-1"), "m-1"), scan_message(sample_scan("s-2"), "m-2")
    monkeypatch.setattr(receiver, "HELD_BYTES_MAX", sum(map(len, encode(first))) + 10)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            await bench.say(first)
            await bench.say(second)
            await bench.ask(hello(message_id="h2"), wire.Welcome)
            reading.go.set()
            assert (await bench.hear(wire.Ack)).of == "m-1"
            await bench.ask(second, wire.Ack)

    asyncio.run(scenario())
    assert [e.subject for e in events(tmp_path, kinds.SCAN_RECEIVED)] == ["s-1", "s-2"]


def test_a_large_scan_that_is_not_valid_is_refused_and_one_known_with_other_content_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch)
    monkeypatch.setattr(receiver, "LARGE_BYTES", 400)

    async def scenario() -> list[str]:
        async with connected(tmp_path) as bench:
            header, array = encode(scan_message(sample_scan()))
            codes = [(await bench.ask([header, array[:-1]], wire.Refused)).code]
            await bench.ask([header, array], wire.Ack)
            codes.append((await bench.ask(scan_message(sample_scan(value=0.7), "m-2"), wire.Refused)).code)
            codes.append((await bench.ask([b"[" * 5000], wire.Refused)).code)
        return codes

    assert asyncio.run(scenario()) == ["wrong_byte_count", "duplicate_scan_id", "bad_json"]


@pytest.mark.attack("a message of very many parts", promise="it is refused, and nothing waits for it")
def test_a_message_of_many_parts_is_refused_while_the_loop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "_SLICE_S", 0.0)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def scenario() -> tuple[str, int]:
        async with connected(tmp_path) as bench:
            few = await bench.ask([b"{}"] + [b""] * 100, wire.Refused)
            counting = asyncio.create_task(count())
            before = turns
            await bench.say([b"{}"] + [b""] * 50_000)
            many = await bench.hear(wire.Refused)
            counting.cancel()
            assert few.code == many.code == "wrong_frame_count"
            return few.reason, turns - before

    reason, during = asyncio.run(scenario())
    assert reason == "the message has 101 frames, at most 17 are accepted"
    assert during > 50


@pytest.mark.attack("hellos under ever new names", promise="few new names are recorded, and known instruments are served")
def test_new_names_are_rationed_and_a_known_instrument_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limit, "_NEW_NAMES_BURST", 4.0)

    async def scenario() -> None:
        async with serving(tmp_path) as (_, state):
            with instrument(state["bind"]) as bench:
                await bench.ask(hello(), wire.Welcome)
                for number in range(30):
                    name = f"x-{number}"
                    with instrument(state["bind"], name) as stranger:
                        await stranger.say(hello(name))
                        if number < 3:
                            await stranger.hear(wire.Welcome)
                        else:
                            answer = await bench.ask(packet(wire.Resend(id=f"r-{number}", sent_at=NOW)), wire.SnapshotMessage)
                            assert answer.of == f"r-{number}"

    asyncio.run(scenario())
    names = [e.subject for e in events(tmp_path, kinds.INSTRUMENT_CONNECTED)]
    assert names == ["afm-1", "x-0", "x-1", "x-2"]


@pytest.mark.attack("a client sends only bad messages", promise="each is answered, the first are recorded, the others counted")
def test_bad_messages_are_all_answered_and_recorded_as_a_sum(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            for _ in range(100):
                assert (await bench.ask([b"no json"], wire.Refused)).code == "bad_json"

    asyncio.run(scenario())
    found, counters = events(tmp_path, kinds.MESSAGE_REFUSED), RunCounters()
    for event in found:
        counters.apply(event)
    assert len(found) == FULL_MAX + 1
    assert counters.refused == {"bad_json": 100}


class Process:
    """`vaestar serve` with few file descriptors."""

    def __init__(self, directory: Path, descriptors: int, *, keys: bool) -> None:
        self.run = directory / "run"
        (directory / "c.toml").write_text('channel = "none of this name"\n[search]\nworkers = 0\n')
        command = [sys.executable, "-m", "agent", "serve", "--run", str(self.run), "--config", str(directory / "c.toml")]
        command += ["--bind", "tcp://127.0.0.1:*", "--telemetry", "", "--http", "127.0.0.1:0"]
        self.keys = None
        if keys:
            make_keys("agent", directory / "keys")
            make_keys("afm-1", directory / "keys" / "allowed")
            command += ["--key", str(directory / "keys/agent.key_secret"), "--allowed", str(directory / "keys/allowed")]
            own = load_pair(directory / "keys/allowed/afm-1.key_secret")
            self.keys = own.public, own.secret, load_public(directory / "keys/agent.key")
        command = ["bash", "-c", f'ulimit -n {descriptors}; exec "$@"', "bash", *command]
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)})
        ends_s = time.monotonic() + LONGEST_S
        while not (self.run / STATE_FILE).exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends_s
            time.sleep(0.02)
        self.address = json.loads((self.run / STATE_FILE).read_text())["bind"]

    def instrument(self, context: zmq.Context, name: str) -> zmq.Socket:
        dealer = context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.setsockopt(zmq.ROUTING_ID, name.encode())
        if self.keys is not None:
            dealer.curve_publickey, dealer.curve_secretkey, dealer.curve_serverkey = self.keys
        dealer.connect(self.address)
        return dealer


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="limits of POSIX")
@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.attack("more idle connections than the agent may have open files", promise="the agent goes on and records")
def test_idle_connections_do_not_take_the_descriptors_of_disk_and_database(tmp_path: Path, keys: bool) -> None:
    agent = Process(tmp_path, 320, keys=keys)
    host, port = agent.address.removeprefix("tcp://").split(":")
    with contextlib.ExitStack() as stack:
        stack.callback(agent.process.wait)
        stack.callback(agent.process.kill)
        context = stack.enter_context(zmq.Context())
        dealer = stack.enter_context(agent.instrument(context, "afm-1"))
        dealer.send_multipart(encode(hello("afm-1")))
        assert isinstance(answer(dealer), wire.Welcome)
        for _ in range(500):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        dealer.send_multipart(encode(scan_message(sample_scan())))
        assert isinstance(answer(dealer), wire.Ack)
        assert len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir())) < 200
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(LONGEST_S) == 0, agent.log.read_text()


def answer(dealer: zmq.Socket) -> wire.Message:
    while True:
        assert dealer.poll(1000 * LONGEST_S)
        message = decode(dealer.recv_multipart()).message
        if not isinstance(message, wire.Heartbeat):
            return message


@pytest.mark.skipif(sys.platform != "linux", reason="the numbers of bytes come from Linux")
@pytest.mark.attack("a message of 30 x 100 MB is sent and never ended", promise="memory grows by one message at most")
def test_memory_is_bounded_whatever_is_announced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.service.service.ConnectionGuard", functools.partial(ConnectionGuard, bytes_max=20 << 20))

    def flood(raw: RawClient) -> bool:
        with contextlib.suppress(ConnectionError, TimeoutError):
            for _ in range(400):
                raw.send(bytes(1 << 20), more=True)
            return False
        return True

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            state = json.loads((tmp_path / STATE_FILE).read_text())
            raw = await asyncio.to_thread(RawClient, state["bind"], "afm-2")
            with contextlib.closing(raw):
                raw.send(encode(hello("afm-2"))[0])
                await recorded(tmp_path, kinds.INSTRUMENT_CONNECTED, 2)
                assert await asyncio.to_thread(flood, raw), "all of it was taken in"
            await bench.ask(trouble("t-1"), wire.Ack)

    asyncio.run(scenario())
