"""Commands on a terminal of an old code page, of 80 columns, or on an output that ends."""

import io
import sys
from pathlib import Path

import pytest

from agent.cli.app import app
from instrument_adapters.command_line import output
from tests.support.history.hand_made_run import KINDS, hand_made_run

COMMANDS = (
    ("history", "list"),
    ("history", "explain"),
    ("history", "explain", "d-0007"),
    ("history", "explain", "--json"),
    ("history", "show", "0007"),
    ("history", "verify"),
    ("history", "export"),
    ("status",),
    ("--help",),
    ("history", "list", "--help"),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return hand_made_run(tmp_path / "runs" / "run")


class Ends(io.TextIOWrapper):
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__(io.BytesIO(), "utf-8", write_through=True)
        self._error = error

    def write(self, text: str) -> int:
        raise self._error


def ran(monkeypatch: pytest.MonkeyPatch, run: Path, command: tuple[str, ...], stdout: io.TextIOWrapper) -> tuple[int, str]:
    """Exit code and standard error of a command that prints to `stdout`."""
    heard = io.StringIO()
    monkeypatch.setenv(output.SAFE_PATH, "1")
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", heard)
    named = [] if "--help" in command else ["--run", str(run)]
    try:
        code = output.run_command(lambda: app([*command, *named]))
    except SystemExit as ended:
        code = ended.code
    return int(code or 0), heard.getvalue()


@pytest.mark.attack("The terminal has the code page of a Western, Chinese or Japanese Windows", promise="Nothing breaks.")
@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "cp932"])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_prints_in_every_code_page(
    run: Path, command: tuple[str, ...], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    code, said = ran(monkeypatch, run, command, stdout)
    assert code == (3 if command == ("status",) else 0), said
    assert "Traceback" not in said
    assert stdout.buffer.getvalue().decode(encoding)


@pytest.mark.attack(
    "Printing fails while a history is read", promise="A printing error is never told as a history that was altered."
)
@pytest.mark.parametrize(
    ("error", "code"),
    [(BrokenPipeError(32, "Broken pipe"), 141), (OSError(28, "No space left on device"), 4), (ValueError("closed file"), 4)],
    ids=["closed", "full", "no file"],
)
@pytest.mark.parametrize("command", COMMANDS[:7], ids=" ".join)
def test_an_error_of_printing_is_told_as_one(
    run: Path, command: tuple[str, ...], error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, said = ran(monkeypatch, run, command, Ends(error))
    assert ended == code
    assert "altered" not in said
    assert "interpreted" not in said
    assert said == "" or said.startswith("vaestar: the output cannot be written")


def test_on_80_columns_an_event_is_one_line_and_no_id_is_broken(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stdout = io.TextIOWrapper(io.BytesIO(), "utf-8")
    assert ran(monkeypatch, run, ("history", "list"), stdout)[0] == 0
    lines = stdout.buffer.getvalue().decode().splitlines()
    assert len(lines) == 2 + len(KINDS)
    assert [line.split()[3] for line in lines[2:]] == list(KINDS)
    assert lines[6].endswith("d-0007       one_type_only: rt-w9-s0, 2 points, 1.5 s")
