"""Log lines: their destinations and fields."""

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from agent.cli.log_setup import log_to
from agent.config.logs import LogFormat, LogLevel
from agent.errors import LogFileError


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raises = list(root.handlers), root.level, logging.raiseExceptions
    yield
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        with suppress(OSError):  # closing tries to write again what could not be written
            handler.close()
    for handler in handlers:
        if handler not in root.handlers:
            root.addHandler(handler)
    root.setLevel(level)
    logging.raiseExceptions = raises
    structlog.reset_defaults()


def test_our_lines_and_a_librarys_are_json_objects_with_the_same_fields(capsys: pytest.CaptureFixture[str]) -> None:
    log_to(LogFormat.JSON)
    with structlog.contextvars.bound_contextvars(scan="scan-1"):
        structlog.get_logger("vaestar.agent").info("decided", decision="d-1")
        logging.getLogger("library").warning("took %d s", 3)
    ours, theirs = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert {k: ours[k] for k in ("event", "decision", "scan", "level", "logger")} == {
        "event": "decided",
        "decision": "d-1",
        "scan": "scan-1",
        "level": "info",
        "logger": "vaestar.agent",
    }
    assert (theirs["event"], theirs["scan"], theirs["level"], theirs["logger"]) == ("took 3 s", "scan-1", "warning", "library")
    assert ours["timestamp"].endswith("Z")


def test_a_fault_is_one_json_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log_to(LogFormat.JSON)
    try:
        int("broken")
    except ValueError:
        structlog.get_logger("vaestar").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


def test_the_start_is_a_block_for_people_without_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    log_to()
    structlog.get_logger("vaestar").info("listening", run="runs/a", http="", mode="auto")
    first, *block = capsys.readouterr().err.rstrip().split("\n")
    assert "listening" in first
    assert [line.split() for line in block] == [["run", "runs/a"], ["mode", "auto"]]


def test_lines_below_the_level_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log_to(level=LogLevel.WARNING)
    structlog.get_logger("vaestar").info("a detail")
    structlog.get_logger("vaestar").warning("a warning")
    assert "a detail" not in (output := capsys.readouterr().err)
    assert "a warning" in output


def test_the_file_holds_json_lines_and_is_rotated_before_it_grows_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.cli.log_setup._FILE_BYTES", 2000)
    monkeypatch.setattr("agent.cli.log_setup._FILES", 3)
    log_to(file=tmp_path / "logs" / "agent.log")
    for number in range(100):
        structlog.get_logger("vaestar").info("line", number=number)
    files = sorted((tmp_path / "logs").iterdir())
    assert [f.name for f in files] == ["agent.log", "agent.log.1", "agent.log.2"]
    assert all(f.stat().st_size <= 2000 for f in files)
    assert json.loads((tmp_path / "logs" / "agent.log").read_text().splitlines()[-1])["number"] == 99


def test_a_file_that_cannot_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogFileError, match=r"agent.log cannot be written: .*; give another one with --log-file"):
        log_to(file=tmp_path / "file" / "agent.log")


def test_a_log_that_can_no_longer_be_written_does_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_to(file=Path("/dev/full"))
    structlog.get_logger("vaestar").info("still there")
    assert "still there" in (output := capsys.readouterr().err)
    assert "Traceback" not in output
