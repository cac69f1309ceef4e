"""docs/mfp3d.md describes what the driver does."""

import re
from pathlib import Path
from typing import Any

import pytest

from instrument_adapters import client
from instrument_adapters.mfp3d import igor_transport as mfp3d_igor
from instrument_adapters.mfp3d.driver import MFP3D
from simulators.controller.language import parse_command, parse_expression
from tests.instrument_adapters.mfp3d.test_driver import Bench

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "mfp3d.md").read_text(encoding="utf-8")


def test_the_way_to_connect_can_be_followed_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, run = Bench(tmp_path), []
    monkeypatch.setattr(mfp3d_igor, "IgorTransport", lambda **_: bench)
    monkeypatch.setattr(client, "run_client", lambda instrument, address, **_: run.append((instrument, address)))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    ((instrument, address),) = run
    assert isinstance(instrument, MFP3D)
    assert address == "tcp://agent-pc:5555"
    sent = {text.partition(",")[0] for text in bench.commands}
    table = PAGE.split("## Commands")[1].split("Volts:")[0]
    written = {text.partition(",")[0] for text in re.findall(r"`((?:PV|ARExecuteControl)\(.*?\))`", table)}
    assert sent <= written, "every setting is in the table"


def test_the_simulated_controller_understands_every_command_of_the_table() -> None:
    table = PAGE.split("## Commands")[1].split("Volts:")[0]
    commands = re.findall(r"`((?:PV|td_WriteValue|ARExecuteControl)\(.*?\))`", table)
    assert len(commands) == 24
    for text in commands:
        parse_command(text)
    for text in re.findall(r'`((?:GV|td_ReadValue)\(".*?"\))`', table):
        parse_expression(text)
