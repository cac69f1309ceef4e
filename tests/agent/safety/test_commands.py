"""Pause, resume and stop: their effect on recommendations, also after a restart."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.config.safety import SafetySettings
from agent.errors import ControlError
from agent.history.event_log import History
from agent.messaging.dispatcher import Dispatcher
from agent.schema import event_kinds as kinds
from agent.schema.decision import ProblemRecord, QualityRecord
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.holds import hold_id
from tests.support.samples import Clock, ack, decision, hello, packet, refused, request, result, sample_scan, scan_message

AFM = "afm-1"
Open = Callable[..., Dispatcher]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Starts an agent with one instrument on the history of the test; called again, the agent after a restart."""
    with History(tmp_path) as history:

        def start(**safety: object) -> Dispatcher:
            agent = Dispatcher(history, "run-1", Clock(), SafetySettings(**safety))
            agent.on_packet(AFM, hello())
            return agent

        yield start


def decide(agent: Dispatcher, scan_id: str = "s-1", name: str = AFM, **changes: object) -> None:
    agent.on_packet(name, scan_message(sample_scan(scan_id)))
    entry = agent.ledger.open_scan(name)
    points = (request(f"{scan_id}-0"), request(f"{scan_id}-1", -2e-7))
    agent.decision_log.decided(entry, decision(scan_id, points, **changes), 1.0)


def sent(agent: Dispatcher, name: str = AFM) -> wire.RecommendationMessage | None:
    agent.decision_log.apply_policy(name)
    entry = agent.due(name)
    return None if entry is None else agent.recommendation(entry)


def states(agent: Dispatcher) -> dict[str, str]:
    return {name: agent.ledger.command_state.state(name) for name in agent.ledger.instruments}


def bad_scan(agent: Dispatcher, scan_id: str, action: str = "skip") -> None:
    problem = ProblemRecord(name="transposed", action=action, sentence="rows and columns are exchanged")
    decide(agent, scan_id, outcome="bad_scan", quality=QualityRecord(problems=[problem]))


def test_while_paused_no_recommendation_is_sent_and_after_resume_it_is_also_after_a_restart(opened: Open) -> None:
    agent = opened()
    decide(agent)
    assert agent.commands.give("pause", "Ada", "lunch") == [AFM]
    for each in (agent, opened()):
        assert sent(each) is None
        assert each.snapshot(AFM).state == "paused"
        assert each.snapshot(AFM).state_reason == "paused by Ada: lunch"
        assert each.snapshot(AFM).open_decision_id == "d-s-1"
    each.commands.give("resume", "Ada", "", AFM)
    message = sent(each)
    assert ([r.request_id for r in message.requests], message.seq) == (["s-1-0", "s-1-1"], 3)


def test_a_command_is_repeated_with_its_number_until_it_is_obeyed(opened: Open) -> None:
    agent = opened()
    agent.commands.give("stop", "Ada", "smoke")
    first, again = agent.commands.unacknowledged(AFM), opened().commands.unacknowledged(AFM)
    assert (first.id, first.seq, first.command, first.by, first.reason) == ("command-run-1-1", 1, "stop", "Ada", "smoke")
    assert again.id == first.id
    agent.on_packet(AFM, ack("command-run-1-7"))
    assert agent.commands.unacknowledged(AFM) is not None
    agent.on_packet(AFM, ack(first.id))
    assert agent.commands.unacknowledged(AFM) is None
    assert opened().commands.unacknowledged(AFM) is None
    (done,) = agent.history.events(kind=kinds.COMMAND_ACKNOWLEDGED)
    assert done.body == {"instrument_id": AFM, "seq": 1, "command": "stop"}


def test_a_command_that_the_instrument_refuses_is_not_repeated_and_the_agent_keeps_to_it(opened: Open) -> None:
    agent = opened()
    agent.commands.give("pause", "Ada", "")
    agent.on_packet(AFM, refused(agent.commands.unacknowledged(AFM).id))
    assert agent.commands.unacknowledged(AFM) is None
    (done,) = agent.history.events(kind=kinds.COMMAND_ACKNOWLEDGED)
    assert done.body["refused"] == "the laser is off"
    assert states(agent) == {AFM: "paused"}


