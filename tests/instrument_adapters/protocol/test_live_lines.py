"""Lines of a frame that is being recorded: joined, sent best effort, and never in the way of the scan."""

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.live_lines import LineBuffer, Lines
from instrument_adapters.protocol.messages import LinesMessage, Refused, ScanMessage
from instrument_adapters.scan import Scan
from tests.instrument_adapters.conftest import FAST

FRAME = Frame(size_fast_m=1e-6, size_slow_m=1e-6, rows=6, cols=4)


def lines(first_row: int, count: int = 1, scan_id: str = "s", dtype: type = np.float32) -> Lines:
    rows = np.arange(first_row, first_row + count, dtype=dtype)
    return Lines(scan_id, FRAME, {"A": "m"}, first_row, {"A": np.repeat(rows[:, None], 4, axis=1)})


class Ticks:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("order", [[0, 1, 2], [5, 4, 3], [2, 3, 1]])
def test_adjoining_lines_are_sent_as_one_message_once_the_pause_is_over(order: list[int]) -> None:
    ticks, sent = Ticks(), []
    buffer = LineBuffer(sent.append, 1.0, ticks)
    for number, row in enumerate(order, 1):
        ticks.now_s = number / 3
        buffer.add(lines(row))
    (together,) = sent
    assert together.first_row == min(order)
    assert together.channels["A"][:, 0].tolist() == sorted(order)
    ticks.now_s += 0.9
    buffer.add(lines(0))
    assert len(sent) == 1


@pytest.mark.parametrize("other", [lines(3), lines(1, scan_id="t"), replace(lines(1), channels={"B": lines(1).channels["A"]})])
def test_of_lines_that_do_not_adjoin_the_newest_are_sent(other: Lines) -> None:
    ticks, sent = Ticks(), []
    buffer = LineBuffer(sent.append, 1.0, ticks)
    buffer.add(lines(0))
    ticks.now_s = 1.0
    buffer.add(other)
    assert sent == [other]


@pytest.fixture
def streaming(new_instrument: type) -> Callable[..., object]:
    """An instrument that passes on one line of each of its scans and then calls `then`."""

    def make(then: Callable[[], None], dtype: type = np.float32) -> object:
        class Streaming(new_instrument):
            def scan_in_lines(self, on_lines: Callable[[Lines], None]) -> Scan:
                scan = self.scan()
                rows = {name: image[1:2].astype(dtype) for name, image in scan.channels.items()}
                on_lines(Lines(scan.scan_id, scan.frame, scan.units, 1, rows))
                then()
                return scan

        return Streaming()

    return make


def without_pause(client: Callable[..., object]) -> Callable[..., object]:
    """The client without a pause between messages with lines."""
    return lambda *args, **kwargs: client(*args, timings=replace(FAST, lines_s=0.0), **kwargs)


def test_lines_reach_the_agent_before_their_scan(agent, client, streaming) -> None:
    instrument = streaming(lambda: agent.wait_for(LinesMessage))
    report = without_pause(client)(instrument, agent.address, cycles=1)
    assert report.cycles == 1
    (shown,) = agent.got(LinesMessage)
    assert (shown.scan_id, shown.first_row, shown.arrays[0].shape) == ("s1", 1, (1, 1, 4))
    kinds = [m.type for m in agent.received if isinstance(m, LinesMessage | ScanMessage)]
    assert kinds == ["lines", "scan"]


def test_an_agent_that_refuses_lines_gets_no_more_of_them_and_the_cycles_continue(agent, client, streaming) -> None:
    def script(message):
        if isinstance(message, LinesMessage):
            refused.set()
            return [Refused(id="refused", sent_at=message.sent_at, of=message.id, code="bad_message", reason="unknown type")]
        return None

    refused = threading.Event()
    agent.script = script
    report = without_pause(client)(streaming(lambda: refused.wait(5)), agent.address, cycles=3)
    assert (report.cycles, report.results_ok, report.scans_refused) == (3, 6, 0)
    assert len(agent.got(LinesMessage)) == 1
    assert len(client.reported("lines_unwanted")) == 1
    assert not client.reported("refused")


def test_lines_that_cannot_be_sent_are_left_out_with_one_warning_and_the_scan_is_sent(agent, client, streaming) -> None:
    report = without_pause(client)(streaming(lambda: None, dtype=np.int16), agent.address, cycles=2)
    assert report.cycles == 2
    assert agent.got(LinesMessage) == []
    (event,) = client.reported("lines_left_out")
    assert "the wire carries float32 and float64 only" in event["sentence"]
