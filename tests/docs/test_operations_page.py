"""What docs/operations.md says of commands, exit codes and the systemd unit is so (its metrics: agent/web/test_prometheus.py)."""

import configparser
import re
import shlex
from pathlib import Path

import typer

from agent.cli import log_setup as logs
from agent.cli.app import app
from agent.config import model as config
from instrument_adapters import exit_codes

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands


def options_of(command: str) -> set[str]:
    return {option for parameter in COMMANDS[command].params for option in parameter.opts}


def test_every_command_of_the_page_has_the_options_that_it_shows() -> None:
    shown = re.findall(r"^\| `vaestar (\w+)([^`]*)`", PAGE, flags=re.MULTILINE)
    assert [name for name, _ in shown] == ["status", "pause", "stop", "resume", "pending", "approve", "reject"]
    for name, rest in shown:
        assert set(re.findall(r"--[a-z-]+", rest)) <= options_of(name)
        assert "--run" in options_of(name)


def test_the_table_of_exit_codes_is_the_module() -> None:
    table = {int(code) for code in re.findall(r"^\| (\d+) \| ", PAGE, flags=re.MULTILINE)}
    assert table == {value for name, value in vars(exit_codes).items() if name.isupper()}


def test_the_options_of_serve_that_the_page_names_are_there() -> None:
    assert {"--http", "--log-format", "--log-file", "--log-level"} <= options_of("serve")
    assert "`--log-level` is `info`" in PAGE
    assert logs._FILE_BYTES == 10_000_000
    assert config.Config().service.http in PAGE


def test_the_systemd_unit_starts_a_command_that_there_is() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read_string((ROOT / "examples" / "vaestar.service").read_text(encoding="utf-8"))
    service = unit["Service"]
    program, command, *arguments = shlex.split(service["ExecStart"])
    assert (Path(program).name, command) == ("vaestar", "serve")
    assert {a for a in arguments if a.startswith("--")} <= options_of("serve")
    assert service["Type"] == "notify"
    assert service["RestartPreventExitStatus"].split() == [str(exit_codes.BAD_INPUT), str(exit_codes.STORAGE)]
