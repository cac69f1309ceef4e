"""The driver with a minimal controller: what it sends, what it confirms, and what it refuses."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.errors import InstrumentFaultError, LimitError
from instrument_adapters.geometry import Frame
from instrument_adapters.mfp3d.driver import MFP3D
from instrument_adapters.mfp3d.igor_commands import SAFE_COMMANDS, decimation, quantised_rate_Hz, read_sensor
from instrument_adapters.mfp3d.settings import LoopSettings, MFP3DSettings
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan
from simulators.controller.ibw import encode_curves, encode_ibw

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRAME = Frame(size_fast_m=5e-6, size_slow_m=5e-6, x_offset_m=-2.6e-6, y_offset_m=-6.1e-6, rows=16, cols=16)
SETTINGS = MFP3DSettings(instrument_id="afm", frame=FRAME, scan_rate_Hz=1.0, centre_Hz=371e3, loop=LoopSettings(frequency_Hz=0.1))
CALIBRATION = {"XLVDTSens": -8e-6, "YLVDTSens": 8.1e-6, "XLVDTOffset": 0.21, "YLVDTOffset": -1.16}
PUT = re.compile(r'(?:PV|td_WriteValue)\("(.+)",(.+)\)')
FIELD = re.compile(r'ARExecuteControl\("(\w+?)Set[Vv]ar(?:_\d)?","\w+",(.+),""\)')
BIAS_V = np.array([0.0, 8.5, 0.0, -8.5])


class Bench:
    """A `Transport` that executes commands at once, except for keys that it is set to ignore."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values = {**CALIBRATION, "PIDSLoop.0.Setpoint": 0.0, "PIDSLoop.1.Setpoint": 0.0}
        self.commands: list[str] = []
        self.ignored: set[str] = set()
        self.stiff = False
        self.seconds = 0.0
        self.frame = FRAME
        self.saved = 0
        self.saves = True
        self.closes_at_s = np.inf
        self.halted = False
        self.on_sleep = lambda: None
        self.late: bytes | None = None

    def execute(self, text: str) -> None:
        if self.halted and text not in SAFE_COMMANDS:
            raise InstrumentFaultError("halted")
        self.commands.append(text)
        self.seconds += 0.35
        if found := PUT.fullmatch(text) or FIELD.fullmatch(text):
            self._put(found[1], float(found[2]))
        elif "Scan_0" in text and "Stop" not in text:
            self._save(encode_ibw(Scan({"HeightRetrace": np.ones((16, 16), np.float32)}, {}, self.frame, "s", finished_at=NOW)))
        elif "SingleForce" in text:
            self._save(encode_curves({"Amp": np.abs(BIAS_V) * 1e-12, "Phase": 0 * BIAS_V, "Bias": BIAS_V}, {}, NOW))

    def read(self, expression: str) -> float:
        self.seconds += 0.35
        (key,) = re.findall(r'"(.*)"', expression)
        if key.endswith("Sensor"):
            key = f"PIDSLoop.{'XY'.index(key[0])}.Setpoint"
        return self.values.get(key, np.nan)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.on_sleep()
        if self.halted:
            raise InstrumentFaultError("halted")
        if seconds > 0 and self.late is not None:
            (self.folder / "late.ibw").write_bytes(self.late)
            self.late = None
        if self.seconds > self.closes_at_s:
            raise InstrumentFaultError("closed")

    def elapsed_s(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW

    def halt(self) -> None:
        self.halted = True

    def release(self) -> None:
        self.halted = False

    def close(self) -> None:
        self.closes_at_s = 0.0

    def _put(self, key: str, value: float) -> None:
        if key not in self.ignored and not (self.stiff and "Setpoint" in key):
            self.values[key] = value

    def _save(self, raw: bytes) -> None:
        if self.saves:
            self.saved += 1
            (self.folder / f"file{self.saved:04d}.ibw").write_bytes(raw)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def at(x_m: float, y_m: float) -> MeasurementRequest:
    return MeasurementRequest(request_id="r", x_m=x_m, y_m=y_m, row=0, col=0, cluster=0, rank=0, core_distance=0.0)


def settings(**changes: object) -> MFP3DSettings:
    return MFP3DSettings.model_validate({**dict(SETTINGS), **changes})


def test_everything_is_set_and_the_points_before_the_rate(bench: Bench) -> None:
    MFP3D(SETTINGS, bench)
    assert {key: bench.values[key] for key in ("ScanSize", "XOffset", "YOffset", "ScanAngle", "FastRatio", "SlowRatio")} == {
        "ScanSize": 5e-6,
        "XOffset": -2.6e-6,
        "YOffset": -6.1e-6,
        "ScanAngle": 0.0,
        "FastRatio": 1.0,
        "SlowRatio": 1.0,
    }
    assert {bench.values[key] for key in ("PointsLines", "ScanPoints", "ScanLines")} == {16}
    assert (bench.values["ARDoIVAmp"], bench.values["DriveAmplitude"], bench.values["ARDoIVFrequency"]) == (8.5, 3.0, 0.1)
    assert bench.commands.index('PV("ScanLines",16.0)') < bench.commands.index('PV("ScanRate",1.0)')
    assert not any("Scan_0" in text or "Setpoint" in text for text in bench.commands), "nothing moves"


@pytest.mark.parametrize("key", ["ScanSize", "XOffset", "PointsLines", "ARDoIVAmp", "DFRTFrequencyCenter"])
def test_a_setting_that_is_rejected_in_silence_is_noticed_and_told_in_one_sentence(bench: Bench, key: str) -> None:
    bench.ignored = {key}
    with pytest.raises(InstrumentFaultError, match=f"^{key} was set to .* reads back nan: the controller rejected the command"):
        MFP3D(SETTINGS, bench)


@pytest.mark.slow
def test_an_offset_may_be_off_by_a_pixel_and_no_more(bench: Bench) -> None:
    bench.ignored = {"XOffset"}
    bench.values["XOffset"] = FRAME.x_offset_m + 0.99 * FRAME.pitch_m[1]
    MFP3D(SETTINGS, bench)
    bench.values["XOffset"] = FRAME.x_offset_m + 1.01 * FRAME.pitch_m[1]
    with pytest.raises(InstrumentFaultError, match="XOffset"):
        MFP3D(SETTINGS, bench)


def test_a_rate_is_confirmed_up_to_its_quantisation(bench: Bench) -> None:
    # 50 kHz / 195 = 256.41 samples a second: the rate of a real file.
    assert decimation(0.4, 256) == 195
    assert quantised_rate_Hz(0.4, 256) == 0.40064
    assert decimation(1e6, 256) == 1
    bench.ignored = {"ScanRate"}
    bench.values["ScanRate"] = quantised_rate_Hz(1.0, 16)
    MFP3D(SETTINGS, bench)
    bench.values["ScanRate"] = 0.9
    with pytest.raises(InstrumentFaultError, match="ScanRate"):
        MFP3D(SETTINGS, bench)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"frame": FRAME.model_copy(update={"x_offset_m": 42.6e-6})}, "extends from x = 40.100 to 45.100 um"),
        ({"frame": FRAME.model_copy(update={"y_offset_m": -42.6e-6})}, "extends from y = -45.100"),
        ({"frame": FRAME.model_copy(update={"x_offset_m": 42.4e-6, "angle_rad": 0.5})}, "stage's range is"),
        ({"scan_rate_Hz": 1.7}, "21.3 um/s, at most 20.0 um/s is allowed"),
        ({"drive_V": 3.01}, "drive amplitude is set to 3.01 V, at most 3 V is allowed"),
        ({"loop": LoopSettings(bias_max_V=10.5)}, "tip bias is set to 10.5 V, at most 10 V is allowed"),
        ({"limits": Limits(bias_max_V=5.0)}, "tip bias is set to 8.5 V, at most 5 V is allowed"),
    ],
)
def test_what_lies_outside_the_limits_is_refused_before_a_word_is_said(
    bench: Bench, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(LimitError, match=says):
        MFP3D(settings(**changes), bench)
    assert bench.commands == []


def test_a_frame_on_the_border_of_the_range_is_allowed(bench: Bench) -> None:
    border = FRAME.model_copy(update={"x_offset_m": 42.5e-6})
    MFP3D(settings(frame=border), bench)
    assert bench.values["XOffset"] == 42.5e-6


@pytest.mark.slow
@pytest.mark.parametrize(("scan_down", "button"), [(True, "DownScan_0"), (False, "UpScan_0")])
def test_a_scan_is_the_new_file_and_the_scanner_is_stopped_afterwards(bench: Bench, scan_down: bool, button: str) -> None:
    driver = MFP3D(settings(scan_down=scan_down, sample_id="film"), bench)
    (bench.folder / "older.ibw").write_bytes(b"whatever lies there")
    begun = len(bench.commands)
    scan = driver.scan()
    assert [re.search(r"\w+Scan_0", text)[0] for text in bench.commands[begun:]] == [button, "StopScan_0"]  # type: ignore[index]
    assert scan.scan_id.startswith("file0001-")
    assert (scan.sample_id, scan.finished_at) == ("film", NOW)
    assert (driver.instrument_id, driver.limits) == ("afm", Limits())


def test_a_frame_that_never_comes_fails_at_the_deadline_and_the_scan_is_stopped(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    bench.saves = False
    begun = bench.seconds
    with pytest.raises(InstrumentFaultError, match="no complete frame 92 s after the command: no new file appeared"):
        driver.scan()
    assert bench.seconds - begun == pytest.approx(2 * 16 + 60, abs=1.0)
    assert "StopScan_0" in bench.commands[-1]


def test_a_loop_that_is_saved_late_is_not_taken_for_a_frame(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    bench.saves = False
    with pytest.raises(InstrumentFaultError, match="no complete loop 80 s after the command"):
        driver.measure(at(-2e-6, -6e-6))
    bench.late = encode_curves({"Amp": BIAS_V, "Phase": BIAS_V, "Bias": BIAS_V}, {}, NOW)
    with pytest.raises(
        InstrumentFaultError, match=r"no complete frame .* late\.ibw holds an array of another kind, of shape \(4, 3\)"
    ):
        driver.scan()
    bench.saves = True
    assert driver.scan().scan_id.startswith("file0001-")


def test_closing_ends_the_wait_and_stops_the_scan(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    bench.closes_at_s = bench.seconds + 5
    with pytest.raises(InstrumentFaultError, match="closed"):
        driver.scan()
    assert "DownScan_0" in bench.commands[-2]
    assert "StopScan_0" in bench.commands[-1]


def test_a_closed_instrument_begins_nothing(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    begun = len(bench.commands)
    driver.close()
    for work in (driver.scan, lambda: driver.measure(at(-2e-6, -6e-6))):
        with pytest.raises(InstrumentFaultError, match="closed"):
            work()
    assert len(bench.commands) == begun


def test_a_folder_that_is_not_there_is_told_before_the_scan_begins(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    bench.folder = bench.folder / "nowhere"
    with pytest.raises(InstrumentFaultError, match="nowhere cannot be read"):
        driver.scan()
    assert not any("DownScan" in text for text in bench.commands)


def test_a_frame_of_another_place_or_size_is_refused(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    bench.frame = FRAME.model_copy(update={"x_offset_m": FRAME.x_offset_m + 0.9 * FRAME.pitch_m[1]})
    driver.scan()
    bench.frame = FRAME.model_copy(update={"x_offset_m": 0.0})
    with pytest.raises(InstrumentFaultError, match=r"file0002\.ibw lies 2600 nm from the frame that was set"):
        driver.scan()


def test_the_tip_is_sent_in_volts_and_the_loop_is_what_the_file_holds(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench, analyse=lambda bias, _: {"steps": float(len(bias))})
    loop = driver.measure(at(-2e-6, -6e-6))
    assert bench.values["PIDSLoop.0.Setpoint"] == pytest.approx(-2 / 8 + 0.21)
    assert bench.values["PIDSLoop.1.Setpoint"] == pytest.approx(-6 / 8.1 - 1.16)
    np.testing.assert_allclose(loop.arrays["response"], [0, 8.5, 0, 8.5], rtol=1e-6)
    np.testing.assert_array_equal(loop.arrays["bias_V"], BIAS_V)
    assert (loop.x_m, loop.y_m, loop.measured_at, loop.parameters) == (-2e-6, -6e-6, NOW, {"steps": 4.0})


def test_a_tip_that_does_not_follow_measures_nothing(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    bench.stiff = True
    with pytest.raises(InstrumentFaultError, match="read-back is frozen or the command was rejected; nothing was measured"):
        driver.measure(at(-2e-6, -6e-6))
    assert not any("SingleForce" in text for text in bench.commands)


def test_a_way_of_more_than_the_speed_allows_for_one_command_is_gone_in_steps(bench: Bench) -> None:
    slow = settings(speed_max_m_per_s=12.5e-6)
    driver = MFP3D(slow, bench)
    bench.values["PIDSLoop.0.Setpoint"] = 20e-6 / 8e-6 + 0.21
    begun = len(bench.commands)
    driver.measure(at(-2e-6, -6e-6))
    volts = [float(text.split(",")[1][:-1]) for text in bench.commands[begun:] if "PIDSLoop.0" in text]
    way_m = np.abs(np.diff([20e-6, *((v - 0.21) * 8e-6 for v in volts)]))
    assert way_m.sum() == pytest.approx(22e-6)
    assert way_m.max() <= 12.5e-6 * 0.35


def test_the_probe_is_tuned_before_the_first_loop_and_after_every_third(bench: Bench) -> None:
    driver = MFP3D(settings(retune_every=3), bench)
    for col in range(7):
        driver.measure(at(-4e-6 + col * 0.4e-6, -6e-6))
    order = ["tune" if "DoTune" in text else "loop" for text in bench.commands if "DoTune" in text or "SingleForce" in text]
    assert order == ["tune", *["loop"] * 3, "tune", *["loop"] * 3, "tune", "loop"]


def test_a_resonance_far_off_is_a_fault(bench: Bench) -> None:
    driver = MFP3D(SETTINGS, bench)
    bench.values["DFRTFrequencyCenter"] = 200e3
    with pytest.raises(InstrumentFaultError, match=r"contact resonance of 200\.0 kHz where about 371\.0 kHz"):
        driver.measure(at(-2e-6, -6e-6))


def test_points_outside_too_near_or_too_many_are_refused_and_nothing_moves(bench: Bench) -> None:
    driver = MFP3D(settings(limits=Limits(points_max=2)), bench)
    begun = len(bench.commands)
    for bad, says in ((at(46e-6, 0), "stage's range"), (at(0.0, -6e-6), "outside the scanned frame")):
        with pytest.raises(LimitError, match=says):
            driver.measure(bad)
    assert len(bench.commands) == begun
    driver.measure(at(-2e-6, -6e-6))
    with pytest.raises(LimitError, match="99 nm from one measured since the last scan, 100 nm are needed"):
        driver.measure(at(-2e-6, -6e-6 + 99e-9))
    driver.measure(at(-2e-6, -6e-6 + 101e-9))
    with pytest.raises(LimitError, match="2 points were measured since the last scan, 2 are allowed"):
        driver.measure(at(-3e-6, -6e-6))
    driver.scan()
    driver.measure(at(-3e-6, -6e-6))


def test_a_controller_without_a_calibration_is_a_fault(bench: Bench) -> None:
    del bench.values["YLVDTSens"]
    with pytest.raises(InstrumentFaultError, match="gives YLVDTSens as nan"):
        MFP3D(SETTINGS, bench)


@pytest.mark.parametrize(("key", "value"), [("XLVDTSens", 1e-9), ("YLVDTOffset", 40.0), ("YLVDTSens", -1e-300)])
def test_a_calibration_by_which_set_points_leave_the_controllers_range_is_a_fault(bench: Bench, key: str, value: float) -> None:
    bench.values[key] = value
    with pytest.raises(InstrumentFaultError, match="at most 10 V are possible; check the calibration"):
        MFP3D(SETTINGS, bench)


def setpoints(bench: Bench) -> list[str]:
    return [c for c in bench.commands if "Setpoint" in c]


def test_two_readings_that_differ_move_nothing(bench: Bench) -> None:
    instrument, read, calls = MFP3D(SETTINGS, bench), bench.read, []

    def flickering(expression: str) -> float:
        calls.append(expression)
        return read(expression) + (0.1 if len([c for c in calls if "XSensor" in c]) == 1 else 0.0)  # 0.8 um

    bench.read = flickering
    with pytest.raises(InstrumentFaultError, match="as the tip's position; nothing was moved: check the sensors"):
        instrument.measure(at(-2.6e-6, -6.1e-6))
    assert setpoints(bench) == []


@pytest.mark.attack("the sensors freeze while the MFP-3D moves", promise="no set-point is planned from a place the tip has left")
def test_a_position_that_is_not_where_the_tip_was_sent_moves_nothing_until_the_next_scan(bench: Bench) -> None:
    wide = SETTINGS.frame.model_copy(update={"size_fast_m": 20e-6, "size_slow_m": 20e-6})
    instrument = MFP3D(settings(frame=wide, scan_rate_Hz=0.1), bench)
    instrument.measure(at(-8e-6, -6.1e-6))
    read = bench.read
    frozen = {expression: read(expression) for expression in map(read_sensor, "XY")}
    bench.read = lambda expression: frozen[expression] if expression in frozen else read(expression)
    with pytest.raises(InstrumentFaultError, match="it did not change, so the read-back is frozen"):
        instrument.measure(at(6e-6, -6.1e-6))
    before = setpoints(bench)
    with pytest.raises(InstrumentFaultError, match=r"but it was last sent to .* check the stage, then scan again"):
        instrument.measure(at(5e-6, -6.1e-6))
    assert setpoints(bench) == before


READ = {
    "30 um off, after a scan": (30e-6, True, "which is outside the frame"),
    "1 mm off": (1e-3, False, "the stage's range is -45 to 45"),
    "1 mm off, after a scan": (1e-3, True, "the stage's range is -45 to 45"),
    "no number": (np.nan, False, "the tip's position by the sensors is x = nan"),
    "infinite": (np.inf, True, "the tip's position by the sensors is x = inf"),
}


@pytest.mark.parametrize(("off_m", "scanned", "said"), READ.values(), ids=READ)
def test_an_impossible_position_moves_nothing(bench: Bench, off_m: float, scanned: bool, said: str) -> None:
    instrument = MFP3D(SETTINGS, bench)
    if scanned:
        instrument.scan()
    bench.values |= {"PIDSLoop.0.Setpoint": -2.6 / 8 + 0.21, "PIDSLoop.1.Setpoint": -6.1 / 8.1 - 1.16}  # the frame's centre
    read = bench.read
    bench.read = lambda expression: read(expression) + (off_m / 8e-6 if '"X' in expression and "Sensor" in expression else 0.0)
    before = len([c for c in bench.commands if "Setpoint" in c])
    with pytest.raises(InstrumentFaultError, match=re.escape(said)):
        instrument.measure(at(-2.6e-6, -6.1e-6))
    assert len([c for c in bench.commands if "Setpoint" in c]) == before
    bench.read = read
    instrument.measure(at(-2.6e-6, -6.1e-6))  # a sensor that works again is believed
