import pytest

from instrument_adapters.mfp3d import igor_commands as spoken
from simulators.controller.language import Move, Press, RejectedError, SetValue, parse_command, parse_expression


@pytest.mark.parametrize("button", ["DownScan", "UpScan", "StopScan", "ClearForce", "SingleForce", "DoTuneDFRT"])
def test_the_controller_understands_every_button_that_the_driver_presses(button: spoken.Button) -> None:
    assert parse_command(spoken.press(button)) == Press(button)


@pytest.mark.slow
@pytest.mark.parametrize("value", [-2.6e-6, 0.40064, 256.0, 1 / 3, 1e22, -5e-324])
@pytest.mark.parametrize(("key", "checked"), [("XOffset", False), ("ARDoIVAmp", True), ("DFRTFrequencyCenter", True)])
def test_numbers_arrive_without_loss(key: str, checked: bool, value: float) -> None:
    assert parse_command(spoken.set_value(key, value)) == SetValue(key, value, checked)
    assert parse_command(spoken.write_setpoint("Y", value)) == Move(1, value)


def test_the_commands_are_written_as_at_the_real_controller() -> None:
    assert spoken.press("DownScan") == 'ARExecuteControl("DownScan_0","MasterPanel",0,"")'
    assert spoken.set_value("ScanSize", 5e-6) == 'PV("ScanSize",5e-06)'
    assert spoken.write_setpoint("X", -0.5) == 'td_WriteValue("PIDSLoop.0.Setpoint",-0.5)'
    assert parse_expression(spoken.get_value("ScanSize")) == ("GV", "ScanSize")
    assert parse_expression(spoken.read_sensor("X")) == ("td_ReadValue", "XSensor")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        'PV("ScanSize")',
        'PV("ScanSize",5e-6',
        'PV("ScanSize","5e-6")',
        "PV(ScanSize,5e-6)",
        'PV("ScanSize",nan)',
        'PV("ScanSize",5e-6,)',
        'pv("ScanSize",5e-6)',
        'ARExecuteControl("DownScan_1","MasterPanel",0,"")',
        'ARExecuteControl("DownScan_0","MastrePanel",0,"")',
        'ARExecuteControl("DownScan_0","MasterPanel",0)',
        'td_WriteValue("PIDSLoop.2.Setpoint",1)',
        'GV("ScanSize")',
        'PV("ScanSize",5e-6);Execute "quit"',
    ],
)
def test_what_is_misspelt_is_rejected(text: str) -> None:
    with pytest.raises(RejectedError):
        parse_command(text)


@pytest.mark.parametrize("text", ['GV("A","B")', "GV(ScanSize)", 'PV("ScanSize",1)', "1 + 1"])
def test_what_has_no_value_is_rejected(text: str) -> None:
    with pytest.raises(RejectedError):
        parse_expression(text)
