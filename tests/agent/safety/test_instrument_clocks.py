"""Clock times at instruments, inferred from their messages."""

from datetime import timedelta

import pytest

from agent.safety.instrument_clocks import InstrumentClocks
from instrument_adapters.protocol import messages as wire
from tests.support.samples import NOW, hello, result, sample_scan, scan_message

LATER = NOW + timedelta(seconds=100)
ClocksAndTime = tuple[InstrumentClocks, list[float]]


@pytest.fixture
def clocks_and_time() -> ClocksAndTime:
    """Instrument clocks, and our monotonic time in a list of one."""
    ours = [0.0]
    return InstrumentClocks(lambda: ours[0]), ours


def test_an_instruments_clock_is_set_by_its_hello_and_goes_on_by_ours(clocks_and_time: ClocksAndTime) -> None:
    clocks, ours = clocks_and_time
    assert clocks.now("afm") is None
    clocks.heard("afm", hello().message)
    ours[0] = 7.5
    assert clocks.now("afm") == NOW + timedelta(seconds=7.5)
    assert clocks.now("another") is None
    clocks.heard("afm", hello().message)  # an operator has set it back
    assert clocks.now("afm") == NOW


def test_scans_and_results_say_that_it_is_not_earlier(clocks_and_time: ClocksAndTime) -> None:
    clocks, _ = clocks_and_time
    clocks.heard("afm", hello().message)
    clocks.heard("afm", scan_message(sample_scan(finished_at=LATER)).message)  # a simulated clock may run fast
    assert clocks.now("afm") == LATER
    for delayed in (scan_message(sample_scan(finished_at=NOW)), scan_message(sample_scan()), result("r", measured_at=NOW)):
        clocks.heard("afm", delayed.message)
        assert clocks.now("afm") == LATER
    ahead = result("r", measured_at=LATER + timedelta(hours=1)).message
    clocks.heard("afm", ahead)
    assert clocks.now("afm") == LATER, "no measurement is later than its result"
    clocks.heard("afm", ahead.model_copy(update={"sent_at": LATER + timedelta(hours=1)}))
    assert clocks.now("afm") == LATER + timedelta(hours=1)


def test_the_send_time_of_other_messages_is_not_by_the_instruments_clock(clocks_and_time: ClocksAndTime) -> None:
    clocks, _ = clocks_and_time
    clocks.heard("afm", wire.Heartbeat(id="b", sent_at=LATER))
    assert clocks.now("afm") is None
