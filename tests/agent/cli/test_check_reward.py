"""`vaestar check-reward` on rewards that satisfy the contract and rewards that do not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from agent.cli.app import app

CHECKED = """\
import sys
from rewards.base import Score

def spread(representation, *, rng, weight=1.0):
    return Score(weight * float(representation.z.std()), {"spread": 1.0})

def raising(representation, *, rng):
    sys.exit("no licence")

def no_rng(representation):
    return Score(1.0)
"""

Vaestar = Callable[..., Result]


@pytest.fixture
def vaestar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vaestar:
    """Function that runs the command in a directory with a file of rewards."""
    (tmp_path / "checked_lab.py").write_text(CHECKED)
    (tmp_path / "lab.toml").write_text('reward = "checked_lab:spread"\n[reward_options]\nweight = 2.0\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["check-reward", *map(str, arguments)])


@pytest.mark.parametrize(
    "arguments", [["checked_lab:spread"], ["--config", "lab.toml"], ["checked_lab:spread", "--config", "lab.toml"], ["variance"]]
)
def test_a_reward_that_keeps_the_contract_passes(arguments: list[str], vaestar: Vaestar) -> None:
    done = vaestar(*arguments)
    assert done.exit_code == 0
    assert done.output.endswith("keeps the contract (13 checks)\n")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("checked_lab:raising", "breaks   score           on 300 points it raised SystemExit: no licence"),
        ("checked_lab:no_rng", "takes no keyword 'rng'"),
        ("checked_lab:missing", "has no 'missing'"),
        ("nowhere_to_be_found:spread", "could not be imported"),
        ("sprad", "is unknown; use one of"),
    ],
)
def test_one_that_breaks_it_is_told_how_in_a_sentence(name: str, sentence: str, vaestar: Vaestar) -> None:
    done = vaestar(name)
    assert done.exit_code == 1
    assert sentence in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "no reward to check; give one"),
        (["variance", "--config", "lab.toml"], "has options for reward = 'checked_lab:spread', not for 'variance'"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: list[str], sentence: str, vaestar: Vaestar) -> None:
    done = vaestar(*arguments)
    assert done.exit_code == 2
    assert sentence in done.output
