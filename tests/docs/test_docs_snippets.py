"""Every command and every piece of code in the documentation is executed, or is on the list of exceptions with its reason."""

import asyncio
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import agent.cli.analyze
from agent.config.model import Config, load_config
from agent.history.event_log import History
from instrument_adapters.command_line.toml_settings import load_settings
from instrument_adapters.mfp3d.command import MFP3DFile
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D
from simulators.settings_file import load_instrument
from tests.docs import programs
from tests.docs.excepted import EXCEPTED, excepted
from tests.docs.snippets import PAGES, ROOT, SHELL, Command, Snippet, commands, mentioned, snippet, snippets
from tests.support.history.golden_scenario import decided, measure, picture, scan, settings
from tests.system.bench import connected

# Blocks that are no code: drawings, what a program prints, and what the site fills in from the code.
NO_CODE = {"", "text", "{commands}", "{settings}", "{rewards}", "{eval-rst}"}
# Read by a test of their page's own.
ELSEWHERE = {("folder.md", "json"): "tests/docs/test_docs.py", ("operations.md", "yaml"): "tests/agent/web/test_prometheus.py"}
# What a toml block is, if not a configuration of the agent.
TOML: dict[str, Callable[[Path], Any]] = {
    "simulator-tiers.md": load_instrument,
    "mfp3d.md": lambda path: load_settings(path, MFP3DFile),
}
# Pages whose commands run from start to end in a test of their own.
WHOLE_PAGES = {"tutorial.md", "howto-own-adapter.md", "howto-review-mode.md"}
# Blocks that are files, which others on the page name.
FILES = {
    ("extending.md", "python", 0): "my_lab.py",
    ("extending.md", "python", 2): "my_lab_points.py",
    ("extending.md", "toml", 0): "my_lab.toml",
    ("howto-own-adapter.md", "python", 0): "my_microscope.py",
    ("howto-own-adapter.md", "python", 1): "my_adapter.py",
    ("mfp3d.md", "toml", 0): "lab2.toml",
    ("replay.md", "toml", 0): "small.toml",
}


def names(what: Any) -> str:
    return str(what)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with the files of a page, from which nothing stays imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def lay_out(desk: Path, page: str) -> None:
    for (of, language, number), name in FILES.items():
        if of == page:
            (desk / name).write_text(snippet(of, language, number), encoding="utf-8")


# -- completeness ------------------------------------------------------------------------------------------------------------


def test_every_block_is_code_that_is_executed_or_no_code() -> None:
    known = {*SHELL, "python", "toml", *NO_CODE}
    strangers = [str(s) for s in snippets() if s.language not in known and (s.page, s.language) not in ELSEWHERE]
    assert strangers == []
    assert all((ROOT / test).exists() for test in ELSEWHERE.values())


def test_every_exception_is_needed_and_names_tests_that_exist() -> None:
    everything = [*commands(), *snippets("python", "toml")]
    assert [e for e in EXCEPTED if not any(e.means(what) for what in everything)] == []
    assert all((ROOT / test).exists() for e in EXCEPTED for test in re.findall(r"tests/\S+\.py", e.reason))


def test_every_command_is_one_of_ours_or_excepted() -> None:
    runnable = {"vaestar", "python", "mkdir"}
    assert [str(c) for c in commands() if c.words[0] not in runnable and not excepted(c)] == []


# -- what is read, and not run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [c for c in commands() if programs.is_ours(c.words)], ids=names)
def test_every_command_is_read_by_the_program_with_all_of_its_options(command: Command) -> None:
    programs.parse(command.words)


@pytest.mark.parametrize("command", mentioned(), ids=names)
def test_every_command_in_the_text_is_there_with_its_options(command: Command) -> None:
    words = command.line.split()
    if words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
    elif words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."):
        named = ROOT / words[2].replace(".", "/")
        sources = [named / "study.py" if named.is_dir() else named.with_suffix(".py"), ROOT / "benchmarks/harness/commandline.py"]
        text = "".join(source.read_text(encoding="utf-8") for source in sources)
        assert all(f'"{option}"' in text for option in re.findall(r"--[a-z-]+", command.line))
    elif words[:2] not in (["vaestar", "COMMAND"], ["vaestar", "history"]) or len(words) > 2:
        found, _ = programs.split(words)
        assert set(re.findall(r"--[a-z][a-z-]*", command.line)) <= programs.options(found)


def test_every_target_of_make_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{c.words[1]}:" in makefile for c in commands() if c.words[0] == "make")


# -- what is run -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [s for s in snippets("toml") if not excepted(s)], ids=names)
def test_every_configuration_is_accepted(block: Snippet, desk: Path) -> None:
    lay_out(desk, block.page)
    (desk / "shown.toml").write_text(block.text, encoding="utf-8")
    assert tomllib.loads(block.text)
    TOML.get(block.page, load_config)(desk / "shown.toml")


