"""What time it is at an instrument."""

from datetime import timedelta

import pytest

from agent.clocks import Clocks, scan_end
from tests.agent.samples import NOW

LATER = NOW + timedelta(seconds=100)


@pytest.fixture
def clocks() -> tuple[Clocks, list[float]]:
    """Clocks, and our own time in a list of one."""
    ours = [0.0]
    return Clocks(lambda: ours[0]), ours


def test_an_instruments_clock_goes_on_by_ours_between_its_messages(clocks: tuple[Clocks, list[float]]) -> None:
    told, ours = clocks
    assert told.now("afm") is None
    told.heard("afm", NOW, fresh=True)
    ours[0] = 7.5
    assert told.now("afm") == NOW + timedelta(seconds=7.5)
    assert told.now("another") is None


def test_what_has_waited_never_sets_the_clock_back_but_what_is_fresh_does(clocks: tuple[Clocks, list[float]]) -> None:
    told, _ = clocks
    told.heard("afm", LATER, fresh=True)
    told.heard("afm", NOW, fresh=False)
    assert told.now("afm") == LATER
    told.heard("afm", LATER + timedelta(days=1), fresh=False)  # an event-driven simulation may hurry
    assert told.now("afm") == LATER + timedelta(days=1)
    told.heard("afm", NOW, fresh=True)  # somebody set the clock
    assert told.now("afm") == NOW


@pytest.mark.parametrize(
    ("finished_at", "end"),
    [
        (None, LATER),
        (NOW, NOW),
        (LATER - timedelta(days=29), LATER - timedelta(days=29)),
        (LATER + timedelta(seconds=1), LATER),
        (LATER - timedelta(days=300), LATER),  # a simulated or recorded time
        (LATER + timedelta(days=300), LATER),
    ],
)
def test_a_scan_ended_when_it_says_unless_that_is_by_another_clock(finished_at: object, end: object) -> None:
    assert scan_end(LATER, finished_at) == end
