"""The simulated controller on its own: its actions, their duration, and its silent rejections."""

import math
from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.formats.igor_loops import read_loop
from instrument_adapters.geometry import Frame
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.controller.controller import Controller
from simulators.controller.transport import SimulatedTransport
from simulators.microscope import Microscope
from simulators.sample.surface import Surface
from tests.simulators.conftest import SMALL

FRAME = Frame(size_fast_m=1.2e-6, size_slow_m=1.2e-6, x_offset_m=SMALL.centre_x_m, y_offset_m=SMALL.centre_y_m, rows=16, cols=16)
DOWN, STOP = 'ARExecuteControl("DownScan_0","MasterPanel",0,"")', 'ARExecuteControl("StopScan_0","MasterPanel",0,"")'
LOOP, TUNE = 'ARExecuteControl("SingleForce_2","DARTSpectroscopy",0,"")', 'ARExecuteControl("DoTuneDFRT_3","DART",0,"")'
RATE_Hz = 1.0


@pytest.fixture
def controller(small_surface: Surface, tmp_path: Path) -> Controller:
    config = MFP3DConfig(frame=FRAME, surface=SMALL)
    controller = Controller(Microscope(config, SimulatedClock(), small_surface), tmp_path)
    settings = {"ScanSize": 1.2e-6, "PointsLines": 16, "ScanRate": RATE_Hz, "XOffset": -2.6e-6, "YOffset": -6.1e-6}
    for key, value in settings.items():
        controller.execute(f'PV("{key}",{value})')
    assert not controller.rejected
    return controller


def files(controller: Controller) -> list[str]:
    return sorted(path.name for path in controller.file_writer.folder.glob("*.ibw"))


def setpoint(controller: Controller, axis: int, metres: float) -> str:
    """V = x / |XLVDTSens| + XLVDTOffset, with the calibration that the controller gives."""
    name = "XY"[axis]
    volts = metres / abs(controller.read(f'GV("{name}LVDTSens")')) + controller.read(f'GV("{name}LVDTOffset")')
    return f'td_WriteValue("PIDSLoop.{axis}.Setpoint",{volts!r})'


def position(controller: Controller) -> list[float]:
    volts = [controller.read(f'td_ReadValue("{axis}Sensor")') for axis in "XY"]
    return [controller.panel.to_metres(axis, value) for axis, value in enumerate(volts)]


def test_a_command_and_an_answer_take_their_time(controller: Controller) -> None:
    transport = SimulatedTransport(controller, 0.35)
    transport.execute('PV("XOffset",-2.5e-6)')
    assert transport.read('GV("XOffset")') == -2.5e-6
    assert controller.clock.elapsed_s == pytest.approx(0.70)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('PV("ScanSzie",2e-6)', "there is no setting ScanSzie"),
        ('PV("PointsLines",0)', "cannot be 0"),
        ('PV("PointsLines",16.5)', "cannot be 16.5"),
        ('PV("XLVDTSens",1)', "no setting"),
        ('PV("ARDoIVCycles",2)', "one cycle"),
        ('ARExecuteControl("ScanSizeSetVar_0","MasterPanel",0.0001,"")', "entered in the field for ScanSize"),
        ('td_WriteValue("PIDSLoop.0.Setpoint",100)', "the end of the stage's range"),
        ("scan, please", "is not a function call"),
    ],
)
def test_a_rejected_command_says_nothing_changes_nothing_and_is_in_the_sealed_log(
    controller: Controller, text: str, why: str
) -> None:
    before = dict(controller.panel.values), position(controller)
    controller.execute(text)
    controller.run(30.0)
    assert (dict(controller.panel.values), position(controller)) == before
    assert files(controller) == []
    (rejection,) = controller.rejected
    assert rejection.text == text
    assert why in rejection.reason


def test_nothing_that_is_unknown_has_a_value(controller: Controller) -> None:
    for expression in ('GV("ScanSzie")', 'td_ReadValue("WSensor")', "ScanSize"):
        assert math.isnan(controller.read(expression))


