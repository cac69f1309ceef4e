"""Allowed addresses of the service, what ends it, and what must not."""

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from agent.config.model import Config
from agent.errors import HistoryError, PluginError, SearchCancelledError
from agent.history.event_log import History
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from agent.service.service import STATE_FILE, Service, ServiceError
from instrument_adapters.protocol import messages as wire
from tests.support.samples import NOW, decision, hello, packet, sample_scan, scan_message
from tests.system.bench import config, connected, deciding, events, instrument, recorded, serving


def start_error(run: Path, settings: Config) -> str:
    with pytest.raises(ServiceError) as caught:
        asyncio.run(Service(settings, run).run())
    assert not (run / STATE_FILE).exists()
    return str(caught.value)


@pytest.mark.parametrize("key", ["bind", "telemetry"])
@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.0.2:5555", "tcp://127.0.0.1.example.org:5555"]
)
def test_an_address_beyond_this_computer_is_refused(tmp_path: Path, key: str, address: str) -> None:
    message = start_error(tmp_path, config(**{key: address}))
    assert message == (
        f"the address {address} is not on this computer's loopback; without keys only tcp://127.0.0.1:PORT is allowed, "
        "so make keys with `vaestar keygen` and set service.key and service.allowed"
    )


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "tcp://127.0.0.1:port", "inproc://agent", "udp://127.0.0.1"])
def test_an_invalid_address_is_refused_with_an_example(tmp_path: Path, address: str) -> None:
    message = start_error(tmp_path, config(bind=address))
    assert message.startswith(f"'{address}' is not an address to listen at; give tcp://HOST:PORT, such as tcp://127.0.0.1:5555")


def test_a_name_that_only_begins_like_loopback_is_refused_for_the_page_too(tmp_path: Path) -> None:
    message = start_error(tmp_path, config(http="127.example.org:5557"))
    assert message.startswith("service.http is '127.example.org:5557', which is not a loopback address")


def test_an_address_in_use_is_refused_with_advice(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        message = start_error(tmp_path, config(bind=f"tcp://127.0.0.1:{port}"))
    assert message == f"cannot listen on tcp://127.0.0.1:{port}: Address already in use; is another agent running there?"


def test_a_second_agent_on_one_run_is_refused_and_the_first_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            with pytest.raises(HistoryError, match="another agent is using it"):
                await Service(config(), tmp_path).run()
            assert (tmp_path / STATE_FILE).exists()
            assert (await bench.ask(scan_message(sample_scan()), wire.Ack)).duplicate is False

    asyncio.run(scenario())


def test_a_reward_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    settings = config().model_copy(update={"reward": "no_such_lab:reward"})
    with pytest.raises(PluginError, match="no_such_lab"):
        asyncio.run(Service(settings, tmp_path / "run").run())
    assert not (tmp_path / "run").exists()


def test_events_are_published_as_telemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)

    async def scenario() -> list[str]:
        seen, numbers = [], []
        async with serving(tmp_path) as (service, state):
            with zmq.asyncio.Context() as context, context.socket(zmq.SUB) as watcher, instrument(state["bind"]) as bench:
                watcher.connect(state["telemetry"])
                watcher.subscribe(b"vaestar")
                async with asyncio.timeout(10):
                    while not await watcher.poll(20):  # a publisher does not wait for its subscribers
                        await service.publish("hello")
                await bench.ask(hello(), wire.Welcome)
                await bench.ask(scan_message(sample_scan()), wire.Ack)
                async with asyncio.timeout(10):
                    while "decision" not in seen:
                        message = json.loads((await watcher.recv_multipart())[1])
                        seen.append(message["kind"])
                        numbers.append(message["seq"])
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        return [kind for kind in seen if kind != "hello"]

    assert asyncio.run(scenario()) == ["instrument", "scan", "progress", "decision"]


def test_without_a_telemetry_address_nothing_is_published_and_all_else_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch)

    async def scenario() -> None:
        async with connected(tmp_path, config(telemetry="")) as bench:
            assert json.loads((tmp_path / STATE_FILE).read_text())["telemetry"] == ""
            await bench.ask(scan_message(sample_scan()), wire.Ack)
            await bench.hear(wire.RecommendationMessage)

    asyncio.run(scenario())


def test_stopping_in_the_middle_of_a_search_is_prompt_and_leaves_the_scan_for_the_next_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching = threading.Event()

    def endless(scan: object, cancelled: object) -> Decision:
        searching.set()
        while not cancelled():
            time.sleep(0.002)
        raise SearchCancelledError("the search was cancelled")

    async def scenario() -> float:
        async with serving(tmp_path) as (service, state):
            with instrument(state["bind"]) as bench:
                await bench.ask(hello(), wire.Welcome)
                await bench.ask(scan_message(sample_scan()), wire.Ack)
                await asyncio.to_thread(searching.wait)
                before = time.monotonic()
                service.stop()
                bye = await bench.hear(wire.Bye)
                assert bye.reason == "the agent stops"
        return time.monotonic() - before

    deciding(monkeypatch, endless)
    assert asyncio.run(scenario()) < 3
    assert events(tmp_path)[-1].kind == kinds.RUN_STOPPED
    assert events(tmp_path, kinds.SEARCH_CANCELLED, kinds.DECISION_MADE) == []
    assert not (tmp_path / STATE_FILE).exists()

    async def next_agent() -> None:
        async with connected(tmp_path) as bench:
            assert (await bench.hear(wire.RecommendationMessage)).scan_id == "scan-1"

    deciding(monkeypatch)
    asyncio.run(next_agent())
    assert {e.subject for e in events(tmp_path, kinds.RUN_STARTED, kinds.RUN_STOPPED)} == {
        events(tmp_path, kinds.RUN_STARTED)[0].subject
    }


