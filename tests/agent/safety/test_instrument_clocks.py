"""What time it is at an instrument."""

from datetime import timedelta

import pytest

from agent.safety.instrument_clocks import Clocks
from instrument_adapters.protocol import messages as wire
from tests.support.samples import NOW, hello, result, sample_scan, scan_message

LATER = NOW + timedelta(seconds=100)
Told = tuple[Clocks, list[float]]


@pytest.fixture
def told() -> Told:
    """Clocks, and our own time in a list of one."""
    ours = [0.0]
    return Clocks(lambda: ours[0]), ours


def test_an_instruments_clock_is_set_by_its_hello_and_goes_on_by_ours(told: Told) -> None:
    clocks, ours = told
    assert clocks.now("afm") is None
    clocks.heard("afm", hello().message)
    ours[0] = 7.5
    assert clocks.now("afm") == NOW + timedelta(seconds=7.5)
    assert clocks.now("another") is None
    clocks.heard("afm", hello().message)  # somebody has set it back
    assert clocks.now("afm") == NOW


def test_scans_and_results_say_that_it_is_not_earlier(told: Told) -> None:
    clocks, _ = told
    clocks.heard("afm", hello().message)
    clocks.heard("afm", scan_message(sample_scan(finished_at=LATER)).message)  # a simulated clock may hurry
    assert clocks.now("afm") == LATER
    for waited in (scan_message(sample_scan(finished_at=NOW)), scan_message(sample_scan()), result("r", measured_at=NOW)):
        clocks.heard("afm", waited.message)
        assert clocks.now("afm") == LATER
    clocks.heard("afm", result("r", measured_at=LATER + timedelta(hours=1)).message)
    assert clocks.now("afm") == LATER + timedelta(hours=1)


def test_when_something_else_was_sent_says_nothing_of_the_instruments_clock(told: Told) -> None:
    clocks, _ = told
    clocks.heard("afm", wire.Heartbeat(id="b", sent_at=LATER))
    assert clocks.now("afm") is None
