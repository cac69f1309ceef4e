"""Names and reasons that would steer a terminal, add lines, or be taken for markup: what each command shows of them."""

import csv
import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
import structlog
from click.testing import Result
from rich.table import Table

from agent.cli import demo
from agent.cli.log_setup import log_to
from agent.history.event_log import History
from agent.messaging.dispatcher import Dispatcher
from agent.reporting import terminal
from agent.reporting.drawing import png_tag
from agent.reporting.html_report import page
from agent.reporting.notebook import Analysis
from agent.reporting.notebook import History as Notebook
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import messages as wire
from tests.agent.cli.test_operator_commands import control, vaestar  # noqa: F401 - fixtures
from tests.instrument_adapters.test_plain_text import PROMISE
from tests.support.asgi import FakeControl
from tests.support.history.history_tampering import tamper
from tests.support.samples import NOW, Clock, ack, decision, packet, result, sample_scan, scan_message

Vaestar = Callable[..., Result]
EVIL = "\x1b]0;x\x07\x1b[31m[bold]\x9b2J\u202eok\n#9 run_stopped"
SEEN = r"\x1b]0;x\x07\x1b[31m[bold]\x9b2J\u202eok\n#9 run_stopped"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run in which the instrument, the sample, a reason, a result's parameter and a peer's name are hostile."""
    directory = tmp_path / "runs" / "evil"
    with History(directory) as history:
        agent = Dispatcher(history, "run-1", Clock())
        agent.run_log.started({"seed": 0}, {"python": "3"})
        name = "".join(c for c in EVIL if c >= " ")  # all that the wire lets through in a name
        agent.on_packet(
            "afm-1",
            packet(wire.Hello(id="h-1", sent_at=NOW, instrument_id="afm-1", model=name, software="x", limits=wire.Limits())),
        )
        agent.on_packet("afm-1", scan_message(sample_scan("0007", metadata={EVIL: EVIL})))
        entry = agent.ledger.undecided("afm-1")
        agent.decision_log.decided(entry, decision("0007", explanation=EVIL), 1.5)
        agent.sent(entry)
        agent.on_packet("afm-1", ack("rec-d-0007"))
        agent.on_packet("afm-1", result("d-0007-000", reason=EVIL, parameters={"=cmd": 1.0}))
        agent.refuse(EVIL, None, ProtocolError("bad_json", EVIL))
        agent.run_log.stopped(EVIL)
    return directory


def assert_harmless(text: str) -> None:
    assert {c for c in text if not c.isprintable()} <= {"\n"}
    assert not re.search(r"^#9 run_stopped", text, re.MULTILINE), "a reason has added a line"


@pytest.mark.attack("The texts of a run hold escape sequences, markup and new lines, and a person reads them", promise=PROMISE)
@pytest.mark.parametrize(
    "command",
    [
        ["history", "list"],
        ["history", "show", "0007"],
        ["history", "show", "8"],
        ["history", "explain"],
        ["history", "explain", "0007"],
        ["history", "explain", "d-0007"],
        ["history", "explain", "d-0007-000"],
        ["history", "explain", "afm-1"],
        ["history", "explain", "8"],
        ["history", "explain", "--json"],
        ["history", "export"],
        ["history", "verify"],
        ["history", "list", "--kind", EVIL],
        ["history", "show", EVIL],
        ["status"],
        ["status", "--json"],
    ],
    ids=lambda command: " ".join(command).replace(EVIL, "EVIL"),
)
def test_no_command_prints_what_a_terminal_obeys(run: Path, command: list[str], vaestar: Vaestar) -> None:  # noqa: F811
    done = vaestar(*command, "--run", run)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert_harmless(done.stdout + done.stderr)


def test_the_escapes_are_shown_and_the_history_keeps_what_was_said(run: Path, vaestar: Vaestar) -> None:  # noqa: F811
    assert SEEN in vaestar("history", "explain", "d-0007", "--run", run).stdout
    exported = [json.loads(line) for line in vaestar("history", "export", "--run", run).stdout.splitlines()]
    assert exported[-1]["body"]["reason"] == EVIL
    assert "0 faults" in vaestar("history", "verify", "--run", run).stdout


def test_a_fault_that_is_found_is_told_without_control_characters(run: Path, vaestar: Vaestar) -> None:  # noqa: F811
    tamper(run, f"UPDATE event SET subject = '{EVIL}', kind = '{EVIL}' WHERE seq = 3")
    done = vaestar("history", "verify", "--run", run)
    assert done.exit_code == 1
    assert_harmless(done.stdout + done.stderr)


@pytest.mark.attack("A state's reason and an answer of the agent hold escape sequences", promise=PROMISE)
@pytest.mark.parametrize("command", [["status"], ["pending"], ["stop", "--by", EVIL]])
def test_what_a_running_agent_says_is_harmless(control: FakeControl, command: list[str], vaestar: Vaestar) -> None:  # noqa: F811
    control.facts |= {"mode": EVIL}
    control.facts["instruments"]["afm-1"] |= {"state_reason": EVIL, "activity": EVIL, "reason": EVIL}
    assert_harmless(vaestar(*command).output)


@pytest.mark.attack(
    "A name or a parameter of a result begins as a spreadsheet's formula", promise="A table holds text, never a formula."
)
def test_no_cell_and_no_heading_of_an_export_is_a_formula(run: Path, vaestar: Vaestar, tmp_path: Path) -> None:  # noqa: F811
    assert vaestar("history", "export", "--run", run, "--format", "csv", "--out", tmp_path / "out").exit_code == 0
    with (tmp_path / "out" / "requests_and_results.csv").open(encoding="utf-8") as file:
        assert "'=cmd" in next(csv.reader(file))
    for path in (tmp_path / "out").iterdir():
        assert_harmless(path.read_text("utf-8").replace("\n#9", ""))  # a table's cell may have several lines


@pytest.mark.attack("A log line holds a name with escape sequences and a new line", promise=PROMISE)
def test_a_log_line_for_people_stays_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_to()
    structlog.get_logger("vaestar").warning(EVIL, instrument=EVIL, path=Path(EVIL), sizes=[EVIL])
    (line,) = capsys.readouterr().err.splitlines()
    assert_harmless(line)
    assert r"\u202eok\n#9 run_stopped" in line


def test_a_log_file_takes_a_name_in_no_known_encoding(tmp_path: Path) -> None:
    log_to(file=tmp_path / "agent.log")
    structlog.get_logger("vaestar").warning("read", file="\udcff.ibw")
    assert json.loads((tmp_path / "agent.log").read_text("utf-8"))["file"] == "\udcff.ibw"


@pytest.mark.attack("An id or a reason holds HTML, bidi overrides and invisible characters", promise=PROMISE)
def test_a_report_and_a_notebook_show_escapes(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.reporting.html_report.drawings", lambda *_: ())
    analysis = Analysis(sample_scan(EVIL), decision("0007", explanation=f"<script>{EVIL}"), ())
    html = page(EVIL, [analysis], {EVIL: EVIL}, [EVIL]).html
    assert "<script" not in html
    assert {c for c in html if not c.isprintable()} <= {"\n"}
    with Notebook(run) as history:
        assert_harmless(repr(history) + repr(history.decisions) + repr(analysis))
        assert {c for c in history._repr_html_() if not c.isprintable()} <= {"\n"}


def test_the_name_of_a_picture_ends_nothing() -> None:
    assert png_tag(b"", '"><script>') == '<img alt="&quot;&gt;&lt;script&gt;" src="data:image/png;base64,">'


def test_nothing_that_rich_draws_is_markup_or_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    written = StringIO()
    for console in (terminal.OUT, terminal.ERR):
        monkeypatch.setattr(console, "_file", written)
    table = Table("[red]head", title="[b]\x1b[31m")
    table.add_row("[link=x]\x9b:smile:")
    terminal.OUT.print(table, width=80)
    terminal.ERR.print("[bold]\x1b[2J", style="bold")
    shown = written.getvalue()
    assert_harmless(shown)
    for text in ("[red]head", r"[b]\x1b[31m", r"[link=x]\x9b:smile:", r"[bold]\x1b[2J"):
        assert text in shown


def test_the_demo_takes_no_name_for_markup() -> None:
    assert demo._line({"kind": "scan", "scan_id": "[red]"}) == "[red] received"
