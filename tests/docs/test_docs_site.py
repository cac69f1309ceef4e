"""The documentation site builds without a warning, and its reference pages hold what the code has."""

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.registry import REWARDS
from tests.docs.programs import options, ours, shell
from tests.docs.snippets import DOCS, PAGES, ROOT
from tests.docs.test_docs import Config


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails it."""
    built = tmp_path_factory.mktemp("site")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-n",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        str(built / "doctrees"),
        "docs",
        str(built / "html"),
    ]
    done = subprocess.run(command, cwd=ROOT, **shell(), check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return built / "html"


def text_of(page: Path) -> str:
    """What a page shows, without its marks."""
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_page_is_there_and_can_be_reached_from_the_first(site: Path) -> None:
    first = (site / "index.html").read_text(encoding="utf-8")
    for page in PAGES:
        if page.parent == DOCS and page.name != "index.md":
            assert f'href="{page.stem}.html"' in first, page.name
    for record in (DOCS / "decisions").glob("0*.md"):
        assert f"{record.stem}.html" in (site / "decisions" / "README.html").read_text(encoding="utf-8")


def test_the_page_of_commands_has_every_command_with_every_option(site: Path) -> None:
    page = text_of(site / "reference-cli.html").partition("vaestar analyze¶")
    section = re.compile(r"^vaestar ([a-z0-9 -]+)¶$(.*?)(?=^vaestar [a-z0-9 -]+¶$|\Z)", re.DOTALL | re.MULTILINE)
    sections = dict(section.findall("".join(page[1:])))
    assert set(sections) == {" ".join(words) for words in ours()}
    for words in ours():
        section = sections[" ".join(words)]
        assert "The same as" in section or [o for o in options(words) if o not in section] == [], words


def test_the_page_of_the_configuration_has_every_key(site: Path) -> None:
    page = text_of(site / "reference-configuration.html")
    config = Config().model_dump()
    for name, value in config.items():
        assert name in page
        if isinstance(value, dict):
            assert [key for key in value if key not in page] == []


def test_the_page_of_rewards_has_every_short_name(site: Path) -> None:
    page = text_of(site / "reference-rewards.html")
    assert [name for name in REWARDS if name not in page] == []


def test_the_page_of_python_shows_what_a_notebook_and_an_adapter_use(site: Path) -> None:
    page = text_of(site / "reference-api.html")
    for name in (
        "agent.analyze",
        "agent.Analysis",
        "agent.History",
        "run_client",
        "Instrument",
        "Halting",
        "Measurement",
        "Frame",
    ):
        assert name in page
    assert "Decide where to measure on a scan" in page


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text(encoding="utf-8"))
        assert loaded == [], page.name


def test_links_between_pages_lead_somewhere_also_as_files() -> None:
    for page in (*DOCS.rglob("*.md"), ROOT / "README.md"):
        if "generated" in page.parts or "_build" in page.parts:
            continue
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