def test_pv_bypasses_the_limits_of_the_field_and_the_stage_rejects_the_scan(controller: Controller) -> None:
    controller.execute('PV("ScanSize",0.0001)')
    assert controller.read('GV("ScanSize")') == 1e-4
    controller.execute(DOWN)
    controller.run(60.0)
    assert files(controller) == []
    assert "the frame extends beyond 45 um" in controller.rejected[0].reason


@pytest.mark.parametrize(("points", "rate", "expected"), [(256, 0.40064, 0.40064), (256, 0.4, 0.40064), (512, 0.4, 0.39860)])
def test_the_scan_rate_is_quantised_by_the_decimation_of_50_kHz(
    controller: Controller, points: int, rate: float, expected: float
) -> None:
    controller.execute(f'PV("PointsLines",{points})')
    controller.execute(f'PV("ScanRate",{rate})')
    shown = controller.read('GV("ScanRate")')
    assert shown == pytest.approx(expected, rel=1e-5)
    decimation = 50_000 / (shown * 2 * 1.25 * points)
    assert decimation == pytest.approx(round(decimation), rel=1e-5)


@pytest.mark.parametrize(("fast", "slow", "sizes"), [(1.0, 0.5, (1.2, 0.6)), (0.5, 1.0, (0.6, 1.2)), (0.5, 0.5, (1.2, 1.2))])
def test_a_ratio_above_one_shrinks_the_fast_side_and_below_one_the_slow_side(
    controller: Controller, fast: float, slow: float, sizes: tuple[float, float]
) -> None:
    controller.execute(f'PV("FastRatio",{fast})')
    controller.execute(f'PV("SlowRatio",{slow})')
    controller.execute(DOWN)
    controller.run(20.0)
    frame = read_ibw(controller.file_writer.folder / "simulated0001.ibw").frame
    assert (frame.size_fast_m * 1e6, frame.size_slow_m * 1e6) == pytest.approx(sizes)


def test_a_frame_is_saved_when_its_lines_are_done_and_numbers_go_on(controller: Controller) -> None:
    controller.execute(DOWN)
    controller.run(16 / RATE_Hz - 0.1)
    assert files(controller) == []
    assert controller.last_recording is None
    controller.run(0.2)
    assert files(controller) == ["simulated0001.ibw"]
    controller.execute(DOWN.replace("Down", "Up"))
    controller.run(17.0)
    assert files(controller) == ["simulated0001.ibw", "simulated0002.ibw"]
    first, second = (read_ibw(controller.file_writer.folder / name) for name in files(controller))
    assert (first.metadata["ScanDown"], second.metadata["ScanDown"]) == ("1.0", "0.0")
    assert first.finished_at is not None
    assert first.started_at is not None
    assert (first.finished_at - first.started_at).total_seconds() == 16.0
    assert controller.last_recording is not None
    np.testing.assert_array_equal(second.channels["HeightRetrace"], controller.last_recording.channels["HeightRetrace"])


def test_a_new_offset_is_adopted_only_at_the_next_scan(controller: Controller) -> None:
    controller.execute(DOWN)
    controller.run(5.0)
    for text in ('PV("XOffset",-2.5e-6)', 'PV("YOffset",-6.0e-6)', 'PV("ScanAngle",5)', 'PV("ScanSize",1e-6)'):
        controller.execute(text)
    controller.run(12.0)
    controller.execute(DOWN)
    controller.run(17.0)
    frames = [read_ibw(controller.file_writer.folder / name).frame for name in files(controller)]
    assert [frame.x_offset_m for frame in frames] == [-2.6e-6, -2.5e-6]
    assert [frame.y_offset_m for frame in frames] == [-6.1e-6, -6.0e-6]
    assert [frame.size_fast_m for frame in frames] == [1.2e-6, 1e-6]
    assert [math.degrees(frame.angle_rad) for frame in frames] == pytest.approx([0, 5])
    assert not controller.rejected


def test_a_stopped_scan_leaves_no_file_and_another_can_begin(controller: Controller) -> None:
    controller.execute(DOWN)
    controller.run(5.0)
    controller.execute(STOP)
    controller.run(20.0)
    assert files(controller) == []
    controller.execute(DOWN)
    controller.run(17.0)
    assert files(controller) == ["simulated0001.ibw"]


