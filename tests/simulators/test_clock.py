import threading
from datetime import timedelta

import pytest

from instrument_adapters.errors import InstrumentFaultError
from simulators.clock import EPOCH, SimulatedClock
from simulators.errors import InterruptedWaitError


class Wall:
    """A wall clock that advances only during sleep or when a test sets it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def wall() -> Wall:
    return Wall()


def make_clock(wall: Wall, speed: float | None, stop: threading.Event | None = None) -> SimulatedClock:
    return SimulatedClock(speed, stop=stop, sleep=wall.sleep, wall=wall)


def test_an_event_driven_clock_waits_for_nothing(wall: Wall) -> None:
    clock = make_clock(wall, None)
    clock.advance(86_400.0)
    assert wall.slept == []
    assert clock.now() == EPOCH + timedelta(days=1)
    assert clock.now().tzinfo is not None


@pytest.mark.parametrize(("speed", "waits"), [(1.0, 30.0), (60.0, 0.5)])
def test_a_clock_of_speed_n_waits_for_an_nth_of_the_time(wall: Wall, speed: float, waits: float) -> None:
    clock = make_clock(wall, speed)
    clock.advance(30.0)
    assert sum(wall.slept) == pytest.approx(waits)
    assert clock.elapsed_s == 30.0


def test_the_time_that_computing_takes_is_not_waited_for_again(wall: Wall) -> None:
    clock = make_clock(wall, 1.0)
    clock.advance(10.0)
    wall.now += 4.0
    clock.advance(10.0)
    assert wall.slept == pytest.approx([10.0, 6.0])


@pytest.mark.parametrize(("speed", "charged"), [(None, 5.0), (1.0, 5.0), (60.0, 300.0)])
def test_the_agents_thinking_is_charged_and_not_waited_for(wall: Wall, speed: float | None, charged: float) -> None:
    clock = make_clock(wall, speed)
    clock.advance(60.0)
    slept = list(wall.slept)
    wall.now += 5.0
    clock.charge_wall_time(5.0)
    assert clock.elapsed_s == pytest.approx(60.0 + charged)
    assert wall.slept == slept
    clock.advance(60.0)
    assert sum(wall.slept) == pytest.approx(0 if speed is None else 120.0 / speed)


def test_a_stopped_clock_refuses_to_go_on_in_every_mode(wall: Wall) -> None:
    for speed in (None, 1.0):
        clock = make_clock(wall, speed)
        clock.stop()
        with pytest.raises(InterruptedWaitError):
            clock.advance(1.0)


def test_an_event_set_during_a_wait_ends_it_with_a_fault(wall: Wall) -> None:
    stop = threading.Event()
    clock = SimulatedClock(1.0, stop=stop, sleep=lambda _: stop.set(), wall=wall)
    with pytest.raises(InstrumentFaultError, match="stopped"):
        clock.advance(3600.0)


def test_another_thread_wakes_a_real_wait_at_once() -> None:
    clock = SimulatedClock(1.0)
    faults: list[Exception] = []

    def wait() -> None:
        try:
            clock.advance(3600.0)
        except InterruptedWaitError as fault:
            faults.append(fault)

    waiting = threading.Thread(target=wait)
    waiting.start()
    clock.stop()
    waiting.join(timeout=10)
    assert not waiting.is_alive()
    assert len(faults) == 1


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_speed_that_makes_no_sense_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        SimulatedClock(speed)


def test_time_does_not_run_backwards(wall: Wall) -> None:
    clock = make_clock(wall, None)
    for move in (clock.advance, clock.charge_wall_time):
        for seconds in (-1.0, float("nan")):
            with pytest.raises(ValueError, match="not negative"):
                move(seconds)
