"""What commands print: every code page, every end of the output, and nothing that a terminal obeys."""

import ast
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from instrument_adapters.command_line import output
from instrument_adapters.command_line.agent_options import configure_logging
from instrument_adapters.command_line.arguments import OneSentenceParser
from tests.instrument_adapters.test_plain_text import PROMISE

ROOT = Path(__file__).resolve().parents[3]


class Full(io.TextIOWrapper):
    """A stream on a disk that is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(io.BytesIO(), "utf-8")
        self._error = error

    def write(self, text: str) -> int:
        raise self._error

    def fileno(self) -> int:
        raise OSError("no file")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard streams and environment are put back."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setenv(output.SAFE_PATH, "1")


def printed(encoding: str, monkeypatch: pytest.MonkeyPatch, *lines: str) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    output.prepare_process()
    for line in lines:
        output.write_line(line)
    output.flush_output()
    return stream.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "0.5 µm ± 0.1, σ → 畴 é\n"),
        ("cp1252", "0.5 µm ± 0.1, sigma -> \\u7574 é\n"),
        ("gbk", "0.5 um ± 0.1, σ → 畴 é\n"),
        ("cp932", "0.5 um ± 0.1, σ → 畴 \\xe9\n"),
        ("ascii", "0.5 um +- 0.1, sigma -> \\u7574 \\xe9\n"),
    ],
)
@pytest.mark.usefixtures("streams")
def test_what_a_code_page_lacks_is_written_in_ascii(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(encoding, monkeypatch, "0.5 µm ± 0.1, σ → 畴 é") == shown


@pytest.mark.usefixtures("streams")
def test_a_file_name_in_no_known_encoding_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed("utf-8", monkeypatch, os.fsdecode(b"scan\xff.ibw")) == "scan\\udcff.ibw\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BrokenPipeError(32, "Broken pipe"), 141, ""),
        (
            OSError(28, "No space left on device"),
            4,
            "vaestar: the output cannot be written (No space left on device); what the command did is not undone\n",
        ),
    ],
    ids=["closed", "full"],
)
@pytest.mark.attack(
    "The output is closed (`| head`) or its disk is full", promise="The exit code says so; there is no traceback."
)
@pytest.mark.usefixtures("streams")
def test_output_that_cannot_be_written_has_an_exit_code_of_its_own(
    error: OSError, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Full(error))
    monkeypatch.setattr(sys, "stderr", heard)
    assert output.run_command(lambda: output.write_line("a line")) == code
    assert heard.getvalue() == said


@pytest.mark.usefixtures("streams")
def test_a_lost_line_on_standard_error_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Full(OSError(28, "No space left on device")))
    assert output.run_command(lambda: output.write_error("a line")) == 0


@pytest.mark.attack("A fault is about a file whose name holds escape sequences", promise=PROMISE)
@pytest.mark.usefixtures("streams")
def test_an_unforeseen_error_ends_in_a_traceback_without_control_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = io.StringIO()
    monkeypatch.setattr(sys, "stderr", heard)

    def fails() -> None:
        raise ZeroDivisionError("\x1b[2J")

    assert output.run_command(fails) == 1
    assert heard.getvalue().splitlines()[-1] == r"ZeroDivisionError: \x1b[2J"


def test_a_parser_quotes_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        OneSentenceParser(prog="x").error("there is no file \x1b[31m.ibw")
    assert ended.value.code == 2
    assert "there is no file \\x1b[31m.ibw (" in capsys.readouterr().err


@pytest.mark.attack("A reason from the agent would add a line to an adapter's log, or steer its terminal", promise=PROMISE)
@pytest.mark.parametrize("form", ["text", "json"])
def test_an_adapters_log_line_stays_one_line(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        configure_logging(form)
        logging.getLogger("adapter").info("stopped: %s", "\x1b[2J\x9b\n12:00:00 resumed by eva \u202e")
    finally:
        root.handlers[:], root.level = handlers, level
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "resumed by eva" in line


@pytest.mark.slow
def test_nothing_is_printed_past_the_one_place() -> None:
    """Every other way to print is closed to commands: they use `output`, or `terminal` where rich draws."""
    allowed = {"instrument_adapters/command_line/output.py", "agent/reporting/terminal.py"}
    allowed |= {"instrument_adapters/formats/hdf5_guard.py"}  # answers its parent, not a person
    found = []
    for package in ("agent", "instrument_adapters", "simulators", "rewards"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            text = path.read_text("utf-8")
            if not any(word in text for word in ("print(", "echo(", "Console(", ".write(")):
                continue
            calls = (node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
            written = {ast.unparse(call) for call in calls}
            bad = {"print", "typer.echo", "click.echo", "Console", "sys.stdout.write", "sys.stderr.write"} & written
            found += [f"{name}: {', '.join(sorted(bad))}" for _ in [0] if bad and name not in allowed]
    assert found == []


def test_a_child_is_started_in_one_place_without_the_working_directory_on_its_path() -> None:
    """`python -m` and `-c` would import modules of the working directory."""
    found = []
    for package in ("agent", "instrument_adapters", "simulators", "rewards"):
        files = (path for path in sorted((ROOT / package).rglob("*.py")) if path.name != "child_process.py")
        found += [path.relative_to(ROOT).as_posix() for path in files if "sys.executable" in path.read_text("utf-8")]
    assert found == []


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="closes descriptors as a shell does")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-", "> /dev/full"])
def test_a_command_runs_with_streams_that_are_closed_or_full(closed: str) -> None:
    command = f'"{sys.executable}" -P -m instrument_adapters --help {closed}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == (4 if "full" in closed else 0)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stdout == "" or closed == "2>&-"
