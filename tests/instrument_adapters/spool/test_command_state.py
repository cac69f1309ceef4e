"""Where an instrument stands, by what it has been told: a table of cases, and what holds whatever is lost."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instrument_adapters.protocol.messages import CommandMessage, Snapshot
from instrument_adapters.spool.command_state import CommandState

NOW = datetime(2026, 1, 2, tzinfo=UTC)
WORDS = ("pause", "resume", "stop")
ORDER = ("running", "paused", "stopped")
STATES = {"pause": "paused", "resume": "running", "stop": "stopped"}


def command(seq, word="pause", by="Ada", reason="lunch"):
    return CommandMessage(id=f"command-{seq}", sent_at=NOW, seq=seq, command=word, by=by, reason=reason)


def test_a_command_in_order_moves_the_number_and_one_after_a_gap_holds_without_moving_it():
    standing = CommandState(run_id="run", seq=3, command_seq=2)
    in_order = standing.after(command(4))
    assert (in_order.seq, in_order.command_seq, in_order.state, in_order.who) == (4, 4, "paused", "Ada: lunch")
    ahead = standing.after(command(6, "stop"))
    assert (ahead.seq, ahead.command_seq, ahead.state) == (3, 6, "stopped")
    assert ahead.barred == ahead.sentence == "emergency stop by Ada: lunch"
    assert ahead.knows(command(5))
    assert not ahead.knows(command(7))


def test_after_a_stop_points_of_the_scan_before_stay_barred_until_the_next():
    standing = CommandState().after(command(1, "stop")).after(command(2, "resume"))
    assert (standing.state, standing.sentence, standing.barred) == ("running", "", "emergency stop by Ada: lunch")
    assert standing.scanned().barred == ""


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
    joined = local.joined(snapshot, run_id)
    assert (joined.state, joined.seq) == expected
    assert (joined.run_id, joined.command_seq) == (run_id, snapshot.seq)


def test_a_stop_that_came_and_went_while_the_instrument_was_away_bars_what_was_recommended_before():
    away = CommandState(run_id="run", seq=3, plan_seq=3)
    assert away.joined(Snapshot(seq=5, stop_seq=4), "run").barred
    assert not away.joined(Snapshot(seq=5), "run").barred
    assert not CommandState(run_id="run", seq=5, command_seq=5, stop_seq=4).joined(Snapshot(seq=5, stop_seq=4), "run").barred


def test_a_word_that_lets_go_on_waits_while_something_before_it_is_missing():
    paused = CommandState(run_id="run", seq=2, command_seq=2, state="paused")
    assert paused.must_wait(command(4, "resume"))
    assert not paused.must_wait(command(3, "resume"))
    assert not paused.must_wait(command(9, "stop"))
    assert CommandState(run_id="run", seq=2, command_seq=2, state="stopped").must_wait(command(4, "pause"))


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), st.data())
def test_whatever_is_lost_or_repeated_nothing_goes_on_by_mistake_and_a_snapshot_puts_it_right(words, data):
    commands = [command(n, word) for n, word in enumerate(words, 1)]
    came = data.draw(st.lists(st.sampled_from(commands), min_size=1, max_size=12))
    standing = CommandState(run_id="run")
    for one in came:
        if standing.knows(one) or standing.must_wait(one):
            continue
        before, standing = standing, standing.after(one)
        assert standing.state == STATES[one.command]
        known_to_here = before.seq + 1 == one.seq
        assert known_to_here or ORDER.index(standing.state) >= ORDER.index(before.state)
    assert standing.seq <= len(words)
    state = STATES[words[-1]]
    stops = [n for n, word in enumerate(words, 1) if word == "stop"]
    joined = standing.joined(Snapshot(seq=len(words), state=state, stop_seq=max(stops, default=0)), "run")
    newest_taken = standing.command_seq == len(words)
    assert newest_taken or joined.state == state
    assert joined.seq == len(words)
    assert bool(joined.barred) == bool(stops)
