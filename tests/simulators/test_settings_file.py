from pathlib import Path

import pytest

from simulators.__main__ import _parser, instrument_config, main
from simulators.config import MFP3DConfig
from simulators.errors import InvalidSettingsError
from simulators.settings_file import as_toml, load_instrument
from simulators.tiers import TIERS, tier

EXAMPLE = """
tier = "clean"
seed = 5

[frame]
x_offset_m = 1e-6
rows = 128

[surface]
c_minus_kinds = ["needles", "stripes"]

[surface.stripes]
period_m = 240e-9

[spectroscopy.loop]
eta2 = 0.2
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    written = tmp_path / "instrument.toml"
    written.write_text(EXAMPLE)
    return written


def test_the_tier_comes_first_the_file_over_it_and_the_command_line_over_both(path: Path) -> None:
    config = instrument_config(_parser().parse_args(["--config", str(path), "--pixels", "64", "--seed", "9"]))
    clean = tier("clean", 9)
    assert (config.seed, config.frame.rows, config.spectroscopy.loop.eta2) == (9, 64, 0.2)
    assert config.surface.stripes == clean.surface.stripes.model_copy(update={"period_m": 240e-9})
    assert (config.dart, config.motion, config.surface.texture) == (clean.dart, clean.motion, clean.surface.texture)
    assert [kind.name for kind in config.surface.c_minus_kinds] == ["NEEDLES", "STRIPES"]
    other = instrument_config(_parser().parse_args(["--config", str(path), "--tier", "easy"]))
    assert (other.seed, other.dart, other.surface.stripes.period_m) == (5, tier("easy", 5).dart, 240e-9)


def test_without_a_file_it_is_the_easy_tier() -> None:
    assert instrument_config(_parser().parse_args([])) == load_instrument(None) == MFP3DConfig() == tier("easy", 0)


def test_the_surface_lies_under_the_frame_unless_something_else_is_said(path: Path) -> None:
    assert load_instrument(path).surface.centre_x_m == 1e-6
    assert load_instrument(None, {"frame": {"size_fast_m": 5e-6}}).surface.size_m == pytest.approx(6e-6)
    with pytest.raises(InvalidSettingsError, match="the frame extends beyond the simulated surface, a square of 1 um"):
        load_instrument(path, {"surface": {"size_m": 1e-6}})


@pytest.mark.slow
@pytest.mark.parametrize("name", TIERS)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    written = tmp_path / "effective.toml"
    written.write_text(as_toml(tier(name, 3)))
    assert load_instrument(written) == tier(name, 3)


def test_the_effective_configuration_is_printed_and_nothing_is_started(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(path), "--print-config"]) == 0
    printed = capsys.readouterr().out
    assert printed == as_toml(load_instrument(path))
    assert "[surface.stripes]\nperiod_m = 2.4e-07" in printed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sede = 1", r"^.*t.toml, line 1: 'sede' is unknown; the allowed keys are instrument_id, .*, limits, tier$"),
        (
            "[surface.stripes]\nperiod = 1",
            r"^.*t.toml, line 2: 'surface.stripes.period' is unknown; the allowed keys are period_m, ",
        ),
        ("[dart]\nQ = -3.0", r"^.*t.toml, line 2: 'dart.Q' is -3.0: give more than 0$"),
        ("[surface]\npixels = 10", r"^.*t.toml, line 1: 'surface': the surface has 10 pixels per side; 64 to 4096"),
        ("[surface]\nsize_m = 'wide'", r"^.*t.toml, line 2: 'surface.size_m' is 'wide': give a number"),
        ("[frame]\nrows = 'many'", r"^.*t.toml, line 2: 'frame.rows' is 'many': give a whole number"),
        ("surface = 3", r"^.*t.toml, line 1: 'surface' is 3: it must be a table, \[surface\]$"),
        ("[spectroscopy.loop]\nplus_V = nan", "^'spectroscopy.loop.plus_V' is nan: it must be a finite number$"),
        ("[timing]\nscan_rate_Hz = 30.0", r"^the tip would move at 187.5 um/s, at most 20.0 um/s is allowed"),
        ("tier = 'hopeless'", "^'tier' is 'hopeless': there is no tier 'hopeless'; give one of clean"),
        ("tier = 3", "^'tier' is 3: it must be the name of a tier"),
        ("[surface", r"^the configuration .*t.toml is not TOML: "),
    ],
)
def test_what_is_wrong_is_one_sentence_that_names_the_key(text: str, says: str, tmp_path: Path) -> None:
    wrong = tmp_path / "t.toml"
    wrong.write_text(text)
    with pytest.raises(InvalidSettingsError, match=says) as refused:
        load_instrument(wrong)
    assert "\n" not in str(refused.value).split(" is not TOML")[0]


def test_a_file_that_is_not_there_ends_with_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(tmp_path / "none.toml"), "--print-config"])
    assert ended.value.code == 2
    assert "none.toml cannot be read" in capsys.readouterr().err
