"""What docs/faults.md says is so."""

import re

import pytest

from simulators.__main__ import _parser, instrument_config
from simulators.faults.catalogue import FAULTS, Fault
from simulators.faults.options import fault_schedule
from simulators.faults.sealed_log import SealedEntry
from simulators.mfp3d import SimulatedMFP3D
from tests.docs.test_docs import DOCS, blocks

PAGE = (DOCS / "faults.md").read_text(encoding="utf-8")


def row(fault: Fault) -> str:
    parameters = "; ".join(f"`{key}`: {parameter.default} ({parameter})" for key, parameter in fault.parameters.items())
    return f"| {fault.group} | `{fault.name}` | {fault.description} | {parameters} |"


def test_the_table_is_the_list_of_the_faults() -> None:
    assert [line for line in PAGE.splitlines() if re.match(r"\| \w+ \| `", line)] == [row(fault) for fault in FAULTS.values()]


def test_the_commands_can_be_given_as_written() -> None:
    commands = [line.split() for line in blocks("faults.md", "console")[0].splitlines()]
    for words in commands[1:]:
        arguments = _parser().parse_args(words[2:])
        assert fault_schedule(arguments, instrument_config(arguments)).possible
    assert commands[0][2:] == ["--list-faults"]


def test_the_snippet_runs_and_shows_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    exec(blocks("faults.md", "python")[0], scope)
    assert isinstance(scope["instrument"], SimulatedMFP3D)
    assert re.search(r"lock_loss [\d.]+ \(221, 245\)", capsys.readouterr().out)


def test_the_table_of_the_log_names_all_of_its_keys() -> None:
    section = PAGE.split("## The sealed log")[1].split("##")[0]
    shown = {key for line in section.splitlines() if line.startswith("| `") for key in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert shown == set(SealedEntry.model_fields)
