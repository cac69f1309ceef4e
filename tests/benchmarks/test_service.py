"""Audit and report of the service benchmark; real processes are tested in `test_service_loops`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.history.event_log import History
from benchmarks.service import acks as service_acks
from benchmarks.service import faults as service_faults
from benchmarks.service import kills as service_kills
from benchmarks.service import random_loops as service_property
from benchmarks.service import report as service_report
from benchmarks.service import soak as service_soak
from benchmarks.service import study as service
from benchmarks.service.books import Diary, Witness, audit, lines
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, RecommendationMessage
from tests.support.samples import NOW, request

NAME = "afm-1"


def recorded(run: Path, *events: tuple[str, str, dict[str, Any]]) -> Path:
    with History(run) as history:
        for kind, subject, body in events:
            history.record(kind, subject, {"instrument_id": NAME, **body}, at=datetime.now(UTC))
    return run


def noted(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"what": "se')
    return path


def sent(kind: str, **fields: Any) -> dict[str, Any]:
    return {"what": "sent", "header": {"type": kind, **fields}}


def answered(message: str) -> dict[str, Any]:
    return {"what": "answered", "id": message, "refused": False}


SCAN = sent("scan", id="scan-afm-1-0007", scan_id="afm-1-0007")
RESULT = sent("result", id="result-q1", request_id="q1", status="ok")
ACCEPTED = {"what": "accepted", "header": {"decision_id": "d1", "scan_id": "afm-1-0007", "requests": []}}
RECEIVED = ("scan_received", "afm-1-0007", {})
MEASURED = ("result_received", "q1", {"status": "ok", "reason": ""})


def test_records_that_agree_have_no_discrepancies(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", RECEIVED, MEASURED)
    diary = noted(tmp_path / "diary", SCAN, answered("scan-afm-1-0007"), RESULT, answered("result-q1"))
    found = audit(run, {NAME: diary})
    assert (found.lost, found.twice) == ([], [])
    assert (found.counts["scans_acknowledged"], found.counts["results_acknowledged"]) == (1, 1)


def test_what_was_acknowledged_and_is_not_in_the_history_is_lost(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", ("run_started", "r", {}))
    diary = noted(tmp_path / "diary", SCAN, answered("scan-afm-1-0007"), RESULT, ACCEPTED)
    assert len(audit(run, {NAME: diary}).lost) == 3


def test_an_acknowledged_trouble_is_in_the_history_exactly_once(tmp_path: Path) -> None:
    troubles = [sent("trouble", id=f"t{n}", event="scan_failed", sentence="no laser") for n in range(3)]
    diary = noted(tmp_path / "diary", *troubles, answered("t0"), answered("t1"))
    run = recorded(tmp_path / "run", ("instrument_troubled", "t0", {}))
    assert audit(run, {NAME: diary}).lost == ["t1 of afm-1 was acknowledged, but is not in the history exactly once"]


def test_a_diary_says_what_is_unanswered_and_which_scan_was_the_last(tmp_path: Path) -> None:
    diary = Diary.of(noted(tmp_path / "diary", SCAN, RESULT))
    assert diary.unanswered == {"scan-afm-1-0007", "result-q1"}
    assert diary.last_scan == 7
    assert Diary.of(noted(tmp_path / "diary", SCAN, RESULT, ACCEPTED)).unanswered == {"result-q1"}


def test_a_point_measured_twice_is_reported_and_so_is_one_without_a_result(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", RECEIVED, MEASURED)
    loops = [{"what": "loop", "request_id": r, "x_m": 0.0, "y_m": y} for r, y in (("q1", 0.0), ("q1", 1e-9), ("q2", 5e-7))]
    found = audit(run, {NAME: noted(tmp_path / "diary", *loops)})
    assert found.twice == ["afm-1 measured q1 2 times"]
    assert found.lost == ["afm-1 measured q2, but the history does not have exactly one result of it"]
    assert found.counts["nearest_two_places_pm"] == 1000


def test_an_event_that_was_seen_and_is_gone_is_lost(tmp_path: Path) -> None:
    run = recorded(tmp_path / "run", RECEIVED)
    assert audit(run, {}, {2: ("decision_made", "00")}).lost
    with Witness(run) as witness:
        while not witness.seen:
            pass
    assert audit(run, {}, witness.seen).lost == []


def test_a_scan_without_an_outcome_is_reported_except_the_newest_of_an_instrument_that_was_cut_off(tmp_path: Path) -> None:
    decided = ("decision_made", "d1", {"scan_id": "s1"})
    run = recorded(tmp_path / "run", *(("scan_received", scan, {}) for scan in ("s1", "s2", "s3")), decided)
    assert service_faults.undecided(run) == [f"scan {scan} of afm-1 has no outcome" for scan in ("s2", "s3")]
    assert service_faults.undecided(run, cut_off=True) == ["scan s2 of afm-1 has no outcome"]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_text('{"a": 1}\n{"a"')
    assert lines(tmp_path / "a") == [{"a": 1}]
    assert lines(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("xy", "expected"),
    [
        ([(0.0, 0.0)], ""),
        ([(0.6e-6, 0.0)], "outside the frame"),
        ([(-0.45e-6, 0.0)], "outside the limits"),
        ([(0.0, 0.0), (0.0, 90e-9)], "apart, less than"),
        ([(0.0, 0.0), (0.0, 2e-7), (0.0, 4e-7)], "are allowed"),
        ([(0.3e-6, 0.3e-6)], "is point 2 within"),
    ],
)
def test_points_that_should_not_arrive_are_seen(xy: list[tuple[float, float]], expected: str) -> None:
    frame = Frame(size_fast_m=1e-6, size_slow_m=1e-6, rows=8, cols=8)
    limits = Limits(x_min_m=-0.4e-6, spacing_min_m=1e-7, points_max=2, dose_max=1, dose_radius_m=5e-8)
    requests = tuple(request(f"q{n}", x, y) for n, (x, y) in enumerate(xy))
    message = RecommendationMessage(id="m", sent_at=NOW, seq=1, decision_id="d", scan_id="s", requests=requests, reason="because")
    found = service_property._violations(message, frame, limits, [(0.3e-6, 0.3e-6)])
    assert (expected in " ".join(found)) if expected else not found


def test_a_slope_is_found_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(0)
    days = np.linspace(0, 7, 400)
    names = ("agent_mb", "workers_mb", "adapter_mb", "agent_files", "agent_threads", "adapter_files")
    samples = [{"days": d, "adapter_days": d, **dict.fromkeys(names, 100 + 2 * d + rng.normal())} for d in days]
    slope = service_soak.slopes(samples)["agent_mb"]
    assert slope["low"] < 2 < slope["high"]
    assert slope["per_day"] == pytest.approx(2, abs=0.2)


def test_of_objects_that_share_a_part_it_is_counted_once() -> None:
    part = list(range(1000, 2000))
    assert service_soak.deep_size([part, part]) < service_soak.deep_size([part, list(part)]) - 5000


def test_the_figures_come_from_the_parts_that_were_run() -> None:
    one = {
        "seed": 1, "alive": True, "lost": 1, "measured_twice": 0, "stalled_s": 1.0, "wall_s": 2.0, "verify": [], "faults": [],
        "kills": {"agent": 3, "worker": 1}, "counts": {"events": 9}, "sentences": ["scan s1 was acknowledged, but is not there"],
    }  # fmt: skip
    fault = {"fault": "crash", "outcome": "named", "named": ["x"], "told_by_client": [], "harm": []}
    found = {
        "kills": {"loops": [one], **service_kills.summed([one])},
        "faults": {"faults": [fault], **service_faults.summed([fault])},
    }
    outcome = service_report.report(found)
    assert (outcome.figures["kills"], outcome.figures["lost"], outcome.figures["measured_twice"]) == (4, 1, 0)
    assert (outcome.figures["faults_survived_of"], outcome.figures["faults_total"]) == (1, 1)
    assert outcome.figures["ack_p99_ms"] is None
    assert "ack_p99_ms" in outcome.missing
    assert any("scan s1" in note for note in outcome.notes)


def test_the_99th_percentile_has_an_interval() -> None:
    found = service_acks.summary([0.001 * n for n in range(1, 301)])
    assert found["p99_low_ms"] <= found["p99_ms"] <= found["p99_high_ms"] <= found["max_ms"] == pytest.approx(300)


def test_parts_are_named_by_commas() -> None:
    assert service._parts("acks,kills") == ("kills", "acks")
    with pytest.raises(Exception, match="part 'all' is unknown"):
        service._parts("all")


def test_every_fault_of_the_list_is_in_the_full_plan() -> None:
    assert len(service.FULL.faults) == 25
    assert service.FULL.loops * service.FULL.kills >= 200
    assert service.FULL.acks >= 300