@pytest.mark.parametrize("text", [DOWN, LOOP, TUNE, 'td_WriteValue("PIDSLoop.0.Setpoint",0.1)'])
def test_what_cannot_be_done_during_a_scan_is_rejected(controller: Controller, text: str) -> None:
    controller.execute(DOWN)
    controller.execute(text)
    assert "during a scan" in controller.rejected[0].reason
    controller.run(40.0)
    assert files(controller) == ["simulated0001.ibw"]


def test_the_tip_moves_by_set_points_and_a_loops_file_does_not_say_where(controller: Controller) -> None:
    for axis, metres in ((0, -2.7e-6), (1, -6.2e-6)):
        controller.execute(setpoint(controller, axis, metres))
    assert position(controller) == pytest.approx([-2.7e-6, -6.2e-6])
    untouched = controller.microscope.surface
    controller.execute(LOOP)
    controller.run(8.2)
    changed = np.argwhere(controller.microscope.surface.response != untouched.response)
    spot_m = SMALL.square.to_metres(changed.mean(axis=0)[None])[0]
    np.testing.assert_allclose(spot_m, (-2.7e-6, -6.2e-6), atol=12e-9)  # five standard deviations of one move
    (name,) = files(controller)
    bias_V, response_pm = read_loop(controller.file_writer.folder / name)
    assert bias_V.max() == 8.5
    assert response_pm.min() < 0 < response_pm.max()
    raw = (controller.file_writer.folder / name).read_bytes()
    assert b"ARDoIVAmp: 8.5" in raw
    assert b"Offset" not in raw


def test_an_empty_list_of_force_spots_sends_the_tip_to_the_centre_of_the_frame(controller: Controller) -> None:
    controller.execute(setpoint(controller, 0, -2.7e-6))
    controller.execute('ARExecuteControl("ClearForce_1","MasterPanel",0,"")')
    controller.execute('ARExecuteControl("GoForce_1","MasterPanel",0,"")')
    assert position(controller) == pytest.approx([-2.6e-6, -6.1e-6])
    assert not controller.rejected


def test_tuning_takes_its_time_and_finds_the_probes_resonance(controller: Controller) -> None:
    controller.execute('PV("DFRTFrequencyCenter",300000)')
    controller.execute(TUNE)
    controller.run(4.9)
    assert controller.read('GV("DFRTFrequencyCenter")') == 300e3
    controller.run(0.2)
    assert controller.read('GV("DFRTFrequencyCenter")') == 371e3


def test_the_drive_on_the_panel_is_the_drive_of_the_next_frame(controller: Controller) -> None:
    controller.execute(DOWN)
    controller.run(17.0)
    controller.execute('ARExecuteControl("DriveAmplitudeSetVar_0","MasterPanel",1.5,"")')
    controller.execute(DOWN)
    controller.run(17.0)
    full, half = (
        read_ibw(controller.file_writer.folder / name).channels["Amplitude1Retrace"].mean() for name in files(controller)
    )
    assert half / full == pytest.approx(0.5, abs=0.1)


def test_a_clock_that_is_stopped_in_mid_scan_loses_the_scan(controller: Controller) -> None:
    controller.execute(DOWN)
    controller.run(3.5)
    controller.clock.stop()
    with pytest.raises(InstrumentFaultError, match="after 3 of 16 lines"):
        controller.run(1.0)


@pytest.mark.parametrize("silent", [True, False])
def test_a_target_beyond_a_short_range_is_clamped_in_silence_or_rejected(controller: Controller, silent: bool) -> None:
    controller.quirks.half_range_m, controller.quirks.silent_clamp = 6e-6, silent
    before = position(controller)
    controller.execute(setpoint(controller, 1, -6.2e-6))
    controller.execute(DOWN)
    controller.run(17.0)
    if silent:
        frame = read_ibw(controller.file_writer.folder / "simulated0001.ibw").frame
        assert (frame.x_offset_m, frame.y_offset_m) == pytest.approx((-2.6e-6, -5.4e-6))
        assert not controller.rejected
    else:
        assert position(controller) == before
        assert len(controller.rejected) == 2
