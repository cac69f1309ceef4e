"""Who is there, and who waits in vain."""

import pytest

from agent.messaging.presence import Presence
from instrument_adapters.protocol import messages as wire
from tests.support.samples import NOW, result, sample_scan, scan_message


@pytest.fixture
def seen() -> tuple[Presence, list[float]]:
    """Silence counts from 60 s on; our own time is in a list of one."""
    ours = [0.0]
    return Presence(60.0, lambda: ours[0]), ours


def beat(unanswered: int = 0) -> wire.Heartbeat:
    return wire.Heartbeat(id="beat", sent_at=NOW, unanswered=unanswered)


def test_silence_counts_from_the_last_message_or_from_the_start(seen: tuple[Presence, list[float]]) -> None:
    presence, ours = seen
    ours[0] = 60.0
    assert not presence.silent("afm")
    ours[0] = 61.0
    assert presence.silent("afm")
    presence.heard("afm", beat())
    assert (presence.silent("afm"), presence.silent_s("afm")) == (False, 0.0)


def test_an_instrument_that_keeps_waiting_for_answers_is_asked_what_is_missing(seen: tuple[Presence, list[float]]) -> None:
    presence, _ = seen
    for unanswered in (1, 2):
        presence.heard("afm", beat(unanswered))
        assert not presence.misses_answers("afm")
    presence.heard("afm", wire.StatusMessage(id="s", sent_at=NOW, activity="waiting"))
    presence.heard("afm", beat(1))
    assert presence.misses_answers("afm")
    assert not presence.misses_answers("afm")  # asked once, then it may answer
    assert not presence.misses_answers("another")


@pytest.mark.parametrize("message", [beat(0), scan_message(sample_scan()).message, result("r").message])
def test_whatever_arrives_of_it_shows_that_messages_come_through(
    seen: tuple[Presence, list[float]], message: wire.Message
) -> None:
    presence, _ = seen
    for said in (beat(1), beat(1), message, beat(1), beat(1)):
        presence.heard("afm", said)
    assert not presence.misses_answers("afm")
