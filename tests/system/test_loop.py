"""`vaestar demo`: a closed loop of agent and simulated microscope."""

import csv
from pathlib import Path

import numpy as np
import pytest

from agent.history.event_log import History
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from tests.system.commands import quick_config, vaestar


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run directory of two cycles, and the output of the command."""
    directory = tmp_path_factory.mktemp("demo")
    done = vaestar("demo", "--run", directory / "run", "--cycles", 2, "--config", quick_config(directory), timeout_s=170)
    assert done.returncode == 0, done.stderr + done.stdout
    return directory / "run", done.stdout


def test_the_demo_closes_the_loop_twice_and_records_everything(demo: tuple[Path, str]) -> None:
    run, printed = demo
    assert "loops by microstructure type" in printed
    with History(run, read_only=True) as history:
        assert history.verify() == []
        events = list(history.events())
        ledger = Ledger.of(events)
    order = [e.kind for e in events]
    assert order[0] == kinds.RUN_STARTED
    assert order[-1] == kinds.RUN_STOPPED
    for kind in (kinds.SCAN_RECEIVED, kinds.CANDIDATES_SCORED, kinds.DECISION_MADE, kinds.RECOMMENDATION_ACKNOWLEDGED):
        assert order.count(kind) == 2, kind
    assert order.index(kinds.SCAN_RECEIVED) < order.index(kinds.DECISION_MADE) < order.index(kinds.RECOMMENDATION_SENT)
    assert ledger.requests
    assert {r.status for r in ledger.requests.values()} <= {"ok", "failed", "skipped"}
    assert [e.body["judgement"] for e in events if e.body.get("judged")] == []
    measured = [r for r in ledger.requests.values() if r.status == "ok"]
    assert len(measured) >= len(ledger.requests) / 2
    assert len(list((run / "reports").glob("*/scan.png"))) == 2
    first, second = (
        np.array([[r.request.x_m, r.request.y_m] for r in ledger.requests.values() if r.scan_id.endswith(n)])
        for n in ("0001", "0002")
    )
    apart = np.linalg.norm(first[:, None] - second, axis=2)
    assert apart.min() > 80e-9  # points of the first cycle are avoided; positions are read back, hence not exactly 100 nm


def test_the_demo_refuses_a_directory_that_holds_a_run(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_text("")
    done = vaestar("demo", "--run", tmp_path)
    assert done.returncode == 2
    assert "already holds a run; choose a new directory" in done.stderr


def test_the_reports_of_a_run_hold_the_places_that_were_sent(demo: tuple[Path, str]) -> None:
    run, _ = demo
    ids: list[str] = []
    for table in sorted((run / "reports").glob("*/recommendations.csv")):
        with table.open(newline="") as file:
            ids += [row["id"] for row in csv.DictReader(file)]
    with History(run, read_only=True) as history:
        sent = [request_id for _, request_id in Ledger.of(history.events()).requests]
    assert sorted(ids) == sorted(sent)
    assert ids
    shown = vaestar("history", "show", table.parent.name, "--run", run)
    assert shown.returncode == 0, shown.stderr
    assert "configurations, best first" in shown.stdout
