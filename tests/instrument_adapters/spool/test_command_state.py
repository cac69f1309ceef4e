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
