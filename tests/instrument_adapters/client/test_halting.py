"""Emergency stop of instruments that can be halted: a waiting call ends at once, and no later call starts before `release`."""

import threading
import time

import numpy as np
import pytest

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import Biasing, Halting, Timed
from instrument_adapters.mfp3d.driver import MFP3D
from instrument_adapters.mfp3d.igor_commands import SAFE_COMMANDS
from instrument_adapters.mfp3d.igor_transport import IgorTransport
from instrument_adapters.protocol.messages import MeasurementRequest
from instrument_adapters.replay.instrument import RecordedScan, Replay
from instrument_adapters.replay.pacing import Pace
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.spectroscopy import SpectroscopyConfig
from simulators.sample.growth import grow_surface
from simulators.sample.surface import SurfaceConfig
from tests.instrument_adapters.mfp3d.test_driver import SETTINGS, Bench, at

SURFACE = SurfaceConfig(size_m=1.5e-6, pixels=128, superdomain_m=0.5e-6)
FRAME = Frame(size_fast_m=1e-6, size_slow_m=1e-6, x_offset_m=SURFACE.centre_x_m, y_offset_m=SURFACE.centre_y_m, rows=16, cols=16)
SMALL = MFP3DConfig(frame=FRAME, surface=SURFACE, charge_latency=False, spectroscopy=SpectroscopyConfig(failure_rate=0.0))


@pytest.fixture(scope="module")
def surface():
    return grow_surface(SURFACE, np.random.default_rng(0))


class Call:
    """A call of an instrument in a thread of its own."""

    def __init__(self, function, *arguments):
        self.error = None
        self._thread = threading.Thread(target=self._run, args=(function, arguments))
        self._thread.start()

    def _run(self, function, arguments):
        try:
            function(*arguments)
        except InstrumentFaultError as error:
            self.error = error

    def ended(self, within_s=5.0):
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the call did not end"
        return self.error


def replayed(speed):
    frame = Frame(size_fast_m=1e-6, size_slow_m=1e-6, rows=4, cols=4)
    scan = Scan({"Amplitude": np.zeros((4, 4), np.float32)}, {}, frame, "s1")
    return Replay([lambda: RecordedScan(scan, line_s=3600.0)], pace=Pace(speed))


@pytest.mark.parametrize("kind", ["replay", "simulated"])
def test_a_scan_that_waits_ends_at_once_and_after_a_release_the_instrument_works_again(surface, kind):
    simulated = SimulatedMFP3D(SMALL, clock=SimulatedClock(1.0), surface=surface)
    instrument = simulated if kind == "simulated" else replayed(1.0)
    assert isinstance(instrument, Halting)
    assert isinstance(instrument, Timed)
    call = Call(instrument.scan)
    time.sleep(0.1)
    before = time.monotonic()
    instrument.halt()
    assert "halted" in str(call.ended())
    assert time.monotonic() - before < 30  # otherwise an hour
    for _ in range(2):
        with pytest.raises(InstrumentFaultError, match="halted"):
            instrument.scan()
    instrument.release()
    again = Call(instrument.scan)
    time.sleep(0.1)
    instrument.close()
    assert "stopped" in str(again.ended()), "it did not scan again after the release"


def test_a_halted_simulated_loop_is_aborted_with_the_tip_withdrawn_and_the_next_one_is_measured(surface):
    instrument = SimulatedMFP3D(SMALL, surface=surface)
    instrument.scan()
    frame = SMALL.frame
    point = {"row": 0, "col": 0, "cluster": 0, "rank": 0, "core_distance": 0.0}
    here = MeasurementRequest(request_id="a", x_m=frame.x_offset_m, y_m=frame.y_offset_m, **point)
    there = MeasurementRequest(request_id="b", x_m=frame.x_offset_m + 3e-7, y_m=frame.y_offset_m, **point)
    advance = instrument.clock.advance

    def halting(seconds):
        if seconds > 5:  # the loop itself
            instrument.clock.halt()
        advance(seconds)

    instrument.clock.advance = halting
    with pytest.raises(InstrumentFaultError, match="halted"):
        instrument.measure(here)
    instrument.clock.advance = advance
    assert not instrument.controller.withdrawn
    instrument.halt()
    assert instrument.controller.withdrawn
    assert instrument.controller._task is None
    instrument.release()
    instrument.scan()
    assert not instrument.controller.withdrawn
    assert isinstance(instrument.measure(there).parameters, dict)


def test_a_simulated_instrument_tells_its_bias_and_its_time(surface):
    instrument = SimulatedMFP3D(SMALL, surface=surface)
    assert isinstance(instrument, Biasing)
    assert instrument.bias_V == SMALL.spectroscopy.bias_max_V
    instrument.scan()
    assert instrument.now() == instrument.clock.now()


def test_the_driver_sends_the_safe_commands_and_no_set_point_after_a_halt(tmp_path):
    bench = Bench(tmp_path)
    driver = MFP3D(SETTINGS, bench)
    assert (driver.bias_V, driver.now().tzinfo is not None) == (8.5, True)
    begun = len(bench.commands)
    bench.on_sleep = lambda: setattr(bench, "halted", True)
    with pytest.raises(InstrumentFaultError, match="halted"):
        driver.measure(at(-2e-6, -6e-6))
    bench.on_sleep = lambda: None
    driver.halt()
    assert bench.commands[begun:][-2:] == list(SAFE_COMMANDS)
    assert not any("Setpoint" in text or "SingleForce" in text for text in bench.commands[begun:])
    driver.release()
    driver.measure(at(-2e-6, -6e-6))
    assert "SingleForce" in bench.commands[-1]


def test_a_call_that_hangs_in_the_controllers_software_does_not_block_the_stop(tmp_path, monkeypatch):
    monkeypatch.setattr("instrument_adapters.mfp3d.driver._CALL_ENDS_WITHIN_S", 0.05)
    bench, hangs = Bench(tmp_path), threading.Event()
    driver = MFP3D(SETTINGS, bench)
    bench.on_sleep = lambda: hangs.wait(5)
    call = Call(driver.measure, at(-2e-6, -6e-6))
    time.sleep(0.05)
    driver.halt()
    assert bench.commands[-2:] == list(SAFE_COMMANDS)
    hangs.set()
    assert "halted" in str(call.ended())


def test_igor_gets_only_the_safe_commands_while_halted_and_a_sleep_ends(tmp_path):
    heard = []
    way = IgorTransport(tmp_path / "Igor.exe", tmp_path, tmp_path)
    way._send = heard.append
    sleeper = Call(way.sleep, 60.0)
    way.halt()
    assert "halted" in str(sleeper.ended())
    for refused in (lambda: way.execute("PV()"), lambda: way.read("GV()"), lambda: way.sleep(0.0)):
        with pytest.raises(InstrumentFaultError, match="halted"):
            refused()
    for text in SAFE_COMMANDS:
        way.execute(text)
    way.release()
    way.sleep(0.0)
    way.execute("PV()")
    assert heard == [*SAFE_COMMANDS, "PV()"]
    way.close()
    way.release()
    with pytest.raises(InstrumentFaultError, match="closed"):
        way.sleep(0.0)
