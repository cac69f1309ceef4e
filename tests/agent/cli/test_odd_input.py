"""Input that no command can use: one sentence on stderr, exit code 2, and nothing is created."""

from pathlib import Path

import pytest
import zmq
from typer.testing import CliRunner

from agent.cli.app import app
from agent.errors import ServiceError
from agent.service.sockets import bind_socket

ODD = {
    "no such command": (["nosuch"], "no such command 'nosuch'; `vaestar --help` lists"),
    "no such subcommand": (["history", "nosuch"], "no such command 'nosuch'; `vaestar history --help` lists"),
    "no such option": (["status", "--nosuch"], "no such option: --nosuch"),
    "a missing argument": (["analyze"], "missing argument 'scan'; `vaestar analyze --help` lists"),
    "a missing option": (["pause"], "missing option '--reason'"),
    "one argument too many": (["status", "extra"], "got unexpected extra argument"),
    "text for a number": (["analyze", "scan.ibw", "--seed", "x"], "invalid value for '--seed': give a whole number;"),
    "a negative number": (["demo", "--seed", "-1"], "invalid value for '--seed': give 0 or more;"),
    "none of something": (["history", "list", "--last", "0"], "invalid value for '--last': give 1 or more;"),
    "a negative deadline": (["analyze", "file", "--deadline", "-1"], "'search.deadline_s' is -1.0: give more than 0"),
    "a missing scan": (["analyze", "none.ibw"], "there is no file none.ibw; give the path of a scan saved by the instrument"),
    "a folder for a scan": (["analyze", "folder"], "folder is a folder; give one scan file in it"),
    "a missing configuration": (
        ["analyze", "file", "--config", "no.toml"],
        "no.toml cannot be read: there is no such file or folder;",
    ),
    "a folder for a configuration": (
        ["analyze", "file", "--config", "folder"],
        "folder cannot be read: it is a folder; give a TOML",
    ),
    "UTF-16": (["analyze", "file", "--config", "utf16"], "utf16 cannot be read: it is not UTF-8 text (byte 0); give a TOML file"),
    "an unknown run": (["report", "--run", "none"], "there is no history in none (no history.sqlite); name a run directory"),
    "an unknown decision": (["report", "nosuch"], "'nosuch' is not a run directory, and "),
    "a file for a run": (
        ["report", "file"],
        "there is no history in file (no history.sqlite); name a run directory, or a decision",
    ),
    "retention of nothing": (["history", "retain", "--run", "none"], "there is no history in none (no history.sqlite)"),
    "a demo in a file": (["demo", "--run", "file"], "file cannot be the run directory: there is already a file of that name;"),
    "keys in a file": (
        ["keygen", "agent", "--dir", "file"],
        "keys cannot be written to file: File exists; choose another folder",
    ),
}


@pytest.mark.attack(
    "odd input to a command", promise="one sentence says what was given, what is allowed or what to do; exit code 2"
)
@pytest.mark.parametrize(("arguments", "says"), ODD.values(), ids=list(ODD))
def test_odd_input_gets_one_sentence(arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_text("no scan")
    Path("utf16").write_bytes("seed = 1".encode("utf-16"))
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(app, arguments)
    (line,) = done.stderr.splitlines()
    assert line.startswith("vaestar: ")
    assert says in line
    assert "[Errno" not in line
    assert (done.exit_code, done.stdout, sorted(tmp_path.rglob("*"))) == (2, "", before)


@pytest.mark.parametrize("arguments", [[], ["history"]])
def test_without_a_command_the_help_is_shown(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, arguments)
    assert "Usage:" in done.output


@pytest.mark.attack(
    "an address without a scheme, or with a port that does not exist", promise="it is refused, and the form is named"
)
@pytest.mark.parametrize(
    "address", ["127.0.0.1:21555", "udp://127.0.0.1:5", "tcp://127.0.0.1", "tcp://127.0.0.1:99999", "", "5555"]
)
def test_an_address_of_another_form_is_not_listened_at(address: str) -> None:
    with pytest.raises(ServiceError, match="is not an address to listen at; give tcp://HOST:PORT, such as"):
        bind_socket(None, zmq.ROUTER, address, None, None)
