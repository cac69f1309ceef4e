"""Which instruments are connected, silent, or missing answers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.history.event_log import History
from agent.ledger.recorder import Recorder
from agent.messaging.presence import Presence
from instrument_adapters.protocol import messages as wire
from tests.support.samples import NOW, Clock, result, sample_scan, scan_message


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[tuple[Presence, list[float]]]:
    """Presence with a silence limit of 60 s, and our monotonic time in a list of one."""
    ours = [0.0]
    with History(tmp_path) as history:
        yield Presence(Recorder(history, Clock()), lambda _name: wire.Limits(points_max=7), 60.0, lambda: ours[0]), ours


def beat(unanswered: int = 0) -> wire.Heartbeat:
    return wire.Heartbeat(id="beat", sent_at=NOW, unanswered=unanswered)


def test_silence_counts_from_the_last_message_or_from_the_start(seen: tuple[Presence, list[float]]) -> None:
    presence, ours = seen
    ours[0] = 60.0
    assert not presence.is_silent("afm")
    ours[0] = 61.0
    assert presence.is_silent("afm")
    presence.heard("afm", beat())
    assert (presence.is_silent("afm"), presence.silent_s("afm")) == (False, 0.0)


def test_an_instrument_that_keeps_waiting_for_answers_is_asked_what_is_missing(seen: tuple[Presence, list[float]]) -> None:
    presence, _ = seen
    for unanswered in (1, 2):
        presence.heard("afm", beat(unanswered))
        assert not presence.misses_answers("afm")
    presence.heard("afm", wire.StatusMessage(id="s", sent_at=NOW, activity="waiting"))
    presence.heard("afm", beat(1))
    assert presence.misses_answers("afm")
    assert not presence.misses_answers("afm")  # reported once, then the instrument may respond
    assert not presence.misses_answers("another")


@pytest.mark.parametrize("message", [beat(0), scan_message(sample_scan()).message, result("r").message])
def test_any_other_message_shows_that_messages_arrive(seen: tuple[Presence, list[float]], message: wire.Message) -> None:
    presence, _ = seen
    for message_ in (beat(1), beat(1), message, beat(1), beat(1)):
        presence.heard("afm", message_)
    assert not presence.misses_answers("afm")


def test_an_instrument_is_connected_from_hello_to_goodbye_with_its_own_limits(seen: tuple[Presence, list[float]]) -> None:
    presence, _ = seen
    assert (presence.connected(), presence.is_connected("afm"), presence.limits("afm")) == ([], False, wire.Limits())
    presence.connect("afm")
    assert (presence.connected(), presence.responds("afm"), presence.limits("afm").points_max) == (["afm"], True, 7)
    presence.disconnect("afm")
    assert (presence.connected(), presence.responds("afm"), presence.limits("afm")) == ([], False, wire.Limits())