def test_a_newer_command_replaces_one_that_was_not_obeyed(opened: Open) -> None:
    agent = opened()
    agent.commands.give("pause", "Ada", "")
    before = agent.commands.unacknowledged(AFM)
    agent.commands.give("stop", "Bo", "")
    assert (agent.commands.unacknowledged(AFM).command, agent.commands.unacknowledged(AFM).seq) == ("stop", 2)
    agent.on_packet(AFM, ack(before.id))
    assert agent.commands.unacknowledged(AFM).seq == 2


def test_sequence_numbers_of_each_instrument_have_no_gaps(opened: Open) -> None:
    agent = opened()
    agent.on_packet("afm-2", hello("afm-2"))
    decide(agent)
    assert sent(agent).seq == 1
    assert sent(agent).seq == 1
    agent.commands.give("pause", "Ada", "")
    decide(agent, "s-2")  # held back, so it has no number yet
    agent.commands.give("resume", "Ada", "")
    assert sent(agent).seq == 4
    assert [agent.heartbeat(name).seq for name in (AFM, "afm-2")] == [4, 2]
    assert opened().heartbeat(AFM).seq == 4


def test_an_emergency_stop_ends_what_is_open_for_good(opened: Open) -> None:
    agent = opened()
    decide(agent)
    agent.commands.give("stop", "Ada", "smoke")
    assert sent(agent) is None
    after = opened()
    after.commands.give("resume", "Bo", "aired")
    message = sent(after)
    assert (message.requests, message.approved_by) == ((), "policy")
    assert message.reason == "Nothing is measured: the instrument was stopped in an emergency by Ada: smoke."


def test_what_came_in_while_stopped_is_not_measured_on_after_it(opened: Open) -> None:
    agent = opened()
    agent.commands.give("stop", "Ada", "smoke")
    agent.on_packet(AFM, scan_message(sample_scan("s-1")))
    assert agent.ledger.undecided(AFM) is None
    decide(agent, "s-2")  # a search that ended just then
    agent.commands.give("resume", "Bo", "aired")
    assert sent(agent).requests == ()
    decide(agent, "s-3")
    assert len(sent(agent).requests) == 2


def test_a_delivered_recommendation_is_not_touched_by_a_stop_and_its_results_are_taken(opened: Open) -> None:
    agent = opened()
    decide(agent)
    agent.on_packet(AFM, ack(sent(agent).id))
    agent.commands.give("stop", "Ada", "smoke")
    assert agent.on_packet(AFM, result("s-1-0", "skipped")).duplicate is False
    agent.commands.give("resume", "Ada", "")
    assert sent(agent) is None


def test_a_pause_does_not_weaken_a_stop(opened: Open) -> None:
    agent = opened()
    agent.on_packet("afm-2", hello("afm-2"))
    agent.commands.give("stop", "Ada", "smoke", AFM)
    with pytest.raises(ControlError, match="'afm-1' cannot be paused: it was stopped in an emergency by Ada: smoke; resume it"):
        agent.commands.give("pause", "Ada", "", AFM)
    assert agent.commands.give("pause", "Ada", "") == ["afm-2"]
    assert states(agent) == {AFM: "stopped", "afm-2": "paused"}


def test_commands_to_an_unknown_instrument_are_refused(opened: Open) -> None:
    with pytest.raises(ControlError, match="there is no instrument 'afm-9' in this run; known instruments: afm-1"):
        opened().commands.give("pause", "Ada", "", "afm-9")


def test_a_command_to_all_holds_for_instruments_that_connect_later(opened: Open) -> None:
    agent = opened()
    agent.commands.give("stop", "Ada", "night")
    agent.commands.give("pause", "Bo", "")
    for name in ("afm-2", "afm-3"):
        welcome = opened().on_packet(name, hello(name))
        assert (welcome.snapshot.state, welcome.snapshot.seq) == ("stopped", 1)
        assert welcome.snapshot.state_reason == "stopped in an emergency by Ada: night"
    agent = opened()
    assert agent.commands.unacknowledged("afm-2").reason == "night"
    agent.commands.give("resume", "Ada", "")
    assert set(states(agent).values()) == {"running"}
    agent.on_packet("afm-4", hello("afm-4"))
    assert agent.commands.unacknowledged("afm-4") is None


