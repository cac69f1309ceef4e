"""Each invalid value is reported with its line, the value, what is allowed, and the key that was probably meant."""

import time
from pathlib import Path

import pytest

from agent.config.model import Config, load_config
from agent.errors import ConfigError
from tests.support.cpu import scaled
from tests.system.commands import vaestar

WRONG = """# a laboratory's file
seed = 1
workers = 2

[search]
seed = 3
windows_px = [
    7,
    99,
    "nine",
]
rung = 0.25

[service]
key = "agent.key_secret"

[train]
steps = 0
"""


def error_lines(path: Path, text: str, **overrides: object) -> list[str]:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, **overrides)
    return str(caught.value).split("\n")


def test_all_errors_are_reported_at_once_in_the_order_of_the_file_with_lines(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    lines = error_lines(path, WRONG)
    assert [line.split(": ")[:2] for line in lines[:-1]] == [
        [
            f"{path}, line 3",
            "'workers' is unknown; it belongs in [search]; the allowed keys are " + ", ".join(Config.model_fields),
        ],
        [f"{path}, line 6", lines[1].split(": ")[1]],
        [f"{path}, line 9", "'search.windows_px.1' is 99"],
        [f"{path}, line 10", "'search.windows_px.2' is 'nine'"],
        [f"{path}, line 12", lines[4].split(": ")[1]],
    ]
    assert "'search.seed' is unknown; did you mean 'seeds'? the allowed keys are windows_px, " in lines[1]
    assert "'search.rung' is unknown; did you mean 'rungs'? " in lines[4]
    assert lines[5] == "and 2 more"


def test_two_keys_that_belong_together_are_reported_at_their_table(tmp_path: Path) -> None:
    (line,) = error_lines(tmp_path / "lab.toml", 'seed = 1\n\n[service]\nkey = "a"\n')
    assert ", line 3: 'service': 'key' and 'allowed' belong together" in line


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("search.workers = 'two'", "line 1: 'search.workers' is 'two'"),
        ("\nsearch = { workers = 'two' }", "line 2: 'search.workers' is 'two'"),
        ("[search]\n[search.workers]\nx = 1", "line 2: 'search.workers': "),
        ("[[search]]\nworkers = 1", "line 1: 'search' is [{'workers': 1}]: it must be a table, [search]"),
        ("[search]\nbetas = [1.0,\n  inf]", "line 3: 'search.betas.1' is inf: it must be a finite number"),
    ],
)
def test_a_value_is_found_however_it_is_written(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "lab.toml"
    (line,) = error_lines(path, text)
    assert line.startswith(f"{path}, {place}")


def test_a_wrong_value_of_the_command_line_is_not_blamed_on_a_line(tmp_path: Path) -> None:
    assert error_lines(tmp_path / "lab.toml", "seed = 1", seed=-5)[0].startswith("'seed' is -5: ")
    with pytest.raises(ConfigError, match=r"^'search.deadline_s' is 0"):
        Config().with_search(deadline_s=0)


def test_a_long_value_is_cut_short(tmp_path: Path) -> None:
    (line,) = error_lines(tmp_path / "lab.toml", f"seed = '{'x' * 5000}'")
    assert len(line) < 500


def test_nesting_without_end_is_no_toml(tmp_path: Path) -> None:
    (line,) = error_lines(tmp_path / "lab.toml", "a = " + "[" * 100_000)
    assert "lab.toml is not TOML: " in line


def test_of_many_errors_the_first_are_reported_quickly(tmp_path: Path) -> None:
    before = time.process_time()
    lines = error_lines(tmp_path / "lab.toml", "".join(f"sede_{i} = {i}\n" for i in range(5_000)))
    assert time.process_time() - before < scaled(5)
    assert (len(lines), lines[-1]) == (6, "and 4995 more")


def test_a_number_without_end_is_refused(tmp_path: Path) -> None:
    (line,) = error_lines(tmp_path / "lab.toml", "seed = " + "1" * 10_000)
    assert "lab.toml holds a value that cannot be read: " in line


@pytest.mark.slow
def test_the_command_prints_one_line_for_each_error_and_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "lab.toml").write_text("[search]\nworkers = 'two'\nseed = 1\n")
    done = vaestar("serve", "--run", tmp_path / "run", "--config", tmp_path / "lab.toml")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith(f"vaestar: {tmp_path / 'lab.toml'}, line 2: 'search.workers' is 'two': ")
    assert second.startswith(f"vaestar: {tmp_path / 'lab.toml'}, line 3: 'search.seed' is unknown; did you mean 'seeds'?")
    assert not (tmp_path / "run").exists()
