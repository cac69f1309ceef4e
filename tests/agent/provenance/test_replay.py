"""Decisions repeated from the history alone, and the report if they do not come out the same."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from threadpoolctl import threadpool_info

from agent.config.model import Config
from agent.config.service import ScheduleSettings
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.history.retention import weights_needed
from agent.history.run_directory import DATABASE
from agent.messaging.dispatcher import Dispatcher
from agent.provenance.recorded_inputs import recorded_inputs
from agent.provenance.replay import Comparison, compare, recompute
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from agent.schema.decision_basis import decision_basis, machine
from agent.search.warm_start import deep_start
from agent.workers.factory import workers_for
from instrument_adapters import exit_codes
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.scan import Scan
from tests.support.history.golden_runs import golden_run
from tests.support.history.golden_scenario import picture, scan, settings
from tests.support.history.history_tampering import tamper
from tests.support.samples import Clock, hello, scan_message

Vaestar = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return golden_run(tmp_path)


def decide(run: Path, config: Config, scan: Scan, **control: Any) -> Decision:
    """A decision on a scan, recorded as the service does."""
    with History(run) as history, workers_for(0) as workers:
        dispatch = Dispatcher(history, "run-1", Clock())
        dispatch.on_packet("afm-1", hello())
        dispatch.on_packet("afm-1", scan_message(scan))
        entry = dispatch.ledger.undecided("afm-1")
        basis = decision_basis(history.head.seq, dispatch.presence.limits("afm-1"), None, None)
        agent = Agent(config, workers)
        try:
            decision = agent.decide(DecisionInputs(scan, dispatch.presence.limits("afm-1")), SearchControl(**control))
        except ValueError as error:
            decision = agent.unresolved(scan, str(error))
        dispatch.decision_log.decided(entry, decision, 1.0, basis)
    return decision


def compare_again(run: Path, number: int = -1) -> Comparison:
    with History(run, read_only=True) as history, workers_for(0) as workers:
        event = list(history.events(kind=kinds.DECISION_MADE))[number]
        inputs = recorded_inputs(history, event)
        return compare(history, event, inputs, recompute(inputs, workers))


def decisions(run: Path) -> list[Event]:
    with History(run, read_only=True) as history:
        return list(history.events(kind=kinds.DECISION_MADE))


def with_vae(**search: object) -> Config:
    changed = {"families": ("vae", "pca"), **search}
    return settings().model_copy(update={"search": settings().search.model_copy(update=changed)})


@pytest.mark.slow
def test_a_search_that_a_deadline_ended_is_ended_after_the_same_rung(tmp_path: Path) -> None:
    rungs_reached = []
    out_of_time = iter([False] * 3 + [True] * 99)
    decision = decide(
        tmp_path,
        with_vae(rungs=(0.5,)),
        scan(1, picture(1)),
        out_of_time=lambda: bool(rungs_reached) and next(out_of_time),
        on_rung=rungs_reached.append,
    )
    assert decision.record.ended_early
    assert decision.record.rungs == ["plain"]
    comparison = compare_again(tmp_path)
    assert comparison.same, comparison.differences


def test_a_search_whose_deadline_left_no_rung_is_nothing_again(tmp_path: Path) -> None:
    decision = decide(tmp_path, with_vae(families=("vae",)), scan(1, picture(1)), out_of_time=lambda: True)
    assert (decision.record.ended_early, decision.record.rungs) == (True, [])
    assert compare_again(tmp_path).same


@pytest.mark.slow
def test_a_deeper_search_comes_out_the_same_again_and_its_weights_are_kept(tmp_path: Path, vaestar: Vaestar) -> None:
    config = with_vae(seeds=1).model_copy(update={"schedule": ScheduleSettings(deep_seeds=2, deep_steps_factor=1.5)})
    first = decide(tmp_path, config, scan(1, picture(1)))
    with History(tmp_path) as history, workers_for(0) as workers:
        dispatch = Dispatcher(history, "run-1", Clock())
        entry = dispatch.ledger.latest("afm-1")
        basis = decision_basis(history.head.seq, Limits(), None, None)
        found = Agent(config, workers).deeper().decide(DecisionInputs(scan(1, picture(1)), start=deep_start(first, config)))
        dispatch.decision_log.deepened(entry, found, 1.0, basis)
        (event,) = history.events(kind=kinds.DECISION_DEEPENED)
        assert len(weights_needed([*history.events(kind=kinds.DECISION_MADE), event])) == 2
    done = vaestar("history", "replay", str(event.seq), "--run", tmp_path, "--workers", 0)
    assert (done.exit_code, "first decision (event" in done.stdout) == (0, True), done.stdout
    output = vaestar("history", "explain", event.subject, "--run", tmp_path).stdout
    assert output.startswith(f"# Deeper search {found.record.decision_id} on scan-1 of afm-1")
    assert "the scan was searched again" in vaestar("history", "explain", first.record.decision_id, "--run", tmp_path).stdout


def test_a_scan_without_contrast_is_as_unresolvable_as_before(tmp_path: Path) -> None:
    decision = decide(tmp_path, settings(), scan(1, np.full((64, 64), 1e-10, np.float32)))
    assert decision.record.outcome == "not_resolvable"
    assert compare_again(tmp_path).same


@pytest.mark.slow
def test_the_order_of_tables_in_a_configuration_changes_no_name(tmp_path: Path) -> None:
    options = [{"restarts": 2, "components": [1, 2, 3]}, {"components": [1, 2, 3], "restarts": 2}]
    made = []
    for i, given in enumerate(options):
        config = Config.model_validate(settings().model_dump() | {"reward_options": given})
        made.append(decide(tmp_path / str(i), config, scan(1, picture(1))))
    assert made[0].record.decision_id == made[1].record.decision_id
    assert compare_again(tmp_path / "0").same


def alter_scan(run: Path, seq: int) -> str:
    """Replace the image of an event as an attacker who knows the array store would; returns the new digest."""
    with History(run) as history:
        event = history.event(seq)
        stack = history.arrays.get(event.arrays["channels"]).copy()
        stack[0, :, :32] = stack[0, :, 32:]
        digest = history.arrays.put(stack)
    tamper(run, f"UPDATE event SET arrays = '{json.dumps({'channels': digest})}' WHERE seq = {seq}")
    return digest


def test_an_altered_scan_is_reported(run: Path, vaestar: Vaestar) -> None:
    event = decisions(run)[0]
    with History(run, read_only=True) as history:
        seq = recorded_inputs(history, event).source_events["scan"]
    alter_scan(run, seq)
    done = vaestar("history", "replay", event.subject, "--run", run, "--workers", 0)
    assert done.exit_code == 1
    assert "different: " in done.stdout
    assert "    array z: " in done.stdout
    assert "the recorded inputs or the program were altered" in done.stdout


def test_an_altered_result_is_noticed_by_the_decision_that_used_it(run: Path) -> None:
    with History(run, read_only=True) as history:
        result = next(e for e in history.events(kind=kinds.RESULT_RECEIVED) if e.body["status"] == "ok")
    tamper(run, f"UPDATE event SET body = json_set(body, '$.x_m', 5e-6) WHERE seq = {result.seq}")
    assert compare_again(run, 0).same
    comparison = compare_again(run, 1)
    assert not comparison.same
    assert any(d.where == "decision_id" for d in comparison.differences)


@pytest.mark.attack(
    "an old history holds scans with unequal or hot pixels", promise="a decision is repeated by the rules of its time"
)
@pytest.mark.slow
@pytest.mark.parametrize("case", ["unequal pixels", "a hot pixel"])
def test_a_decision_from_before_there_were_rules_comes_out_the_same_again(tmp_path: Path, case: str) -> None:
    recorded = scan(1, picture(1))
    image = recorded.channels["Amplitude1Retrace"].copy()
    if case == "unequal pixels":
        frame = recorded.frame.model_copy(update={"size_slow_m": 3 * recorded.frame.size_slow_m})
        recorded = replace(recorded, frame=frame)
    else:
        image[30, 30] = 1e-7
        recorded = replace(recorded, channels={"Amplitude1Retrace": image})
    config = settings()
    old = config.model_copy(update={"scan": config.scan.model_copy(update={"rules": 1})})
    decision = decide(tmp_path / "old", old, recorded)
    new = decide(tmp_path / "new", config, recorded)
    assert new.record.decision_id != decision.record.decision_id
    assert compare_again(tmp_path / "new").same
    (event,) = decisions(tmp_path / "old")
    without = "json_remove(body, '$.decision.config.scan.rules', '$.decision.analysed')"
    tamper(tmp_path / "old", f"UPDATE event SET body = {without} WHERE seq = {event.seq}")
    again = compare_again(tmp_path / "old")
    assert again.same
    assert not again.remarks


def test_versions_that_have_changed_are_named_and_differences_have_sizes(run: Path, vaestar: Vaestar) -> None:
    event = decisions(run)[0]
    change = "json_set(body, '$.decision.versions.numpy', '1.0', '$.decision.candidates[0].value', 0.5)"
    tamper(run, f"UPDATE event SET body = {change} WHERE seq = {event.seq}")
    done = vaestar("history", "replay", str(event.seq), "--run", run, "--workers", 0)
    assert done.exit_code == 1
    assert "different: 1 of " in done.stdout
    assert "candidates.pca-w5-s0.value: 0.5 -> 0.00" in done.stdout
    assert "(relative 1.0e+00)" in done.stdout
    assert "versions have changed since: numpy 1.0 -> " in done.stdout
    report = json.loads(vaestar("history", "replay", event.subject, "--run", run, "--workers", 0, "--json").stdout)
    assert (report["same"], [d["where"] for d in report["differences"]]) == (False, ["candidates.pca-w5-s0.value"])
    assert report["versions_changed"]["numpy"][0] == "1.0"


@pytest.mark.slow
def test_a_sentence_in_other_words_is_a_remark_and_a_missing_one_a_difference(run: Path, vaestar: Vaestar) -> None:
    event = decisions(run)[0]
    tamper(run, f"UPDATE event SET body = json_set(body, '$.decision.explanation', 'In other words.') WHERE seq = {event.seq}")
    done = vaestar("history", "replay", event.subject, "--run", run, "--workers", 0)
    assert done.exit_code == 0, done.stdout
    assert re.search(r"sentences are not compared: this version words .*explanation.* differently", done.stdout)
    tamper(run, f"UPDATE event SET body = json_set(body, '$.decision.explanation', '') WHERE seq = {event.seq}")
    done = vaestar("history", "replay", event.subject, "--run", run, "--workers", 0)
    assert done.exit_code == 1
    assert "different: 1 of " in done.stdout


def test_another_machine_is_named(run: Path, vaestar: Vaestar) -> None:
    event = decisions(run)[0]
    change = "json_set(body, '$.asked.machine', 'PDP-11', '$.decision.common_points', 7)"
    tamper(run, f"UPDATE event SET body = {change} WHERE seq = {event.seq}")
    done = vaestar("history", "replay", event.subject, "--run", run, "--workers", 0)
    assert "the versions are the same; the decision was made on another machine (PDP-11; this is " in done.stdout


def test_a_machine_has_its_instruction_set_in_its_name_and_an_unknown_one_is_no_proof(run: Path, vaestar: Vaestar) -> None:
    kernels = {found["architecture"] for found in threadpool_info() if found.get("architecture")}
    assert kernels
    assert all(kernel in machine() for kernel in kernels)
    event = decisions(run)[0]
    change = "json_set(body, '$.asked.machine', '', '$.decision.common_points', 7)"
    tamper(run, f"UPDATE event SET body = {change} WHERE seq = {event.seq}")
    done = vaestar("history", "replay", event.subject, "--run", run, "--workers", 0)
    assert f"the machine of the decision was not recorded (this is {machine()})" in done.stdout


@pytest.mark.parametrize("what", ["scan", "earlier decision", "array"])
def test_inputs_that_cannot_be_reconstructed_are_reported_in_one_sentence(run: Path, vaestar: Vaestar, what: str) -> None:
    event = decisions(run)[1]
    with History(run, read_only=True) as history:
        sources = recorded_inputs(history, event).source_events
        if what == "array":
            history.arrays.path(history.event(sources["scan"]).arrays["channels"]).unlink()
        else:
            tamper(run, f"DELETE FROM event WHERE seq = {sources[what]}")
    done = vaestar("history", "replay", event.subject, "--run", run)
    assert done.exit_code == (exit_codes.STORAGE if what == "array" else exit_codes.BAD_INPUT)
    assert len(done.stderr.splitlines()) == 1
    assert vaestar("history", "explain", event.subject, "--run", run).exit_code in (0, 2, exit_codes.STORAGE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan-7"], "there is no decision of 'scan-7'"),
        (["d-nowhere"], "'d-nowhere' is not in"),
        ([], "give a decision, a scan or the number of an event, or --all"),
        (["d-1", "--all"], "give a decision, a scan or the number of an event, or --all"),
    ],
)
def test_what_cannot_be_replayed_is_refused(run: Path, vaestar: Vaestar, arguments: list[str], message: str) -> None:
    done = vaestar("history", "replay", *arguments, "--run", run)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_run_without_decisions_has_none_to_replay(tmp_path: Path, vaestar: Vaestar) -> None:
    History(tmp_path / "new").close()
    assert "there is no decision in" in vaestar("history", "replay", "--all", "--run", tmp_path / "new").stderr


def test_recorded_inputs_hold_what_was_known_then_and_nothing_later(run: Path) -> None:
    with History(run, read_only=True) as history:
        found = [recorded_inputs(history, e) for e in history.events(kind=kinds.DECISION_MADE)]
    assert [len(q.inputs.measured_xy) for q in found] == [0, 4, 0, 8, 8, 0, 8]
    assert [q.inputs.limits.points_max for q in found] == [200, 200, 3, 5, 5, 5, 5]
    assert [q.inputs.earlier.scan_id if q.inputs.earlier else None for q in found] == [
        None,
        "scan-1",
        None,
        "scan-2",
        "scan-4",
        None,
        "scan-4",
    ]
    assert all(q.basis_recorded for q in found)


def test_the_basis_that_an_older_version_did_not_record_is_derived_correctly(run: Path) -> None:
    """In a history that records the basis, the same basis is derived after the record is removed."""

    def bases(history: History) -> Iterator[tuple]:
        for e in history.events(kind=kinds.DECISION_MADE):
            q = recorded_inputs(history, e)
            yield q.inputs.measured_xy.tolist(), q.inputs.limits, q.basis.previous, q.basis.earlier

    with History(run, read_only=True) as history:
        recorded = list(bases(history))
    tamper(run, "UPDATE event SET body = json_remove(body, '$.asked') WHERE kind = 'decision_made'")
    with History(run, read_only=True) as history:
        assert list(bases(history)) == recorded


def test_a_decision_of_another_version_that_cannot_be_read_is_refused(run: Path) -> None:
    event = decisions(run)[0]
    tamper(run, f"UPDATE event SET body = json_set(body, '$.decision.config.seed', 'x') WHERE seq = {event.seq}")
    with History(run, read_only=True) as history, pytest.raises(HistoryError, match="written by another version"):
        recorded_inputs(history, history.event(event.seq))
    assert (run / DATABASE).exists()
