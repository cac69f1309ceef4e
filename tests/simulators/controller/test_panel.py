import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_adapters.geometry import Frame
from instrument_adapters.mfp3d.igor_commands import quantised_rate_Hz
from instrument_adapters.mfp3d.panel import Panel, check_frame
from instrument_adapters.mfp3d.settings import MFP3DSettings
from simulators.config import MFP3DConfig
from simulators.controller.language import SetValue, parse_command, parse_expression
from simulators.controller.panel import ControllerPanel

sides = st.floats(1e-7, 1e-5)
offsets = st.floats(-3e-5, 3e-5)
points = st.integers(2, 1024)
frames = st.builds(
    Frame,
    size_fast_m=sides,
    size_slow_m=sides,
    x_offset_m=offsets,
    y_offset_m=offsets,
    angle_rad=st.floats(-3, 3),
    rows=points,
    cols=points,
)


class Wire:
    """The part of a `Transport` that the driver's panel uses, on a simulated panel and without time."""

    def __init__(self) -> None:
        self.panel = ControllerPanel(MFP3DConfig(), 1)

    def execute(self, text: str) -> None:
        command = parse_command(text)
        assert isinstance(command, SetValue)
        self.panel.set_value(command)

    def read(self, expression: str) -> float:
        return self.panel.values[parse_expression(expression)[1]]


@given(frame=frames, rate_Hz=st.floats(0.1, 10.0))
@settings(max_examples=100, deadline=None)
def test_whatever_frame_the_driver_sets_up_is_the_one_that_the_controller_scans(frame: Frame, rate_Hz: float) -> None:
    wire = Wire()
    Panel(MFP3DSettings(frame=frame, scan_rate_Hz=rate_Hz, centre_Hz=371e3), wire).set_up()  # type: ignore[arg-type]
    adopted = wire.panel.frame()
    check_frame(adopted, frame, "the panel's frame")
    corners = np.array([[0.0, 0.0], [frame.rows - 1.0, frame.cols - 1.0]])
    np.testing.assert_allclose(adopted.to_metres(corners), frame.to_metres(corners), atol=1e-18)
    assert wire.panel.values["ScanRate"] == quantised_rate_Hz(rate_Hz, frame.cols)


@given(metres=st.floats(-45e-6, 45e-6), axis=st.sampled_from([0, 1]))
def test_volts_and_metres_are_each_others_reverse(metres: float, axis: int) -> None:
    panel = ControllerPanel(MFP3DConfig(), 1)
    assert abs(panel.to_metres(axis, panel.to_volts(axis, metres)) - metres) < 1e-18
