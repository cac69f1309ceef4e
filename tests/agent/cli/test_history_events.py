"""`vaestar history` on a hand-made run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from agent.history.event_log import History
from agent.history.run_directory import DATABASE
from tests.support.history.hand_made_run import KINDS, hand_made_run
from tests.support.history.history_tampering import tamper

Vaestar = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return hand_made_run(tmp_path / "runs" / "run [bold]1")


def test_the_list_has_a_line_for_each_event(run: Path, vaestar: Vaestar) -> None:
    done = vaestar("history", "list", "--run", run)
    assert done.exit_code == 0
    for kind in KINDS:
        assert kind in done.stdout
    assert len(done.stdout.splitlines()) == 2 + 11  # however narrow the terminal is
    for text in ("3 x 4 px, 2 channels, from afm-1", "2 candidates, 1 rejected", "one_type_only: rt-w9-s0, 2 points, 1.5 s"):
        assert text in done.stdout
    assert "cluster 0: ok" in done.stdout
    assert "[/red] \\xff" in done.stdout
    assert "the header [/is] not JSON" in done.stdout


def test_the_list_is_filtered_by_kind(run: Path, vaestar: Vaestar) -> None:
    done = vaestar("history", "list", "--run", run, "--kind", "scan_received")
    assert "scan_received" in done.stdout
    assert "run_started" not in done.stdout
    unknown = vaestar("history", "list", "--run", run, "--kind", "scan")
    assert unknown.exit_code == 2
    assert "no event of kind 'scan'" in unknown.stderr
    assert "decision_made" in unknown.stderr


def test_a_run_without_events_is_an_empty_list(tmp_path: Path, vaestar: Vaestar) -> None:
    History(tmp_path / "new").close()
    assert vaestar("history", "list", "--run", tmp_path / "new").exit_code == 0


def test_without_a_name_the_newest_run_is_taken(run: Path, vaestar: Vaestar) -> None:
    older = run.parent / "older"
    History(older).close()
    os.utime(older / DATABASE, (1, 1))
    assert "11 events, 0 faults" in vaestar("history", "verify").stdout


def test_a_missing_run_is_an_error(vaestar: Vaestar, tmp_path: Path) -> None:
    for command in (["list"], ["show", "1"], ["export"], ["verify"]):
        done = vaestar("history", *command)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"vaestar: there is no run in {tmp_path / 'runs'}; name a run directory with --run")
        named = vaestar("history", *command, "--run", tmp_path / "nowhere")
        assert named.exit_code == 2
        assert "there is no history in" in named.stderr


def test_showing_a_scan_shows_all_its_events(run: Path, vaestar: Vaestar) -> None:
    done = vaestar("history", "show", "0007", "--run", run)  # it looks like a number, too
    assert done.exit_code == 0
    for text in ("#3 scan_received 0007", "decision_made d-0007", "recommendation_acknowledged", "result_received d-0007-000"):
        assert text in done.stdout
    assert '"operator": "Łukasz"' in done.stdout
    assert "array channels: (2, 3, 4) float32" in done.stdout


def test_showing_a_decision_shows_its_explanation_clusters_and_configurations(run: Path, vaestar: Vaestar) -> None:
    done = vaestar("history", "show", "d-0007", "--run", run)
    for text in ("One type [/in brackets]; reward 1.5 ± 0.1.", "configurations, best first", "collapsed: latent variance [0.1]"):
        assert text in done.stdout
    assert "scan_received" not in done.stdout
    assert "most typical at" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("identifier", "event"),
    [
        ("11", "#11 run_stopped"),
        ("d-0007-000", "#9 result_received"),
        ("d-0007-001", "#5 decision_made"),  # a request that has no result yet
        ("[/red]", "#10 message_refused"),
        ("afm", "#2 instrument_connected"),
    ],
)
def test_events_are_found_by_number_by_request_and_by_the_beginning_of_a_name(
    run: Path, vaestar: Vaestar, identifier: str, event: str
) -> None:
    done = vaestar("history", "show", identifier, "--run", run)
    assert done.exit_code == 0
    assert event in done.stdout


@pytest.mark.parametrize("identifier", ["12", "8007", "99999999999999999999999", "d-9999", "-", "²", "9" * 5000])
def test_an_unknown_id_is_an_error(run: Path, vaestar: Vaestar, identifier: str) -> None:
    done = vaestar("history", "show", "--run", run, "--", identifier)
    assert done.exit_code == 2
    assert f"'{identifier}' is not in {run}; `vaestar history list` shows what it holds" in done.stderr


def test_verify_accepts_an_intact_run(run: Path, vaestar: Vaestar) -> None:
    done = vaestar("history", "verify", "--run", run)
    assert (done.exit_code, done.stdout) == (0, f"11 events, 0 faults in {run}\n")


def test_verify_names_each_fault_on_a_line_and_exits_with_one(run: Path, vaestar: Vaestar) -> None:
    next((run / "arrays").rglob("*.npy")).unlink()
    tamper(run, "UPDATE event SET kind = 'nothing' WHERE seq = 2")
    done = vaestar("history", "verify", "--run", run)
    assert done.exit_code == 1
    first, second, last = done.stdout.splitlines()
    assert first.startswith("event 2 (nothing afm-1) is not as it was written")
    assert " is missing from " in second
    assert last == f"11 events, 2 faults in {run}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        "body = '{}' WHERE seq > 1",
        "body = '[]' WHERE seq > 1",
        "body = 'nonsense'",
        "body = json_set(body, '$.decision.schema_version', 99) WHERE seq = 5",
        "arrays = 'nonsense'",
        "arrays = '{}' WHERE seq = 3",
        "recorded_at = 'yesterday'",
    ],
)
def test_an_altered_run_is_read_or_refused_but_never_ends_in_a_traceback(run: Path, vaestar: Vaestar, change: str) -> None:
    tamper(run, f"UPDATE event SET {change}")
    assert vaestar("history", "verify", "--run", run).exit_code == 1
    for command in (["list"], ["export"], ["show", "0007"], ["show", "d-0007"], ["show", "5"]):
        done = vaestar("history", *command, "--run", run)
        assert done.exit_code in (0, 2, 4), done.stdout
        assert len(done.stderr.splitlines()) == (done.exit_code != 0)


@pytest.mark.slow
def test_the_history_is_read_without_torch_and_into_a_pipe_that_closes(run: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    command = "import sys; sys.modules['torch'] = None; from agent.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "history", "export", "--run", run],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert json.loads(process.stdout.readline())["format"] == "vaestar-history"
        process.stdout.close()
        assert process.stderr.read() == ""
