import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.cli.app import app
from agent.history.event_log import History as Store
from agent.reporting import drawing
from agent.reporting.html_report import page
from agent.reporting.notebook import Analysis
from instrument_adapters import exit_codes
from tests.agent.reporting.test_notebook import run_with
from tests.support.history.decision_records import make_decision, make_scan, make_unresolved


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces figures by an empty image, because drawing takes seconds."""
    monkeypatch.setattr(drawing, "_drawing", lambda *given: drawing.Drawing(given[3], b"\0"))


class StrictParser(HTMLParser):
    """Fails if an element is not closed by its own end tag."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> StrictParser:
    parser = StrictParser()
    parser.feed(text)
    assert parser.open == []
    return parser


def report(*analyses: Analysis) -> str:
    return page("A <title>", analyses, {"run": "run-1 & co"}, ["a message was <refused>"]).html


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_a_report_is_valid_html_that_loads_nothing() -> None:
    text = report(Analysis(make_scan(), make_decision()), Analysis(make_scan(), make_unresolved()))
    found = parsed(text)
    assert all(link.startswith(("data:image/png;base64,", "#")) for link in found.links)
    assert not re.search(r"<script|<link|@import|url\(|https?://", text)


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_texts_from_outside_are_escaped() -> None:
    text = report(Analysis(make_scan(), make_decision()))
    assert "A &lt;title&gt;" in text
    assert "run-1 &amp; co" in text
    assert "&lt;refused&gt;" in text


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_every_place_and_rejected_candidate_is_listed() -> None:
    decision = make_decision()
    text = report(Analysis(make_scan(), decision))
    for request in decision.record.requests:
        assert f"<td>{request.x_m * 1e6:.4f}</td>" in text
    for candidate in decision.record.candidates:
        assert (candidate.candidate_id in text) or candidate.guarded_out is None
    assert text.count("<figure>") == 6


@pytest.mark.slow
def test_the_same_decision_gives_the_same_file() -> None:
    assert report(Analysis(make_scan(), make_decision())) == report(Analysis(make_scan(), make_decision()))


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
def test_the_command_writes_a_run_a_decision_and_its_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(tmp_path / "runs" / "monday", make_decision())
    monkeypatch.chdir(tmp_path)
    decision_id = make_decision().record.decision_id
    for arguments, name in (([], "monday.html"), ([str(run)], "monday.html"), ([decision_id], f"{decision_id}.html")):
        done = CliRunner().invoke(app, ["report", *arguments])
        assert done.exit_code == 0, done.output
        assert "6 events" not in done.output
        text = (tmp_path / name).read_text(encoding="utf-8")
        parsed(text)
        assert text.count("<figure>") == 7  # with the loops
        assert re.search(r"chain \d+:[0-9a-f]{64}", text)
        (tmp_path / name).unlink()
    done = CliRunner().invoke(app, ["report", decision_id, "--out", "r.html", "--figures", "f", "--format", "pdf"])
    assert done.exit_code == 0, done.output
    drawn = {path.name for path in (tmp_path / "f" / decision_id).iterdir()}
    assert drawn == {f"{kind}.pdf" for kind in ("scan", "patches", "loops", "latent", "reward", "latent_grid", "pareto")}


@pytest.mark.slow
@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["d-none"], "matches 0 decisions"),
        (["--format", "gif"], "'gif' is not a format of figures; choose one of png, svg, pdf"),
        (["--out", "no/folder/r.html"], "cannot be written"),
    ],
)
def test_what_cannot_be_reported_is_refused_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    run_with(tmp_path / "runs" / "monday", make_decision())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())


def refused(*_: object) -> drawing.Drawing:
    return drawing.Drawing("scan", None, "figure 'scan' could not be drawn: <no font>")


@pytest.mark.attack(
    "a figure of the report cannot be drawn", promise="the report is complete but for it, and says so; exit code 5"
)
def test_a_report_names_the_figures_that_could_not_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_drawing", refused)
    run_with(tmp_path / "runs" / "monday", make_decision())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report", "--figures", "f"])
    assert done.exit_code == exit_codes.INCOMPLETE
    assert done.output.count("could not be drawn: <no font>") == 1
    text = (tmp_path / "monday.html").read_text(encoding="utf-8")
    parsed(text)
    assert "could not be drawn: &lt;no font&gt;" in text
    assert "<h3>Points</h3>" in text


@pytest.mark.attack(
    "a run with one decision that cannot be read back", promise="`vaestar report` writes all others, and names it"
)
@pytest.mark.usefixtures("without_figures")
def test_one_decision_that_cannot_be_read_does_not_end_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_with(tmp_path / "runs" / "monday", make_decision())
    with Store(run) as store:
        (made,) = store.events(kind="decision_made")
        store.record("decision_made", "d-2", {**made.body, "decision": {"decision_id": "d-2"}}, at=made.recorded_at)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["report"])
    assert done.exit_code == exit_codes.INCOMPLETE, done.output
    assert "decision 2 of 2 is missing: event" in done.output
    assert "decision 2 of 2 is missing: event" in (tmp_path / "monday.html").read_text(encoding="utf-8")
