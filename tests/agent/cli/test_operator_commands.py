"""`vaestar status`, `pause`, `resume`, `stop`, `pending`, `approve`, `reject`, with a fake agent that records commands."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import structlog
from click.testing import Result
from typer.testing import CliRunner

from agent.cli import agent_client
from agent.cli.app import app
from agent.history.run_directory import STATE_FILE
from tests.support.asgi import INSTRUMENT, FakeControl
from tests.support.history.runs import record_run
from tests.support.http_server import http_server

Vaestar = Callable[..., Result]


@pytest.fixture
def vaestar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vaestar:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be used for loopback
    monkeypatch.setenv("LOGNAME", "eva")
    monkeypatch.setattr("agent.cli.operator_commands._CONFIRM_TIMEOUT_S", 0.2)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def control(tmp_path: Path) -> Iterator[FakeControl]:
    """An agent on runs/now whose instrument afm-1 confirms at once."""
    (tmp_path / "runs").mkdir()
    found = FakeControl()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with http_server(tmp_path / "runs" / "now", found):
        yield found
    structlog.reset_defaults()


def test_status_says_what_each_instrument_does(vaestar: Vaestar, control: FakeControl) -> None:
    control.facts |= {"uptime_s": 200.0, "mode": "review", "events": 9}
    control.facts["instruments"]["afm-1"] |= {"deciding": {"stage": "training", "done": 3, "total": 9}}
    done = vaestar("status")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines() == [
        "run      runs/now, 9 events",
        "agent    running for 3 min, healthy",
        "mode     review",
        "afm-1",
        "         connected, last message 2 s ago",
        "         running",
        "         measuring, 3 points left",
        "         deciding on scan-1: training 3/9",
    ]
    assert json.loads(vaestar("status", "--json").stdout)["run_id"] == "run-1"


@pytest.mark.attack(
    "a decision waits for approval, and nobody looks at the page", promise="`vaestar status` says so, and what to do"
)
def test_status_says_that_a_decision_waits_for_approval(vaestar: Vaestar, control: FakeControl) -> None:
    control.facts["instruments"]["afm-2"] = INSTRUMENT | {"waiting_approval": "d-7", "waiting_approval_s": 700.0}
    lines = vaestar("status").stdout.splitlines()
    assert lines[lines.index("afm-2") :][-2:] == [
        "         WAITS FOR APPROVAL for 12 min: decision d-7; `vaestar pending` lists its points,",
        "         answer with `vaestar approve d-7` or `vaestar reject d-7 --reason WHY`",
    ]
    assert sum("WAITS" in line for line in lines) == 1


def test_a_stop_is_sent_with_name_and_reason_and_says_what_each_instrument_answered(
    vaestar: Vaestar, control: FakeControl
) -> None:
    one = control.facts["instruments"]["afm-1"]
    one |= {"state": "stopped", "command_replies": {"connections": 1, "answered": 1, "within_ms": 12.4}}
    control.facts["instruments"]["afm-2"] = INSTRUMENT | {"connected": False, "command_unacknowledged": "stop", "left": True}
    done = vaestar("stop", "--reason", "smoke")
    assert done.exit_code == 0, done.stderr
    assert control.calls == [("stop", "eva", "smoke", None)]
    assert done.stdout.splitlines() == [
        "EMERGENCY STOP: recorded by the agent (all instruments, by eva)",
        "  afm-1: answered within 12 ms, stopped",
        "  afm-2: not connected (it said goodbye); receives the command when it reconnects",
    ]


SILENT = {"command_unacknowledged": "stop", "command_replies": {"connections": 1, "answered": 0, "within_ms": None}}
ANSWERED = {"connections": 2, "answered": 1, "within_ms": 9.0}


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (SILENT, "HAS NOT ANSWERED; its last message came 2 s ago"),
        (SILENT | {"connected": False}, "NOT CONNECTED; its last message came 2 s ago; receives the command when it reconnects"),
        (
            {"command_unacknowledged": "stop", "command_replies": {"connections": 0, "answered": 0, "within_ms": None}},
            "NOT CONNECTED; its last message came 2 s ago; receives the command when it reconnects",
        ),
        ({"command_refused": "the laser is off"}, "REFUSED: the laser is off"),
        (
            {"state": "stopped", "command_replies": ANSWERED},
            "answered within 9 ms, stopped, but only 1 of 2 connections under this name; make sure that only one client runs",
        ),
    ],
    ids=["silent", "lost", "connection closed", "refused", "two clients"],
)
def test_an_instrument_that_does_not_obey_is_named_and_the_command_fails(
    vaestar: Vaestar, control: FakeControl, facts: dict, says: str
) -> None:
    control.facts["instruments"]["afm-1"] |= facts
    control.facts["instruments"]["afm-0"] = INSTRUMENT | {"state": "stopped"}
    done = vaestar("stop", "--by", "otto")
    assert done.exit_code == 1
    assert sorted(done.stdout.splitlines()[1:]) == ["  afm-0: answered, stopped", f"  afm-1: {says}"]
    assert done.stderr.startswith("vaestar: stop not confirmed within 0.2 s by afm-1; the agent repeats the command")
    assert "STOP IT AT THE INSTRUMENT ITSELF" in done.stderr
    assert control.calls == [("stop", "otto", "", None)]


def test_a_stop_before_any_instrument_has_connected_says_so(vaestar: Vaestar, control: FakeControl) -> None:
    control.facts["instruments"].clear()
    done = vaestar("stop")
    assert (done.exit_code, done.stdout.splitlines()[1:]) == (
        0,
        ["  no instrument has connected yet; the command holds for each that connects"],
    )


def test_pause_and_resume(vaestar: Vaestar, control: FakeControl) -> None:
    assert vaestar("pause", "afm-1", "--reason", "lunch").exit_code == 0
    assert vaestar("resume").exit_code == 0
    assert control.calls == [("pause", "eva", "lunch", "afm-1"), ("resume", "eva", "", None)]
    assert vaestar("pause").exit_code == 2  # without a reason


def test_pending_decisions_are_listed_approved_with_edits_or_rejected(vaestar: Vaestar, control: FakeControl) -> None:
    assert vaestar("pending").stdout == "nothing waits for approval\n"
    request = {"request_id": "d-1-000", "x_m": 1e-6, "y_m": -2e-6, "cluster": 1}
    control.waiting.append({"decision_id": "d-1", "instrument_id": "afm-1", "scan_id": "s-1", "requests": [request]})
    control.waiting[0]["explanation"] = "Two types."
    assert vaestar("pending").stdout.splitlines() == ["d-1  afm-1 s-1", "  Two types.", "  d-1-000  1.000, -2.000 µm  cluster 1"]
    assert json.loads(vaestar("pending", "--json").stdout) == control.waiting
    arguments = ("--drop", "d-1-001", "--move", "d-1-000=1.25,-0.5", "--instrument", "afm-1")
    assert vaestar("approve", "d-1", *arguments).stdout == "approved: d-1, by eva\n"
    assert vaestar("reject", "d-1", "--reason", "a scratch").stdout == "rejected: d-1, by eva\n"
    assert control.calls == [
        ("approve", "eva", "", "d-1", ("d-1-001",), {"d-1-000": (1.25e-6, -5e-7)}, "afm-1"),
        ("reject", "eva", "a scratch", "d-1", None),
    ]
    wrong = vaestar("approve", "d-1", "--move", "d-1-000")
    assert (
        wrong.exit_code,
        wrong.stderr.startswith("vaestar: --move d-1-000 is not of the form REQUEST=X_UM,Y_UM; an example is"),
    ) == (2, True)


def test_a_refusal_is_printed_with_the_agents_reason(vaestar: Vaestar, control: FakeControl) -> None:
    done = vaestar("pause", "no-such", "--reason", "x")
    assert done.exit_code == 1
    assert done.stderr == "vaestar: the agent refuses: there is no instrument 'no-such'; known are afm-1\n"
    bad = vaestar("pause", "../x", "--reason", "x")
    assert (bad.exit_code, "'instrument_id' is '../x'" in bad.stderr) == (1, True)


COMMANDS = [
    ("status",),
    ("pending",),
    ("pause", "--reason", "x"),
    ("resume",),
    ("stop",),
    ("approve", "d"),
    ("reject", "d", "--reason", "x"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_where_no_agent_runs_the_exit_code_is_3(vaestar: Vaestar, tmp_path: Path, command: tuple[str, ...]) -> None:
    nothing = vaestar(*command)
    assert nothing.exit_code == 3
    assert nothing.stderr == "vaestar: no agent runs, and there is no run in ./runs; name a run directory with --run\n"
    record_run(tmp_path / "runs" / "old")
    ended = vaestar(*command)
    assert ended.exit_code == 3
    assert ended.stderr == "vaestar: no agent runs on runs/old; start one with `vaestar serve --run runs/old`\n"


def test_status_of_a_run_without_agent_comes_from_its_history(vaestar: Vaestar, tmp_path: Path) -> None:
    record_run(tmp_path / "runs" / "old", 2)
    done = vaestar("status")
    for line in (
        "ended            terminated without a clean shutdown",
        "scans            2",
        "decisions        2",
        "results          4",
    ):
        assert line in done.stdout.splitlines()
    known = json.loads(vaestar("status", "--json").stdout)
    assert (known["running"], known["decisions"]) == (False, 2)


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        pass
    return process.pid


@pytest.mark.skipif(os.name != "posix", reason="only POSIX can test whether a process exists")
def test_an_agent_that_was_killed_is_recognised(vaestar: Vaestar, tmp_path: Path) -> None:
    record_run(tmp_path / "runs" / "killed")
    state = {"pid": (pid := dead_process()), "http": "http://127.0.0.1:1"}
    (tmp_path / "runs" / "killed" / STATE_FILE).write_text(json.dumps(state))
    done = vaestar("stop")
    assert done.exit_code == 3
    assert done.stderr.startswith(f"vaestar: no agent runs on runs/killed: process {pid} ended without a clean shutdown")
    assert "`vaestar serve --run runs/killed` continues the run" in done.stderr


def test_the_newest_run_that_an_agent_runs_on_is_taken(vaestar: Vaestar, control: FakeControl, tmp_path: Path) -> None:
    record_run(tmp_path / "runs" / "later")
    assert vaestar("status").exit_code == 0
    assert vaestar("status", "--run", "runs/later").exit_code == 3


@pytest.mark.parametrize("content", ["", "[]", "{", '{"pid": "x"}', '{"pid": -1}', '{"pid": true, "http": ""}'])
def test_an_invalid_state_file_means_that_no_agent_runs(vaestar: Vaestar, tmp_path: Path, content: str) -> None:
    record_run(tmp_path / "runs" / "odd")
    (tmp_path / "runs" / "odd" / STATE_FILE).write_text(content)
    assert vaestar("status").exit_code == 3


def test_an_agent_without_http_server_is_an_error(vaestar: Vaestar, tmp_path: Path) -> None:
    record_run(tmp_path / "runs" / "shut")
    (tmp_path / "runs" / "shut" / STATE_FILE).write_text(json.dumps({"pid": os.getpid(), "http": ""}))
    done = vaestar("stop")
    assert (done.exit_code, "the agent on runs/shut has no HTTP server; start it with service.http" in done.stderr) == (3, True)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silent", "nonsense", "redirect", "closed port"])
def test_an_agent_that_does_not_answer_is_not_waited_for(
    vaestar: Vaestar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(agent_client, "_TIMEOUT_S", 0.2)
    finished = threading.Event()

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if how == "silent":
                finished.wait(5)
            self.send_response(302 if how == "redirect" else 200)
            self.send_header("Location", "http://192.0.2.1/")
            self.end_headers()
            self.wfile.write(b"nonsense")

        def log_message(self, *_: object) -> None:
            pass

    record_run(tmp_path / "runs" / "odd")
    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        port = 1 if how == "closed port" else server.server_port
        state = {"pid": os.getpid(), "http": f"http://127.0.0.1:{port}"}
        (tmp_path / "runs" / "odd" / STATE_FILE).write_text(json.dumps(state))
        done = vaestar("pending")
        finished.set()
        server.shutdown()
        thread.join()
    assert done.exit_code in (1, 3)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert ("stop the instrument directly if there is danger" in done.stderr) == (how != "redirect")


def test_the_commands_load_nothing_heavy() -> None:
    code = "import sys; import agent.cli, agent.cli.operator_commands; print(*(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {
        "numpy",
        "torch",
        "fastapi",
        "starlette",
        "uvicorn",
        "zmq",
        "structlog",
        "pydantic",
        "prometheus_client",
        "scipy",
    }
