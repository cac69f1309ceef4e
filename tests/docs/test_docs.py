"""What the docs say runs."""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from agent.cli.app import app
from agent.config.model import Config, load_config
from agent.preprocessing.keypoints import find_keypoints
from agent.preprocessing.normalise import normalise
from agent.search.plugins import load_keypoints, load_reward
from instrument_adapters.folder.command import _parser as folder_parser
from instrument_adapters.folder.inbox import parse_results
from instrument_adapters.folder.outbox import ANSWER_COLUMNS, POINT_COLUMNS
from instrument_adapters.replay.command import _parser
from rewards.contract import CHECKS
from simulators.settings_file import load_instrument
from tests.support.data.clouds import blobs, representation
from tests.support.data.images import two_textures

DOCS = Path(__file__).resolve().parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_configuration_page_shows_the_defaults() -> None:
    (shown,) = blocks("configuration.md", "toml")
    assert Config.model_validate(tomllib.loads(shown)) == Config()
    keys = set(re.findall(r"^#? ?(\w+) =", shown, flags=re.MULTILINE))
    sections = {name: value for name, value in Config().model_dump().items() if isinstance(value, dict)}
    known = {key for section in sections.values() for key in section} | (set(Config.model_fields) - set(sections))
    assert keys == known


def test_the_configuration_of_the_replay_page_is_one_and_its_options_are_the_commands(tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(blocks("replay.md", "toml")[0])
    assert load_config(tmp_path / "small.toml").recommend.points == 20
    known = set(re.findall(r"--[a-z][a-z-]*", _parser().format_help()))
    page = (DOCS / "replay.md").read_text(encoding="utf-8")
    assert set(re.findall(r"--[a-z][a-z-]*", page)) - {"--run", "--config", "--out"} <= known


def test_the_options_of_the_folder_page_are_the_commands_and_its_results_are_understood() -> None:
    known = set(re.findall(r"--[a-z][a-z-]*", folder_parser().format_help()))
    page = (DOCS / "folder.md").read_text(encoding="utf-8")
    assert set(re.findall(r"--[a-z][a-z-]*", page)) - {"--run", "--out"} <= known
    assert all(f"`{column}`" in page for column in (*POINT_COLUMNS, *ANSWER_COLUMNS))
    (first, second), problems = parse_results(blocks("folder.md", "json")[0].encode(), Path("results.json"))
    assert problems == []
    assert (first.parameters, second.reason) == ({"coercive_plus_V": 2.5}, "a scratch")


@pytest.fixture
def my_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file that the extension page writes, of which nothing stays imported."""
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("my_lab", None)
    yield tmp_path / "my_lab.py"
    sys.modules.pop("my_lab", None)


def test_the_reward_of_the_extension_page_can_be_used_as_written(tmp_path: Path, my_lab: Path) -> None:
    code = blocks("extending.md", "python")[0]
    assert len(code.strip().splitlines()) < 20
    my_lab.write_text(code)
    (tmp_path / "my_lab.toml").write_text(blocks("extending.md", "toml")[0])
    config = load_config(tmp_path / "my_lab.toml")
    reward = load_reward(config.reward, config.reward_options, config.directory)
    apart, blurred = (reward(representation(blobs(3, spread=s)), rng=np.random.default_rng(0)) for s in (0.1, 1.0))
    assert apart.value > blurred.value
    assert apart.metrics["silhouette"] > 0.8


def test_the_contract_of_the_extension_page_is_one_test_a_check_and_its_reward_keeps_it(
    tmp_path: Path, my_lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    my_lab.write_text(blocks("extending.md", "python")[0])
    scope: dict[str, Any] = {"__name__": "test_my_lab"}
    exec(blocks("extending.md", "python")[1], scope)
    subject = scope["TestSilhouette"]()
    tests = [name for name in dir(subject) if name.startswith("test_")]
    assert tests == sorted(f"test_{name}" for name in CHECKS)
    for name in tests:
        getattr(subject, name)()
    (tmp_path / "my_lab.toml").write_text(blocks("extending.md", "toml")[0])
    command = next(c for c in blocks("extending.md", "console") if "check-reward" in c).split()
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, command[1:]).exit_code == 0


def test_the_key_points_of_the_extension_page_can_be_used_as_written(tmp_path: Path) -> None:
    code = blocks("extending.md", "python")[2]
    (tmp_path / "my_lab_points.py").write_text(code)
    options = tomllib.loads(blocks("extending.md", "toml")[1])["keypoints_options"]
    method = load_keypoints("my_lab_points:bright_spots", options, tmp_path)
    image = normalise(two_textures(128))
    found = find_keypoints(image, method, spacing_px=3, largest_window_px=9, rng=np.random.default_rng(0))
    level = np.quantile(image.values, options["quantile"])
    assert (image.values[found.points_rc[:, 0], found.points_rc[:, 1]] > level).all()


def test_the_instrument_of_the_simulators_page_can_be_built_as_written(tmp_path: Path) -> None:
    (shown,) = blocks("simulator-tiers.md", "toml")
    (tmp_path / "instrument.toml").write_text(shown)
    config = load_instrument(tmp_path / "instrument.toml")
    assert (config.frame.rows, config.surface.stripes.period_m, config.spectroscopy.loop.eta2) == (128, 240e-9, 0.2)


def test_the_code_of_the_simulator_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(blocks("simulator.md", "python")[0], {})
    assert capsys.readouterr().out.startswith("Amplitude1Retrace")
