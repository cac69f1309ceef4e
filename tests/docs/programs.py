"""Reads a command of the documentation as the program itself would, and runs it."""

import contextlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from agent.cli.app import app
from instrument_adapters import __main__ as adapters
from instrument_adapters.folder import command as folder_command
from instrument_adapters.mfp3d import command as mfp3d_command
from instrument_adapters.replay import command as replay_command
from simulators import __main__ as simulator
from tests.docs.snippets import ROOT

# What hands its options to another program; parsed by that one's parser.
OTHERS = {
    ("simulate",): simulator._parser,
    ("replay",): replay_command._parser,
    ("adapter", "folder"): folder_command._parser,
    ("adapter", "mfp3d"): mfp3d_command._parser,
    ("adapter", "replay"): replay_command._parser,
}
# What does not end by itself; each runs in tests/docs/test_docs_tutorial.py or tests/docs/test_docs_review.py, or where it says.
LASTING = {("serve",), ("demo",), *OTHERS}
# What needs a running agent; run in tests/docs/test_docs_review.py.
STEERING = {("status",), ("pause",), ("resume",), ("stop",), ("pending",), ("approve",), ("reject",)}
# Of what lasts, options with which it ends at once.
AT_ONCE = {"--list-faults", "--print-config"}


@cache
def ours() -> dict[tuple[str, ...], Any]:
    """Every command of `vaestar` by its words: typer's command, or a parser of argparse."""

    def walk(group: Any, before: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, command in group.commands.items():
            yield from walk(command, (*before, name)) if hasattr(command, "commands") else [((*before, name), command)]

    found = dict(walk(typer.main.get_command(app), ()))
    own = {words: command for words, command in found.items() if words not in {others[:1] for others in OTHERS}}
    return own | {words: parser() for words, parser in OTHERS.items()}


def split(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """The command's own words and what is given to it; `python -m simulators` is `vaestar simulate`."""
    rest = ["simulate", *words[3:]] if words[:3] == ["python", "-m", "simulators"] else words[1:]
    if ">" in rest:
        rest = rest[: rest.index(">")]
    for length in (2, 1):
        if tuple(rest[:length]) in ours():
            return tuple(rest[:length]), rest[length:]
    raise AssertionError(f"there is no command `{shlex.join(words)}`")


def is_ours(words: list[str]) -> bool:
    """Whether the command is one of this project's programs."""
    return words[0] == "vaestar" or words[:3] == ["python", "-m", "simulators"]


def options(command: tuple[str, ...]) -> set[str]:
    """All options that a command has and shows, but `--help`."""
    found = ours()[command]
    if hasattr(found, "params"):
        given = {option for parameter in found.params if not parameter.hidden for option in parameter.opts}
    else:
        given = {option for action in found._actions for option in action.option_strings}
    return {option for option in given if option.startswith("--")} - {"--help"}


def parse(words: list[str]) -> None:
    """Read a command with all it is given, as the program does; an error of its own if it cannot be read."""
    command, given = split(words)
    found = ours()[command]
    if hasattr(found, "params"):
        found.make_context(" ".join(command), list(given))
    elif not AT_ONCE & set(given):  # some of these end the program while they are read
        found.parse_args(given)


def run(words: list[str], *, fails: bool = False) -> str:
    """What a command of `vaestar` prints, run in this process and directory; redirected, it is in the file as well."""
    target = words[words.index(">") + 1] if ">" in words else None
    command, given = split(words)
    if command in OTHERS:
        out, code = _run_other(command, given)
    else:
        result = CliRunner().invoke(app, [*command, *given], env={"COLUMNS": "200", "NO_COLOR": "1"})
        out, code = result.stdout, result.exit_code
        assert code == 0 or result.exception is None or isinstance(result.exception, SystemExit), result.exception
        out += result.stderr if code else ""
    assert (code != 0) == fails, f"{shlex.join(words)} ended with {code}:\n{out}"
    if target:
        Path(target).write_text(out, encoding="utf-8")
    return out


def _run_other(command: tuple[str, ...], given: list[str]) -> tuple[str, int]:
    """What a command prints, and its exit code, that `vaestar` hands to another program."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            code = simulator.main(given) if command == ("simulate",) else adapters.main([command[-1], *given])
        except SystemExit as end:
            code = int(end.code or 0)
    return printed.getvalue(), code


def program(words: list[str]) -> list[str]:
    """The words with our own interpreter in place of `vaestar` and `python`."""
    if words[0] == "vaestar":
        return [sys.executable, "-m", "agent", *words[1:]]
    return [sys.executable, *words[1:]] if words[0] == "python" else words


def shell(**more: str) -> dict[str, Any]:
    """How a process of its own is started: with these sources, on one core, its output kept."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
    return {"env": environment, "capture_output": True, "text": True, "timeout": 120}


@contextlib.contextmanager
def going(words: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that lasts, ended by Ctrl-C at the end, and in order."""
    environment = {**shell()["env"], "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(program(words), stdout=file, stderr=file, env=environment)
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130), log.read_text()
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(words: list[str], directory: Path) -> Iterator[str]:
    """An agent started as a page says, on free ports; gives the address for instruments."""
    run = directory / words[words.index("--run") + 1]
    anywhere = ["--bind", "tcp://127.0.0.1:*", "--telemetry", "tcp://127.0.0.1:*", "--http", "127.0.0.1:0"]
    log = directory / "serve.log"
    with going([*words, *anywhere], log) as process:
        until = time.monotonic() + 60
        while not re.search(r"address +(tcp\S+)", log.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        (address,) = re.findall(r"address +(tcp\S+)", log.read_text())
        assert run.is_dir()
        yield address
