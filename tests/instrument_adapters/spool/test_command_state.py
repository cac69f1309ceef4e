"""Command state of an instrument: a table of cases, and properties that hold whichever messages are lost."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_adapters.protocol.messages import CommandMessage, Snapshot
from instrument_adapters.spool.command_state import CommandState

NOW = datetime(2026, 1, 2, tzinfo=UTC)
COMMANDS = ("pause", "resume", "stop")
BY_STRICTNESS = ("running", "paused", "stopped")
STATES = {"pause": "paused", "resume": "running", "stop": "stopped"}


def command(seq, name="pause", by="Ada", reason="lunch"):
    return CommandMessage(id=f"command-{seq}", sent_at=NOW, seq=seq, command=name, by=by, reason=reason)


def test_a_command_in_order_advances_the_number_and_one_after_a_gap_restricts_without_advancing_it():
    state = CommandState(run_id="run", seq=3, command_seq=2)
    in_order = state.with_command(command(4))
    assert (in_order.seq, in_order.command_seq, in_order.state, in_order.who) == (4, 4, "paused", "Ada: lunch")
    ahead = state.with_command(command(6, "stop"))
    assert (ahead.seq, ahead.command_seq, ahead.state) == (3, 6, "stopped")
    assert ahead.barred == ahead.hold_reason == "emergency stop by Ada: lunch"
    assert ahead.is_outdated(command(5))
    assert not ahead.is_outdated(command(7))


def test_after_a_stop_points_of_the_earlier_scan_stay_barred_until_the_next_scan():
    state = CommandState().with_command(command(1, "stop")).with_command(command(2, "resume"))
    assert (state.state, state.hold_reason, state.barred) == ("running", "", "emergency stop by Ada: lunch")
    assert state.with_new_scan().barred == ""


@pytest.mark.parametrize(
    ("local", "snapshot", "run_id", "expected"),
    [
        (CommandState(), Snapshot(seq=4, state="paused", state_reason="Ada"), "run", ("paused", 4)),
        (CommandState(run_id="run", seq=2, command_seq=2, state="stopped"), Snapshot(seq=3), "run", ("running", 3)),
        (CommandState(run_id="run", seq=2, command_seq=2, state="stopped"), Snapshot(seq=2), "run", ("stopped", 2)),
        (CommandState(run_id="run", seq=9, command_seq=8, state="paused"), Snapshot(seq=4), "run", ("paused", 4)),
        (
            CommandState(run_id="run", seq=9, command_seq=8, state="paused"),
            Snapshot(seq=4, state="stopped"),
            "run",
            ("stopped", 4),
        ),
        (CommandState(run_id="run", seq=2, command_seq=2, state="stopped"), Snapshot(seq=7), "other", ("stopped", 7)),
        (CommandState(run_id="run", seq=2), Snapshot(seq=7, state="paused"), "other", ("paused", 7)),
        (CommandState(run_id="run", seq=2), Snapshot(seq=7), "other", ("running", 7)),
    ],
    ids=["first", "resume missed", "same", "rolled back", "rolled back to a stop", "new run", "new run paused", "new run free"],
)
def test_a_snapshot_sets_the_number_and_lifts_a_stop_only_where_the_agent_knows_of_it(local, snapshot, run_id, expected):
    joined = local.with_snapshot(snapshot, run_id)
    assert (joined.state, joined.seq) == expected
    assert (joined.run_id, joined.command_seq) == (run_id, snapshot.seq)


def test_a_stop_given_and_lifted_while_the_instrument_was_away_bars_earlier_points():
    away = CommandState(run_id="run", seq=3, plan_seq=3)
    assert away.with_snapshot(Snapshot(seq=5, stop_seq=4), "run").barred
    assert not away.with_snapshot(Snapshot(seq=5), "run").barred
    assert (
        not CommandState(run_id="run", seq=5, command_seq=5, stop_seq=4).with_snapshot(Snapshot(seq=5, stop_seq=4), "run").barred
    )


def test_a_command_that_lifts_a_restriction_waits_while_a_message_before_it_is_missing():
    paused = CommandState(run_id="run", seq=2, command_seq=2, state="paused")
    assert paused.must_wait(command(4, "resume"))
    assert not paused.must_wait(command(3, "resume"))
    assert not paused.must_wait(command(9, "stop"))
    assert CommandState(run_id="run", seq=2, command_seq=2, state="stopped").must_wait(command(4, "pause"))


FORGOTTEN = "an agent comes back on a copy of its run made before an emergency stop, or on another run"
LATCHED = "An emergency stop holds the instrument until an operator lifts it knowing of it, whichever agent speaks."


def stopped(seq=5, run_id="run"):
    return CommandState(run_id=run_id, seq=seq - 1, command_seq=seq - 1).with_command(command(seq, "stop", "Ada", "smoke"))


@pytest.mark.attack(FORGOTTEN, promise=LATCHED)
@pytest.mark.parametrize(
    ("welcome", "run_id"),
    [
        (Snapshot(seq=3), "run"),
        (Snapshot(seq=9), "run"),
        (Snapshot(seq=6, stop_seq=5), "run"),
        (Snapshot(seq=5, stop_seq=5, state="stopped", state_reason="stopped in an emergency by Bo: a test"), "run"),
        (Snapshot(), "other"),
        (Snapshot(seq=6, stop_seq=5), "other"),
        (Snapshot(seq=5, stop_seq=5, state="stopped", state_reason="stopped in an emergency by Ada: smoke"), "other"),
    ],
    ids=[
        "copy",
        "copy that went on",
        "resumed",
        "another stop of its number",
        "new run",
        "new run that resumed",
        "new run, same words",
    ],
)
def test_an_agent_that_does_not_show_the_stop_cannot_lift_it_before_it_has_recorded_the_report(welcome, run_id):
    joined = stopped().with_welcome(welcome, run_id)
    assert (joined.state, joined.hold_known) == ("stopped", False)
    assert joined.hold_id == stopped().hold_id
    assert joined.hold_sentence == "emergency stop by Ada: smoke (command 5 of run)"
    for seq in range(1, 20):  # whatever it numbers next
        joined = joined.with_snapshot(Snapshot(seq=seq, stop_seq=max(0, seq - 1)), run_id)
        assert joined.must_wait(command(seq + 1, "resume"))
        assert joined.must_wait(command(seq + 1, "pause"))
        assert (joined.state, joined.hold_id) == ("stopped", stopped().hold_id)


@pytest.mark.attack(FORGOTTEN, promise=LATCHED)
@pytest.mark.parametrize("run_id", ["run", "other"])
def test_the_recorded_report_alone_lifts_no_stop_that_precedes_nothing_in_the_agents_history(run_id):
    joined = stopped().with_welcome(Snapshot(seq=3), run_id).with_hold_known()
    for seq in range(4, 20):
        joined = joined.with_snapshot(Snapshot(seq=seq), run_id)
        assert joined.state == "stopped"
    assert not joined.must_wait(command(20, "resume"))
    assert joined.with_command(command(20, "resume")).state == "running"


def test_a_stop_that_the_agent_gives_again_is_its_own_and_its_resume_lifts_it():
    joined = stopped().with_welcome(Snapshot(seq=1), "other")
    again = joined.with_command(command(2, "stop", "policy", "the instrument still obeys a stop"))
    assert (again.hold_known, again.hold_run, again.hold_seq, again.seq) == (True, "other", 2, 2)
    assert again.with_command(command(3, "resume")).state == "running"


def test_a_resume_that_was_lost_lifts_the_stop_once_the_agent_has_recognised_it():
    for state, reason in (("stopped", "stopped in an emergency by Ada: smoke"), ("stopped", "Ada: smoke")):
        same = stopped().with_welcome(Snapshot(seq=5, stop_seq=5, state=state, state_reason=reason), "run")
        assert same.hold_known
    joined = stopped().with_welcome(Snapshot(seq=6, stop_seq=5), "run")
    assert joined.with_hold_known().with_snapshot(Snapshot(seq=6, stop_seq=5), "run").state == "running"
    assert not joined.with_hold_known().is_outdated(command(6, "resume"))


def test_a_pause_is_held_against_an_agent_that_does_not_know_of_it_too():
    paused = CommandState(run_id="run").with_command(command(1))
    joined = paused.with_welcome(Snapshot(), "other")
    assert (joined.state, joined.hold_known, joined.hold_sentence) == ("paused", False, "paused by Ada: lunch (command 1 of run)")
    assert joined.with_snapshot(Snapshot(seq=2), "other").state == "paused"
    assert joined.with_snapshot(Snapshot(seq=2, state="stopped", state_reason="Bo"), "other").state == "stopped"


@given(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=8), st.data())
def test_lost_and_repeated_commands_lift_no_restriction_by_mistake_and_a_snapshot_corrects_the_state(names, data):
    commands = [command(n, name) for n, name in enumerate(names, 1)]
    received = data.draw(st.lists(st.sampled_from(commands), min_size=1, max_size=12))
    state = CommandState(run_id="run")
    for received_command in received:
        if state.is_outdated(received_command) or state.must_wait(received_command):
            continue
        before, state = state, state.with_command(received_command)
        assert state.state == STATES[received_command.command]
        nothing_missing = before.seq + 1 == received_command.seq
        assert nothing_missing or BY_STRICTNESS.index(state.state) >= BY_STRICTNESS.index(before.state)
    assert state.seq <= len(names)
    agent_state = STATES[names[-1]]
    stops = [n for n, name in enumerate(names, 1) if name == "stop"]
    joined = state.with_snapshot(Snapshot(seq=len(names), state=agent_state, stop_seq=max(stops, default=0)), "run")
    newest_accepted = state.command_seq == len(names)
    assert newest_accepted or joined.state == agent_state
    assert joined.seq == len(names)
    assert bool(joined.barred) == bool(stops)
