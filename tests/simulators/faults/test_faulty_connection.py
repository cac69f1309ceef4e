"""A connection that fails on demand, between the real client and a scripted agent behind a real ROUTER."""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_adapters.client import ClientReport, ClientTimings, run_client
from instrument_adapters.protocol.messages import Ack, ResultMessage, ScanMessage
from simulators.faults.faulty_connection import FaultyConnection
from simulators.faults.message_faults import Action, MessageFault, MessageFaultQueue
from simulators.faults.zmtp import Splitter
from tests.instrument_adapters.conftest import FAST, FakeAgent, FakeInstrument

CYCLES = 2


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    fake = FakeAgent()
    yield fake
    fake.close()


def run(agent: FakeAgent, instrument: FakeInstrument, *faults: MessageFault, timings: ClientTimings = FAST) -> ClientReport:
    """Run a client through a faulty connection with these faults and check that no thread is left behind."""
    before = threading.active_count()
    with FaultyConnection(agent.address) as link:
        for fault in faults:
            link.arm(fault)
        report = run_client(instrument, link.address, cycles=CYCLES, timings=timings)
    assert threading.active_count() == before
    return report


def times(agent: FakeAgent, kind: type) -> Counter[str]:
    return Counter(message.id for message in agent.got(kind))


def test_a_link_that_is_left_alone_changes_nothing(agent: FakeAgent) -> None:
    instrument = FakeInstrument()
    report = run(agent, instrument)
    assert report == ClientReport(cycles=CYCLES, scans_sent=2, results_ok=4)
    assert set(times(agent, ScanMessage).values()) == {1}


@pytest.mark.parametrize("message", ["scan", "result"])
@pytest.mark.parametrize("action", ["cut", "drop", "drop_answer", "repeat", "delay"])
def test_whatever_happens_to_a_message_nothing_is_lost_and_nothing_is_measured_twice(
    agent: FakeAgent, action: Action, message: str
) -> None:
    happened: list[Any] = []
    instrument = FakeInstrument()
    report = run(agent, instrument, MessageFault(action, message, down_s=0.05, delay_s=0.15, done=happened.append))
    assert (report.cycles, report.scans_sent, report.results_ok) == (CYCLES, 2, 4)
    assert instrument.measured == ["s1-p0", "s1-p1", "s2-p0", "s2-p1"]
    assert happened == [{"of": "scan-s1" if message == "scan" else "result-s1-p0"}]
    arrived = times(agent, ScanMessage if message == "scan" else ResultMessage)
    assert len(arrived) == (2 if message == "scan" else 4)
    if action == "repeat" or (action, message) == ("drop_answer", "result"):  # a recommendation answers a scan, too
        assert arrived[happened[0]["of"]] > 1


@pytest.mark.slow
def test_half_a_scan_is_none_and_the_connection_is_made_anew(agent: FakeAgent) -> None:
    half: list[int] = []

    def lines(message: object) -> None:
        half.append(len(agent.got(ScanMessage)))

    report = run(agent, FakeInstrument(), MessageFault("cut", "scan", share=0.5, down_s=0.3, done=lines))
    assert half == [0]
    assert report.scans_sent == 2
    assert len([m for m in agent.received if m.type == "hello"]) == 2


def test_a_recommendation_that_comes_twice_is_measured_once(agent: FakeAgent) -> None:
    instrument = FakeInstrument()
    run(agent, instrument, MessageFault("repeat", "recommendation", later=2))
    assert instrument.measured == ["s1-p0", "s1-p1", "s2-p0", "s2-p1"]
    acks = [ack for ack in agent.got(Ack) if ack.of == "recommendation-s1"]
    assert [ack.duplicate for ack in acks] == [False, True]


def test_a_recommendation_that_is_lost_comes_with_the_next_scan_message(agent: FakeAgent) -> None:
    """The scripted agent repeats it when the scan is sent again; the acknowledgement of the scan is therefore lost, too."""
    run(agent, FakeInstrument(), MessageFault("drop_answer", "scan"), MessageFault("drop", "recommendation"))
    assert times(agent, ScanMessage)["scan-s1"] == 2


@pytest.mark.slow
def test_a_link_waits_for_an_agent_that_is_not_there_yet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        address = f"tcp://127.0.0.1:{reserved.getsockname()[1]}"
    later: list[FakeAgent] = []
    timer = threading.Timer(0.2, lambda: later.append(FakeAgent(address)))
    timer.start()
    with FaultyConnection(address) as link:
        report = run_client(FakeInstrument(), link.address, cycles=1, timings=FAST)
    timer.join()
    later[0].close()
    assert report.cycles == 1


def test_faults_apply_once_to_new_messages_and_ignore_unreadable_ones() -> None:
    def seen(kind: str, name: str) -> str | None:
        fault = queue.due((json.dumps({"type": kind, "id": name}).encode(),), b"raw", "up")
        return None if fault is None else fault.action

    queue = MessageFaultQueue()
    assert seen("scan", "a") is None
    for action in ("drop", "delay"):
        queue.arm(MessageFault(action, "scan"))
    assert [seen("scan", "a"), seen("result", "b"), seen("scan", "c"), seen("scan", "d"), seen("scan", "e")] == [
        *(None, None, "drop", "delay", None)
    ]
    queue.arm(MessageFault("drop", "scan"))
    assert queue.due((b"\xff",), b"", "up") is None
    assert queue.due((b"[1]",), b"", "up") is None


def test_several_faults_apply_to_one_message_but_only_one_that_keeps_it_from_arriving() -> None:
    happened: list[str] = []
    queue = MessageFaultQueue()
    for action in ("drop_answer", "cut", "repeat", "drop"):
        queue.arm(MessageFault(action, "scan", done=lambda _, action=action: happened.append(action)))
    fault = queue.due((b'{"type": "scan", "id": "a"}',), b"raw", "up")
    assert fault is not None
    assert fault.action == "cut"
    assert queue.copies("down") == []
    assert queue.copies("up") == [b"raw"]
    answer = queue.due((b'{"type": "ack", "id": "b", "of": "a"}',), b"", "down")
    assert answer is not None
    assert happened == ["cut", "repeat", "drop_answer"]
    later = queue.due((b'{"type": "scan", "id": "c"}',), b"raw", "up")
    assert later is not None
    assert later.action == "drop"


@given(cuts=st.lists(st.integers(1, 90), max_size=30), sizes=st.lists(st.integers(0, 400), min_size=1, max_size=4))
def test_a_stream_is_put_together_however_it_was_cut(cuts: list[int], sizes: list[int]) -> None:
    bodies = [bytes([n]) * size for n, size in enumerate(sizes)]
    message = b"".join(frame(body, more=n < len(bodies) - 1) for n, body in enumerate(bodies))
    command = b"\x04\x05\x04PING"
    stream = bytes(64) + command + message + message
    splitter, at, units = Splitter(), 0, []
    for size in [*cuts, len(stream)]:
        units += splitter.feed(stream[at : at + size])
        at += size
    assert b"".join(unit.raw for unit in units) == stream
    assert [unit.frames for unit in units if unit.frames] == [tuple(bodies)] * 2
    assert [unit.raw for unit in units if not unit.frames][-1] == command


def frame(body: bytes, *, more: bool) -> bytes:
    if len(body) > 255:
        return bytes([more | 2]) + len(body).to_bytes(8) + body
    return bytes([more, len(body)]) + body