def test_scans_that_an_operator_should_check_pause_their_instrument(opened: Open) -> None:
    agent = opened(pause_after_unfit=2)
    bad_scan(agent, "s-1")
    bad_scan(agent, "s-2", "rescan")
    bad_scan(agent, "s-3")
    assert states(agent) == {AFM: "running"}
    bad_scan(agent, "s-4")
    assert states(agent) == {AFM: "paused"}
    command = agent.commands.unacknowledged(AFM)
    assert (command.by, command.reason) == (
        "policy",
        "2 consecutive scans were unusable, the last because rows and columns are exchanged",
    )
    agent.commands.give("resume", "Ada", "")
    agent.decision_log.apply_policy(AFM)
    bad_scan(agent, "s-5")
    assert states(agent) == {AFM: "running"}


@pytest.mark.attack("the scans lack the channel that is analysed", promise="the instrument is paused, and does not scan for ever")
def test_scans_that_cannot_be_analysed_at_all_pause_their_instrument(opened: Open) -> None:
    agent = opened(pause_after_unfit=2)
    missing = "no channel begins with 'Amplitude'; this scan holds Current; choose one with --channel"
    nothing = {"outcome": "not_resolvable", "explanation": f"Nothing to recommend: {missing}.", "chosen": None}
    nothing |= {"candidates": [], "configurations": [], "clusters": [], "keypoints_found": 0, "keypoints_used": 0}
    decide(agent, "s-1", **nothing)
    decide(agent, "s-2", **(nothing | {"keypoints_found": 9}))  # the search was ended by its deadline
    decide(agent, "s-3", **nothing)
    assert states(agent) == {AFM: "running"}
    decide(agent, "s-4", **nothing)
    assert states(agent) == {AFM: "paused"}
    assert agent.commands.unacknowledged(AFM).reason == f"2 consecutive scans were unusable, the last because {missing}"


def test_unusable_scans_do_not_pause_where_that_is_switched_off(opened: Open) -> None:
    agent = opened(pause_after_unfit=0)
    for i in range(5):
        bad_scan(agent, f"s-{i}")
    assert states(agent) == {AFM: "running"}


def test_a_bias_beyond_the_limit_is_recorded_and_pauses_the_instrument(opened: Open) -> None:
    agent = opened(bias_max_V=0.9)
    decide(agent)
    sent(agent)
    answer = result("s-1-0")
    answer.arrays["bias_V"] = np.array([-1.0, np.nan, 0.0, 0.0, 1.0])
    assert agent.on_packet(AFM, answer).duplicate is False
    assert states(agent) == {AFM: "paused"}
    (event,) = agent.history.events(kind=kinds.LIMIT_EXCEEDED)
    assert (event.body["bias_V"], event.body["limit_V"]) == (1.0, 0.9)
    assert "the measurement of s-1-0 applied 1 V, at most 0.9 V are allowed" in agent.ledger.command_state.reason(AFM)
    assert sent(agent) is None
    agent.commands.give("resume", "Ada", "another tip")
    agent.decision_log.apply_policy(AFM)
    assert states(agent) == {AFM: "running"}


@pytest.mark.parametrize("bias_V", [[0.5, np.inf, 0.0, 0.0, 0.1], [-np.inf] * 5, [np.nan] * 5], ids=["one inf", "-inf", "NaN"])
def test_a_bias_that_is_infinite_or_no_number_pauses_the_instrument(opened: Open, bias_V: list[float]) -> None:
    agent = opened(bias_max_V=0.9)
    decide(agent)
    sent(agent)
    answer = result("s-1-0")
    answer.arrays["bias_V"] = np.array(bias_V)
    assert agent.on_packet(AFM, answer).duplicate is False
    assert states(agent) == {AFM: "paused"}
    (event,) = agent.history.events(kind=kinds.LIMIT_EXCEEDED)
    assert (event.body["bias_V"], event.body["limit_V"]) == (None, 0.9)
    assert "what was applied is unknown" in agent.ledger.command_state.reason(AFM)
    assert agent.history.verify() == []


