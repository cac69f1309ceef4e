"""Partial frames: which lines the agent keeps, and which it drops or refuses."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from agent.history.event_log import History
from agent.messaging import partial_frames
from agent.messaging.dispatcher import Dispatcher
from agent.messaging.partial_frames import BYTES_MAX
from instrument_adapters.errors import ProtocolError
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, lines_packet
from instrument_adapters.protocol.live_lines import Lines
from tests.support.samples import FRAME, NOW, Clock, hello, over_the_wire, packet, sample_scan, scan_message


def lines(first_row: int = 0, rows: int = 1, scan_id: str = "scan-1", value: float = 1.0, frame: Frame = FRAME) -> Packet:
    part = {"Amplitude": np.full((rows, frame.cols), value, np.float32)}
    message = wire.Heartbeat(id=f"lines-{first_row}", sent_at=NOW)
    return over_the_wire(lines_packet(Lines(scan_id, frame, {"Amplitude": "m"}, first_row, part), message))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dispatcher(tmp_path: Path, clock: Clock):
    with History(tmp_path) as history:
        dispatcher = Dispatcher(history, "run-1", clock)
        dispatcher.on_packet("afm-1", hello())
        yield dispatcher


def test_lines_fill_a_frame_and_are_neither_answered_nor_recorded(dispatcher: Dispatcher) -> None:
    events = len(dispatcher.history)
    assert dispatcher.on_packet("afm-1", lines(2, value=3.0)) is None
    assert dispatcher.on_packet("afm-1", lines(1, value=2.0)) is None
    part = dispatcher.partial_frames.newest("afm-1")
    assert part.scan_id == "scan-1"
    assert part.recorded.tolist() == [False, True, True]
    assert np.isnan(part.values[0, 0]).all()
    assert part.values[0, 1:, 0].tolist() == [2.0, 3.0]
    assert len(dispatcher.history) == events
    assert dispatcher.ledger.undecided("afm-1") is None


def test_a_new_frame_takes_the_place_of_the_one_before(dispatcher: Dispatcher) -> None:
    dispatcher.on_packet("afm-1", lines(0))
    dispatcher.on_packet("afm-1", lines(2, scan_id="scan-2"))
    part = dispatcher.partial_frames.newest("afm-1")
    assert (part.scan_id, part.recorded.tolist()) == ("scan-2", [False, False, True])


def test_each_instrument_has_a_frame_of_its_own(dispatcher: Dispatcher) -> None:
    dispatcher.on_packet("afm-2", hello("afm-2"))
    dispatcher.on_packet("afm-1", lines(0))
    assert dispatcher.partial_frames.newest("afm-2") is None


def test_a_complete_frame_is_forgotten_and_lines_after_its_scan_are_ignored(dispatcher: Dispatcher) -> None:
    dispatcher.on_packet("afm-1", lines(0))
    dispatcher.on_packet("afm-1", scan_message(sample_scan("scan-1")))
    assert dispatcher.partial_frames.newest("afm-1") is None
    assert dispatcher.on_packet("afm-1", lines(1)) is None
    assert dispatcher.partial_frames.newest("afm-1") is None


def test_the_frame_of_an_instrument_that_leaves_is_forgotten(dispatcher: Dispatcher) -> None:
    dispatcher.on_packet("afm-1", lines(0))
    dispatcher.on_packet("afm-1", packet(wire.Bye(id="bye-1", sent_at=NOW)))
    assert dispatcher.partial_frames.newest("afm-1") is None


def test_lines_that_come_too_fast_are_dropped(dispatcher: Dispatcher, clock: Clock) -> None:
    dispatcher.on_packet("afm-1", lines(0))
    clock.time -= timedelta(seconds=0.98)  # each reading of the clock is a second later
    dispatcher.on_packet("afm-1", lines(1))
    assert dispatcher.partial_frames.newest("afm-1").recorded.tolist() == [True, False, False]
    dispatcher.on_packet("afm-1", lines(1))
    assert dispatcher.partial_frames.newest("afm-1").recorded.tolist() == [True, True, False]


def test_a_frame_that_would_fill_the_memory_is_refused(dispatcher: Dispatcher) -> None:
    huge = FRAME.model_copy(update={"rows": 65536, "cols": 4096})
    with pytest.raises(ProtocolError, match=f"at most {BYTES_MAX} are accepted"):
        dispatcher.on_packet("afm-1", lines(0, frame=huge))
    assert dispatcher.partial_frames.newest("afm-1") is None


def test_lines_before_hello_are_refused(dispatcher: Dispatcher) -> None:
    with pytest.raises(ProtocolError, match="has not said hello"):
        dispatcher.on_packet("afm-9", lines(0))


@pytest.mark.attack("many names announce frames of 128 MiB each", promise="all partial frames together have a bound")
def test_all_frames_together_have_a_bound_and_the_oldest_makes_room(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_frames, "TOTAL_BYTES_MAX", 2 * 4 * FRAME.rows * FRAME.cols)
    names = [f"afm-{number}" for number in range(1, 6)]
    for name in names:
        dispatcher.on_packet(name, hello(name))
        dispatcher.on_packet(name, lines(0))
        if name == "afm-2":
            dispatcher.on_packet("afm-1", lines(1))  # now afm-2 was updated longest ago
    kept = [name for name in names if dispatcher.partial_frames.newest(name) is not None]
    assert kept == ["afm-4", "afm-5"]
    assert sum(dispatcher.partial_frames.newest(name).values.nbytes for name in kept) <= partial_frames.TOTAL_BYTES_MAX


def test_of_large_blocks_of_lines_fewer_are_taken(dispatcher: Dispatcher, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_frames, "_BYTES_PER_S", 4 * FRAME.cols / 10)  # one line in ten seconds
    for row in range(3):
        dispatcher.on_packet("afm-1", lines(row))
    assert dispatcher.partial_frames.newest("afm-1").recorded.tolist() == [True, False, False]
    clock.time += timedelta(seconds=10)
    dispatcher.on_packet("afm-1", lines(2))
    assert dispatcher.partial_frames.newest("afm-1").recorded.tolist() == [True, False, True]


def test_frames_do_not_begin_in_a_flood(dispatcher: Dispatcher, clock: Clock) -> None:
    dispatcher.on_packet("afm-2", hello("afm-2"))
    dispatcher.on_packet("afm-1", lines(0))
    clock.time -= timedelta(seconds=0.9)
    dispatcher.on_packet("afm-2", lines(0))
    assert dispatcher.partial_frames.newest("afm-2") is None
    dispatcher.on_packet("afm-2", lines(1))
    assert dispatcher.partial_frames.newest("afm-2").recorded.tolist() == [False, True, False]