@pytest.mark.parametrize("block", [s for s in snippets("python") if s.page != "tutorial.md" and not excepted(s)], ids=names)
def test_every_piece_of_python_runs(block: Snippet, desk: Path) -> None:
    lay_out(desk, block.page)
    exec(compile(block.text, str(block), "exec"), {"__name__": "shown"})


def small(config: Config) -> Config:
    """The same with a search of seconds: it is asked whether the commands work, not what they find."""
    search = {"windows_px": (5,), "families": ("pca",), "plain_latent_dim": 3, "seeds": 1, "workers": 0}
    scan, keys = config.scan.model_copy(update={"spacing_px": 2.0}), config.search.model_copy(update=search)
    return config.model_copy(update={"search": keys, "scan": scan})


@pytest.fixture(scope="module")
def recorded_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the real service: one scan, one decision, and what was measured."""
    run = tmp_path_factory.mktemp("runs") / "monday"

    async def loop() -> None:
        async with connected(run, settings(), spacing_min_m=50e-9) as bench:
            await measure(bench, await decided(bench, scan(1, picture(1))), 400)

    asyncio.run(loop())
    return run


def stand_in(desk: Path, page: str, recorded_run: Path) -> dict[str, str]:
    """Lay out what the commands of a page name, and say what stands for the names that pages use."""
    lay_out(desk, page)
    run = shutil.copytree(recorded_run, desk / "runs" / "monday")
    for words in (c.words for c in commands() if c.page == page):
        for named in (after for word, after in pairwise(words) if word == "--run"):
            if not (desk / named).exists():
                shutil.copytree(run, desk / named)
    with History(run, read_only=True) as history:
        (made,) = history.events(kind="decision_made")
        newest = list(history.events())[-1]
    head = f"{newest.seq}:{newest.hash}"
    return {"d-35d0dbff38438525": made.subject, "scan-0007": made.body["scan_id"], "4711:9b6c...": head, "pto": "bto"}


@pytest.fixture(scope="module")
def scan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan as an MFP-3D saves it."""
    folder = tmp_path_factory.mktemp("scans")
    frame = MFP3DConfig().frame.model_copy(update={"rows": 96, "cols": 96, "size_fast_m": 1e-6, "size_slow_m": 1e-6})
    SimulatedMFP3D(MFP3DConfig(frame=frame), folder=folder).scan()
    return next(folder.glob("*.ibw"))


def ends(command: Command) -> bool:
    """Whether it ends by itself, without an agent."""
    if command.words[0] == "mkdir":
        return True
    if not programs.is_ours(command.words):
        return False
    found, given = programs.split(command.words)
    return found not in programs.LASTING | programs.STEERING or bool(programs.AT_ONCE & set(given))


@pytest.mark.parametrize("page", [p.name for p in PAGES if p.name not in WHOLE_PAGES])
def test_the_commands_of_a_page_that_end_run_in_its_order(
    page: str, desk: Path, recorded_run: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    once = {c.line: c for c in reversed(commands()) if ends(c) and not excepted(c)}  # a command of two pages runs for the first
    wanted = [c for c in commands() if c.page == page and once.get(c.line) is c]
    if not wanted:
        return
    real = stand_in(desk, page, recorded_run)
    monkeypatch.setattr(agent.cli.analyze, "load_config", lambda *a, **k: small(load_config(*a, **k)))
    if any("scan_0001.ibw" in c.words for c in wanted):
        shutil.copy(request.getfixturevalue("scan_file"), desk / "scan_0001.ibw")
    for command in wanted:
        words = [re.sub("|".join(map(re.escape, real)), lambda m: real[m[0]], word) for word in command.words]
        if words[0] == "mkdir":
            subprocess.run(words, check=True)
        else:
            programs.run(words)


def test_the_only_other_commands_are_run_by_the_tests_of_their_pages() -> None:
    left = [c for c in commands() if not ends(c) and not excepted(c) and c.page not in WHOLE_PAGES]
    assert [str(c) for c in left if programs.split(c.words)[0] not in programs.LASTING | programs.STEERING] == []


def test_numpy_is_the_only_thing_that_the_stand_in_of_a_microscope_needs(desk: Path) -> None:
    lay_out(desk, "howto-own-adapter.md")
    scope: dict[str, Any] = {"__name__": "shown"}
    exec(snippet("howto-own-adapter.md", "python", 0), scope)
    bias_V, response = scope["loop"](-1.0, 0.0)
    assert scope["image"]().shape == (128, 128)
    assert np.shape(bias_V) == np.shape(response)