def test_a_kill_before_the_pause_that_an_alarm_calls_for_does_not_lose_it(opened: Open) -> None:
    agent = opened(bias_max_V=0.9)
    decide(agent)
    sent(agent)
    agent.commands.pause_on_alarm = lambda _: None
    agent.on_packet(AFM, result("s-1-0"))
    after = opened(bias_max_V=0.9)
    assert states(after) == {AFM: "running"}
    after.decision_log.apply_policy(AFM)
    assert states(after) == {AFM: "paused"}


def test_the_snapshot_names_the_last_stop_also_after_resume_and_after_a_restart(opened: Open) -> None:
    agent = opened()
    decide(agent)
    sent(agent)
    agent.commands.give("stop", "Ada", "")
    agent.commands.give("resume", "Ada", "")
    for each in (agent, opened()):
        assert (each.snapshot(AFM).state, each.snapshot(AFM).seq, each.snapshot(AFM).stop_seq) == ("running", 3, 2)


def test_a_request_to_resend_is_answered_with_a_snapshot(opened: Open) -> None:
    agent = opened()
    decide(agent)
    answer = agent.on_packet(AFM, packet(wire.Resend(id="again", sent_at=Clock()(), after=0)))
    assert answer.of == "again"
    expected = wire.Snapshot(seq=0, newest_scan_id="s-1", open_decision_id="d-s-1")
    assert answer.snapshot == expected
    sent(agent)
    assert agent.snapshot(AFM) == expected.model_copy(update={"seq": 1})


def held(report_id: str, event: str = "still_stopped") -> wire.TroubleMessage:
    sentence = "emergency stop by Ada: smoke (command 4 of run-0)"
    return wire.TroubleMessage(id=report_id, sent_at=Clock()(), event=event, sentence=sentence)


@pytest.mark.attack(
    "an agent comes back on a copy of its run made before an emergency stop, or on another run",
    promise="An emergency stop holds the instrument until an operator lifts it knowing of it, whichever agent speaks.",
)
@pytest.mark.parametrize(("event", "order", "state"), [("still_stopped", "stop", "stopped"), ("still_paused", "pause", "paused")])
def test_a_hold_that_the_history_does_not_hold_is_taken_over_before_its_report_is_acknowledged(
    opened: Open, event: str, order: str, state: str
) -> None:
    agent = opened()
    agent.commands.give("resume", "Bo", "it looks idle")  # not knowing of the stop
    assert isinstance(agent.on_packet(AFM, packet(held("hold-1", event))), wire.Ack)
    taken = agent.commands.unacknowledged(AFM)
    assert (taken.command, taken.by, taken.seq) == (order, "policy", 2)
    assert "emergency stop by Ada: smoke (command 4 of run-0)" in taken.reason
    kinds_in_order = [e.kind for e in agent.history.events() if e.kind in (kinds.COMMAND_GIVEN, kinds.INSTRUMENT_TROUBLED)]
    assert kinds_in_order == [kinds.COMMAND_GIVEN, kinds.COMMAND_GIVEN, kinds.INSTRUMENT_TROUBLED]
    agent = opened()
    assert agent.on_packet(AFM, packet(held("hold-1", event))).duplicate
    assert agent.commands.unacknowledged(AFM).seq == taken.seq
    assert states(agent) == {AFM: state}
    agent.commands.give("resume", "Bo", "the smoke was steam")
    agent.on_packet(AFM, packet(held("hold-1", event)))
    assert states(agent) == {AFM: "running"}


def test_a_hold_of_a_command_in_the_history_is_recognised_however_the_instrument_learned_of_it(opened: Open) -> None:
    agent = opened()
    agent.commands.give("stop", "Ada", "smoke")
    agent.commands.give("resume", "Ada", "")
    for who in ("Ada: smoke", "stopped in an emergency by Ada: smoke"):
        agent.on_packet(AFM, packet(held(hold_id("run-1", 1, who))))
        assert states(agent) == {AFM: "running"}
    agent.on_packet(AFM, packet(held(hold_id("run-1", 1, "Ada: a stop of the same number in another copy"))))
    assert states(agent) == {AFM: "stopped"}


def test_a_pause_that_is_reported_does_not_weaken_an_emergency_stop(opened: Open) -> None:
    agent = opened()
    agent.commands.give("stop", "Ada", "smoke")
    agent.on_packet(AFM, packet(held("hold-1", "still_paused")))
    assert states(agent) == {AFM: "stopped"}
