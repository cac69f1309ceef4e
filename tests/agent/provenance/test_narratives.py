"""Output of `vaestar history explain`, for a run of the real service and for one made by hand."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from agent.history.event_log import History
from agent.provenance.narrative import EVENT_TEXTS, Narrative, NarrativeSection, event_sentence, length
from agent.schema import event_kinds as kinds
from tests.support.history.golden_runs import golden_run
from tests.support.history.hand_made_run import hand_made_run
from tests.support.history.history_tampering import tamper
from tests.support.samples import NOW

Vaestar = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return golden_run(tmp_path)


@pytest.fixture
def explained(run: Path, vaestar: Vaestar) -> Callable[[str], str]:
    def explain(identifier: str) -> str:
        done = vaestar("history", "explain", *([identifier] if identifier else []), "--run", run)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    return explain


def decision_on(run: Path, scan_id: str) -> str:
    with History(run, read_only=True) as history:
        return next(e.subject for e in history.events(kind=kinds.DECISION_MADE) if e.body["scan_id"] == scan_id)


def test_every_event_kind_has_a_text() -> None:
    known = {value for name, value in vars(kinds).items() if name.isupper() and isinstance(value, str)}
    assert set(EVENT_TEXTS) == known


def test_a_decision_is_explained_from_the_scan_to_the_results(run: Path, explained: Callable[[str], str]) -> None:
    output = explained(decision_on(run, "scan-2"))
    for heading in (
        "In short",
        "The scan",
        "Inputs",
        "Candidates",
        "Decision rule",
        "Recommendation",
        "Approval, sending and commands",
        "Results",
    ):
        assert f"## {heading}\n" in output
    for sentence in (
        "64 x 64 pixels over 2 µm x 2 µm",
        "Channel Amplitude1Retrace (m)",
        "Drift: 1.90 nm/min, from 2 scans",
        "Key points: 571 found, 276 used (dropped: 279 nearer than the spacing, 16 window beyond the border)",
        "Events taken into account: up to 14",
        "spacing at least 50 nm, at most 200 points a scan",
        "Measured before: 4 points; 3 results used as evidence (not used: 1 failed, 1 skipped)",
        f"Earlier decision: {decision_on(run, 'scan-1')} (event 6)",
        "Earlier scan: scan-1 (event 4), used for the drift",
        "3. Evidence: 3 results weigh 6%, the score 94%",
        "within 2 σ of it tie",
        "6. Choice: PCA with a window of 5 px",
        "failed (the tip was lifted)",
        "the instrument acknowledged the recommendation",
    ):
        assert sentence in output, sentence
    assert output.count(f"| {decision_on(run, 'scan-2')}-00") == 5


def test_a_bad_scan_and_one_that_cannot_be_resolved_say_why(run: Path, explained: Callable[[str], str]) -> None:
    bad = explained(decision_on(run, "scan-5"))
    assert "Outcome: scan not usable." in bad
    assert "was an old file sent again? (action: rescan)" in bad
    flat = explained(decision_on(run, "scan-6"))
    assert "Outcome: not resolvable." in flat
    assert "the image is constant" in flat
    assert "## Decision rule" not in flat


def test_a_scan_that_was_overtaken_says_so(explained: Callable[[str], str]) -> None:
    assert "No decision: a newer scan came in: scan-8" in explained("scan-7")
    assert "Results: 3 ok, 1 failed, 1 skipped" in explained("scan-1")


def test_a_request_is_explained_with_its_place_its_result_and_later_decisions(run: Path, explained: Callable[[str], str]) -> None:
    output = explained(f"{decision_on(run, 'scan-2')}-000")
    for sentence in (
        "Type 0 of 3, 47% of the key points; 22 of its 131 points are core points",
        "it is the most typical: core distance 1.02 (Mahalanobis)",
        "number 1 of 5 in the measuring order (policy 'ivr')",
        "It was shifted by ",
        "coercive_V: 2.5",
        f"Decision {decision_on(run, 'scan-4')} (event 36): results weighed 11%, and the point was avoided",
    ):
        assert sentence in output, sentence
    assert decision_on(run, "scan-1") not in output
    skipped = explained(f"{decision_on(run, 'scan-2')}-002")
    assert "was received: skipped: out of time" in skipped
    assert "was avoided" not in skipped


def test_an_instrument_and_the_run_are_summarised_in_numbers(explained: Callable[[str], str]) -> None:
    assert "7 scans of 2 samples (bto, mica)" in explained("afm-1")
    assert "points_max: 5" in explained("afm-1")
    output = explained("")
    assert "Started 2 times; terminated 0 times without a clean shutdown" in output
    assert "7 decisions (types found: 5, scan not usable: 1, not resolvable: 1); 23 points recommended" in output
    assert "## Instrument afm-2" in output


def test_any_event_is_shown_in_full(explained: Callable[[str], str]) -> None:
    output = explained("3")
    assert "a message was refused: the header is not JSON" in output
    assert '"code": "bad_json"' in output
    assert "the search on the scan was cancelled" in explained("51")
    assert "Request d-" in explained("9")  # a result leads to its request


def approve(run: Path, decision: str) -> dict:
    """Ada drops the second place, moves the third, and approves the others; the envelope has refused the fourth."""
    with History(run) as history:
        requests = next(history.events(kind=kinds.DECISION_MADE, subject=decision)).body["decision"]["requests"]
        moved = requests[2] | {"request_id": f"{requests[2]['request_id']}-m", "x_m": requests[2]["x_m"] + 1e-7}
        where = {"instrument_id": "afm-1", "scan_id": "scan-8"}
        refusal = {"request_id": requests[3]["request_id"], "rule": "dose", "reason": "60 points lie there already"}
        history.record(kinds.REQUESTS_REFUSED, decision, where | {"when": "deciding", "refused": [refusal]}, at=NOW)
        edits = {"dropped": [requests[1]["request_id"]], "moved": [moved | {"moved_from": requests[2]["request_id"]}]}
        body = {"by": "Ada", "reason": "dust", "requests": [requests[0], moved, requests[4]]} | edits
        history.record(kinds.APPROVAL_GIVEN, decision, where | body, at=NOW)
    return moved


def test_the_approval_and_its_effect_on_each_place_are_shown(run: Path, explained: Callable[[str], str]) -> None:
    decision = decision_on(run, "scan-8")
    moved = approve(run, decision)
    output = explained(decision)
    assert "the points were approved by Ada: dust (1 dropped, 1 moved, 3 requests)" in output
    rows = [line.split("|")[4].strip() for line in output.splitlines() if line.startswith(f"| {decision}-")]
    new = moved["request_id"]
    expected = ["no result", "dropped by Ada", f"moved by Ada, now {new}", "refused: 60 points lie there already", "no result"]
    assert rows == [*expected, f"moved by Ada from {decision}-002"]
    assert "- Dropped by Ada" in explained(f"{decision}-001")
    assert f"{moved['x_m'] * 1e6:.4f} µm" in explained(new)
    assert f"- Moved by Ada from {decision}-002" in explained(new)


def test_events_of_unknown_kinds_about_a_decision_are_shown(run: Path, explained: Callable[[str], str]) -> None:
    decision = decision_on(run, "scan-8")
    with History(run) as history:
        body = {"instrument_id": "afm-1", "by": "Ada", "reason": "two of them lie on dust", "marked": 2}
        event = history.record("dust_seen", decision, body, at=NOW)
        history.record("dust_wiped", "afm-1", {"instrument_id": "afm-1", "decision_id": decision, "by": "Bo"}, at=NOW)
    output = explained(decision)
    assert f"2026-01-02 03:04:05 UTC (event {event.seq}): dust seen by Ada: two of them lie on dust (marked 2)" in output
    assert "dust wiped by Bo" in output
    assert "dust seen by Ada" in explained(f"{decision}-000")


def test_the_json_form_is_one_object_with_all_facts(run: Path, vaestar: Vaestar) -> None:
    decision = decision_on(run, "scan-2")
    (narrative,) = json.loads(vaestar("history", "explain", decision, "--run", run, "--json").stdout)
    assert (narrative["about"], narrative["id"], narrative["facts"]["decision"]["decision_id"]) == (
        "decision",
        decision,
        decision,
    )
    assert [s["title"] for s in narrative["sections"]][:2] == ["In short", "The scan"]


def test_a_killed_agent_is_counted(tmp_path: Path, vaestar: Vaestar) -> None:
    with History(tmp_path / "run") as history:
        for kind in (kinds.RUN_STARTED, kinds.RUN_STARTED, kinds.RUN_STOPPED, kinds.RUN_STARTED):
            history.record(kind, "run-1", {"reason": ""}, at=NOW)
    output = vaestar("history", "explain", "--run", tmp_path / "run").stdout
    assert (
        "Started 3 times; terminated 1 time without a clean shutdown (killed, or power failure); now running, or killed" in output
    )


def test_an_empty_run_and_an_unknown_id_are_reported_as_such(tmp_path: Path, run: Path, vaestar: Vaestar) -> None:
    History(tmp_path / "new").close()
    assert "No events yet" in vaestar("history", "explain", "--run", tmp_path / "new").stdout
    done = vaestar("history", "explain", "d-nowhere", "--run", run)
    assert (done.exit_code, "is not in" in done.stderr) == (2, True)


def test_an_incomplete_decision_is_explained_as_far_as_possible(tmp_path: Path, vaestar: Vaestar) -> None:
    run = hand_made_run(tmp_path / "run")
    for identifier in ("d-0007", "0007", "d-0007-000", "d-0007-001", "afm-1", "9", "run-1"):
        done = vaestar("history", "explain", identifier, "--run", run)
        assert done.exit_code == 0, done.stderr
    assert "collapsed: latent variance [0.1]" in vaestar("history", "explain", "d-0007", "--run", run).stdout
    assert "No result yet" in vaestar("history", "explain", "d-0007-001", "--run", run).stdout


@pytest.mark.parametrize(
    "change",
    [
        "body = '{}' WHERE seq > 1",
        "body = '[]' WHERE seq > 1",
        "body = json_set(body, '$.decision.schema_version', 99) WHERE kind = 'decision_made'",
        "body = json_set(body, '$.decision.clusters', json('[]')) WHERE kind = 'decision_made'",
        "body = json_set(body, '$.decision.chosen', 'nobody') WHERE kind = 'decision_made'",
        "body = json_remove(body, '$.status') WHERE kind = 'result_received'",
        "arrays = '{}'",
    ],
)
def test_an_altered_history_is_explained_or_refused_but_never_ends_in_a_traceback(
    run: Path, vaestar: Vaestar, change: str
) -> None:
    decision = decision_on(run, "scan-2")
    tamper(run, f"UPDATE event SET {change}")
    for identifier in ([decision], ["scan-2"], [f"{decision}-000"], ["afm-1"], ["9"], []):
        done = vaestar("history", "explain", *identifier, "--run", run)
        assert done.exit_code in (0, 2), done.stdout
        assert len(done.stderr.splitlines()) == (done.exit_code == 2)


@pytest.mark.parametrize(
    ("metres", "text"),
    [(None, "-"), (0.0, "0 nm"), (3e-10, "0.3 nm"), (5e-8, "50 nm"), (2e-6, "2 µm"), (-4.5e-5, "-45 µm"), (2e-3, "2 mm")],
)
def test_lengths_are_shown_in_a_suitable_unit(metres: float | None, text: str) -> None:
    assert length(metres) == text


def test_tables_are_aligned_and_a_bar_in_a_cell_does_not_break_them() -> None:
    table = Narrative("x", "x", "T", (NarrativeSection("S", (), (("a", "b"), ("1|2", "3"))),))
    assert list(table.lines())[4:] == ["| a   | b |", "|-----|---|", "| 1/2 | 3 |"]


def test_an_event_of_an_unknown_kind_is_one_sentence(tmp_path: Path) -> None:
    with History(tmp_path) as history:
        event = history.record("laser_realigned", "afm-1", {"volts": 1.5, "list": [1]}, at=NOW)
    assert event_sentence(event) == "2026-01-02 03:04:05 UTC (event 1): laser realigned (1 list, volts 1.5)"