def test_when_the_history_cannot_be_written_nothing_is_acknowledged_and_the_service_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []

    def full(self: History, kind: str, *_: object, **__: object) -> None:
        raise HistoryError(f"'{kind}' could not be written: No space left on device")

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            monkeypatch.setattr(History, "record", full)
            await bench.say(scan_message(sample_scan()))
            await bench.hear(wire.Bye)
            heard.extend(bench.heard)

    with pytest.raises(HistoryError, match="'scan_received' could not be written: No space left"):
        asyncio.run(scenario())
    assert not any(isinstance(m, wire.Ack | wire.Refused) for m in heard)
    assert not (tmp_path / STATE_FILE).exists()


async def closed_scan(run: Path) -> None:
    async with asyncio.timeout(10):
        while True:
            with History(run, read_only=True) as history:  # without verifying the arrays
                if next(history.events(kind=kinds.SEARCH_CANCELLED), None) is not None:
                    return
            await asyncio.sleep(0.01)


def test_a_scan_that_cannot_be_read_back_is_closed_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    get = "agent.history.event_log.ArrayStore.get"

    def altered(*_: object) -> None:
        raise HistoryError("array 123 has been altered")

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            with monkeypatch.context() as patched:
                patched.setattr(get, altered)
                await bench.ask(scan_message(sample_scan("scan-1")), wire.Ack)
                await closed_scan(tmp_path)
            await bench.ask(scan_message(sample_scan("scan-2")), wire.Ack)
            assert (await bench.hear(wire.RecommendationMessage)).scan_id == "scan-2"

    asyncio.run(scenario())
    (closed,) = events(tmp_path, kinds.SEARCH_CANCELLED)
    assert closed.body["reason"] == "it cannot be read back: array 123 has been altered"


def test_an_instrument_that_does_not_read_does_not_hold_up_the_others(tmp_path: Path) -> None:
    long = wire.Bye(id="bye", sent_at=NOW, reason="x" * 2000)

    async def scenario() -> None:
        async with serving(tmp_path) as (service, state):
            with instrument(state["bind"], "asleep", reads_ahead=1) as asleep, instrument(state["bind"]) as bench:
                await asleep.ask(hello("asleep"), wire.Welcome)
                await bench.ask(hello(), wire.Welcome)
                async with asyncio.timeout(30):
                    while await service._send(b"asleep", long):
                        pass
                    assert (await bench.ask(packet(wire.Bye(id="bye", sent_at=NOW)), wire.Ack)).of == "bye"

    asyncio.run(scenario())


def test_the_scan_that_waited_longest_is_decided_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = threading.Event()

    def decide(scan: object, cancelled: object) -> Decision:
        if scan.scan_id == "a-1":
            first.wait(10)
        return decision(scan.scan_id)

    async def scenario() -> None:
        async with serving(tmp_path) as (_, state):
            with instrument(state["bind"], "a") as a, instrument(state["bind"], "b") as b:
                await a.ask(hello("a"), wire.Welcome)
                await b.ask(hello("b"), wire.Welcome)
                await a.ask(scan_message(sample_scan("a-1")), wire.Ack)
                await b.ask(scan_message(sample_scan("b-1")), wire.Ack)
                await a.ask(scan_message(sample_scan("a-2")), wire.Ack)
                first.set()
                await recorded(tmp_path, kinds.DECISION_MADE, 2)

    calls = deciding(monkeypatch, decide)
    asyncio.run(scenario())
    assert [a[0].scan_id for a in calls] == ["a-1", "b-1", "a-2"]


def test_what_could_not_be_sent_is_not_recorded_as_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()

    def decide(scan: object, cancelled: object) -> Decision:
        gone.wait(10)
        return decision(scan.scan_id)

    async def scenario() -> None:
        async with serving(tmp_path, config(heartbeat_s=0.02)) as (service, state):
            with instrument(state["bind"]) as bench:
                await bench.ask(hello(), wire.Welcome)
                await bench.ask(scan_message(sample_scan()), wire.Ack)
            async with asyncio.timeout(10):
                while await service._send(b"afm-1", wire.Heartbeat(id="b", sent_at=NOW)):
                    await asyncio.sleep(0.01)
            gone.set()
            await recorded(tmp_path, kinds.DECISION_MADE)

    deciding(monkeypatch, decide)
    asyncio.run(scenario())
    assert events(tmp_path, kinds.RECOMMENDATION_SENT) == []
