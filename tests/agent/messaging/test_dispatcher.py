"""The dispatcher without sockets: messages in, answers and events out."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.errors import HistoryError
from agent.history.event_log import History
from agent.ledger.entries import PastDecision
from agent.messaging.dispatcher import Dispatcher
from agent.schema import event_kinds as kinds
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import messages as wire
from tests.support.samples import NOW, Clock, ack, decision, hello, packet, refused, request, result, sample_scan, scan_message

AFM = "afm-1"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path) as opened:
        yield opened
        assert opened.verify() == []


@pytest.fixture
def agent(history: History) -> Dispatcher:
    """A dispatcher with one connected instrument."""
    dispatcher = Dispatcher(history, "run-1", Clock())
    dispatcher.on_packet(AFM, hello())
    return dispatcher


def restarted(agent: Dispatcher) -> Dispatcher:
    return Dispatcher(agent.history, "run-1", Clock())


def recorded(agent: Dispatcher, kind: str) -> list[dict]:
    return [e.body for e in agent.history.events(kind=kind)]


def send_scan(agent: Dispatcher, scan_id: str = "scan-1", value: float = 0.5, message_id: str = "m-scan") -> wire.Message | None:
    return agent.on_packet(AFM, scan_message(sample_scan(scan_id, value), message_id))


def decide(agent: Dispatcher, scan_id: str = "scan-1") -> str:
    """The id of the recommendation that follows from a decision."""
    entry = agent.ledger.undecided(AFM)
    assert entry is not None
    assert entry.scan_id == scan_id
    agent.decision_log.decided(entry, decision(scan_id), 1.5)
    return agent.recommendation(entry).id


def refusal(agent: Dispatcher, instrument_id: str, sent: object) -> str:
    with pytest.raises(ProtocolError) as caught:
        agent.on_packet(instrument_id, sent)
    return caught.value.code


def test_hello_is_welcomed_into_the_run(history: History) -> None:
    agent = Dispatcher(history, "run-1", Clock())
    answer = agent.on_packet(AFM, hello(message_id="h7", bias_max_V=3.0))
    assert isinstance(answer, wire.Welcome)
    assert (answer.of, answer.run_id, answer.scans_recorded) == ("h7", "run-1", 0)
    assert agent.presence.limits(AFM).bias_max_V == 3.0
    assert recorded(agent, kinds.INSTRUMENT_CONNECTED)[0]["limits"]["bias_max_V"] == 3.0


def test_welcome_counts_the_scans_of_that_instrument_only(agent: Dispatcher) -> None:
    send_scan(agent)
    agent.on_packet("afm-2", hello("afm-2"))
    agent.on_packet("afm-2", scan_message(sample_scan("scan-1")))
    agent.on_packet("afm-2", scan_message(sample_scan("scan-2")))
    assert agent.on_packet(AFM, hello()).scans_recorded == 1
    assert agent.on_packet("afm-2", hello("afm-2")).scans_recorded == 2


@pytest.mark.parametrize(
    "sent", [scan_message(sample_scan()), result("d-1-000"), ack("rec-1"), packet(wire.Bye(id="b", sent_at=Clock()()))]
)
def test_nothing_is_taken_from_an_instrument_that_has_not_said_hello(history: History, sent: object) -> None:
    agent = Dispatcher(history, "run-1", Clock())
    assert refusal(agent, AFM, sent) == "hello_first"
    assert len(history) == 0


def test_a_hello_under_another_name_is_refused(agent: Dispatcher) -> None:
    assert refusal(agent, "afm-2", hello("afm-1")) == "wrong_identity"
    assert "afm-2" not in agent.presence.connected()


@pytest.mark.parametrize(
    "message",
    [
        wire.Welcome(id="w", sent_at=Clock()(), of="h", run_id="r", scans_recorded=0),
        wire.RecommendationMessage(id="r", seq=1, sent_at=Clock()(), decision_id="d", scan_id="s", requests=(), reason=""),
    ],
)
def test_messages_that_only_the_agent_sends_are_refused(agent: Dispatcher, message: wire.Message) -> None:
    assert refusal(agent, AFM, packet(message)) == "not_for_agent"


@pytest.mark.slow
def test_a_scan_is_acknowledged_once_it_is_in_the_history(agent: Dispatcher) -> None:
    answer = send_scan(agent, message_id="m-7")
    assert isinstance(answer, wire.Ack)
    assert (answer.of, answer.duplicate) == ("m-7", False)
    scan = asyncio.run(agent.decision_log.read_scan(agent.ledger.undecided(AFM)))
    sent = sample_scan()
    assert np.array_equal(scan.channels["Amplitude"], sent.channels["Amplitude"])
    assert (scan.metadata, scan.frame, scan.sample_id, scan.units["Amplitude"]) == (sent.metadata, sent.frame, "bto", "m")


def test_of_an_older_scan_the_ledger_keeps_what_is_needed_and_the_history_everything(agent: Dispatcher) -> None:
    send_scan(agent, "scan-1")
    decide(agent, "scan-1")
    entry = agent.ledger.latest(AFM)
    full = entry.decision
    assert full.candidates
    assert entry.event.body["header"]["metadata"]
    send_scan(agent, "scan-2")
    assert entry.event.body == {}
    assert entry.decision is None
    assert entry.decided == PastDecision(full.decision_id, full.outcome, len(full.requests))
    assert asyncio.run(agent.decision_log.read_scan(entry)).metadata == sample_scan().metadata
    assert restarted(agent).ledger.scans[AFM, "scan-1"] == entry


def test_a_scan_that_cannot_be_recorded_is_not_acknowledged(agent: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(HistoryError, match="No space left"):
            send_scan(agent)
    assert agent.ledger.undecided(AFM) is None
    assert send_scan(agent).duplicate is False


def test_a_scan_sent_again_is_acknowledged_as_a_duplicate_and_recorded_once(agent: Dispatcher) -> None:
    send_scan(agent)
    for dispatcher in (agent, restarted(agent)):
        dispatcher.on_packet(AFM, hello())
        answer = send_scan(dispatcher, message_id="m-8")
        assert (answer.of, answer.duplicate) == ("m-8", True)
    assert len(recorded(agent, kinds.SCAN_RECEIVED)) == 1
    assert recorded(agent, kinds.MESSAGE_REPEATED) == [{"instrument_id": AFM, "type": "scan"}]


def test_a_trouble_at_the_instrument_is_recorded_once(agent: Dispatcher) -> None:
    agent.on_packet(AFM, hello())
    trouble = wire.TroubleMessage(id="t-1", sent_at=NOW, event="scan_failed", sentence="no scan was recorded: no laser")
    answers = [agent.on_packet(AFM, packet(trouble)) for _ in range(3)]
    assert [(a.of, a.duplicate) for a in answers] == [("t-1", False), ("t-1", True), ("t-1", True)]
    (body,) = recorded(agent, kinds.INSTRUMENT_TROUBLED)
    assert (body["instrument_id"], body["event"], body["sentence"]) == (AFM, "scan_failed", trouble.sentence)
    assert recorded(agent, kinds.MESSAGE_REPEATED) == [{"instrument_id": AFM, "type": "trouble"}]


@pytest.mark.parametrize("changed", [{"value": 0.6}, {"sample_id": "pzt"}, {"metadata": {"operator": "another"}}])
def test_another_scan_under_a_known_id_is_refused(agent: Dispatcher, changed: dict) -> None:
    send_scan(agent)
    assert refusal(agent, AFM, scan_message(sample_scan(**changed))) == "duplicate_scan_id"
    assert len(recorded(agent, kinds.SCAN_RECEIVED)) == 1


def test_two_instruments_may_use_the_same_scan_and_request_ids(agent: Dispatcher) -> None:
    agent.on_packet("afm-2", hello("afm-2"))
    for name in (AFM, "afm-2"):
        assert agent.on_packet(name, scan_message(sample_scan())).duplicate is False
        agent.decision_log.decided(agent.ledger.undecided(name), decision(), 1.0)
    for name in (AFM, "afm-2"):
        assert agent.on_packet(name, result("d-scan-1-000")).duplicate is False
    assert [b["instrument_id"] for b in recorded(agent, kinds.RESULT_RECEIVED)] == [AFM, "afm-2"]


def test_a_newer_scan_supersedes_the_waiting_one_and_that_is_recorded(agent: Dispatcher) -> None:
    send_scan(agent, "scan-1")
    older = agent.ledger.undecided(AFM)
    send_scan(agent, "scan-2")
    assert agent.ledger.undecided(AFM).scan_id == "scan-2"
    agent.decision_log.cancelled(older, "a second reason")
    assert recorded(agent, kinds.SEARCH_CANCELLED) == [{"instrument_id": AFM, "reason": "a newer scan came in: scan-2"}]


def test_a_decided_scan_is_not_cancelled_by_a_newer_one(agent: Dispatcher) -> None:
    send_scan(agent, "scan-1")
    decide(agent)
    send_scan(agent, "scan-2")
    assert recorded(agent, kinds.SEARCH_CANCELLED) == []


def test_all_candidates_and_the_decision_are_recorded_before_anything_can_be_sent(agent: Dispatcher) -> None:
    send_scan(agent)
    entry = agent.ledger.undecided(AFM)
    with pytest.raises(AssertionError):
        agent.recommendation(entry)
    agent.decision_log.decided(entry, decision(), 1.5)
    scored, made, passed = list(agent.history.events(subject="d-scan-1"))
    assert (scored.kind, made.kind, passed.kind) == (kinds.CANDIDATES_SCORED, kinds.DECISION_MADE, kinds.APPROVAL_GIVEN)
    assert [c["candidate_id"] for c in scored.body["candidates"]] == ["rt-w9-s0", "v-w5-s0"]
    assert scored.body["candidates"][0]["reconstruction_per_px"] is None  # it was not a number
    assert made.body["seconds"] == 1.5
    assert agent.history.arrays.get(made.arrays["points_rc"]).shape == (9, 2)


def test_a_recommendation_sent_again_is_the_same_message(agent: Dispatcher) -> None:
    send_scan(agent)
    decide(agent)
    first = agent.recommendation(agent.ledger.unacknowledged(AFM))
    later = restarted(agent)
    again = later.recommendation(later.ledger.unacknowledged(AFM))
    assert (again.id, again.requests, again.scan_id) == (first.id, first.requests, "scan-1")
    agent.sent(agent.ledger.unacknowledged(AFM))
    assert recorded(agent, kinds.RECOMMENDATION_SENT) == [{"instrument_id": AFM, "scan_id": "scan-1"}]


def test_a_very_long_explanation_is_cut_to_what_the_wire_carries(agent: Dispatcher) -> None:
    send_scan(agent)
    agent.decision_log.decided(agent.ledger.undecided(AFM), decision(explanation="because " * 1000), 1.0)
    assert len(agent.recommendation(agent.ledger.unacknowledged(AFM)).reason) == 2000


def test_an_acknowledgement_is_recorded_once(agent: Dispatcher) -> None:
    send_scan(agent)
    name = decide(agent)
    assert agent.on_packet(AFM, ack("rec-of-something-else")) is None
    assert agent.ledger.unacknowledged(AFM) is not None
    assert agent.on_packet(AFM, ack(name)) is None
    assert agent.on_packet(AFM, ack(name)) is None
    assert recorded(agent, kinds.RECOMMENDATION_ACKNOWLEDGED) == [{"instrument_id": AFM, "scan_id": "scan-1"}]
    assert agent.ledger.unacknowledged(AFM) is None


def test_a_recommendation_that_the_instrument_refuses_counts_as_delivered(agent: Dispatcher) -> None:
    send_scan(agent)
    name = decide(agent)
    assert agent.on_packet(AFM, refused(name)) is None
    assert agent.ledger.unacknowledged(AFM) is None
    (refusal_,) = recorded(agent, kinds.MESSAGE_REFUSED)
    assert (refusal_["by"], refusal_["of"], refusal_["reason"]) == ("instrument", name, "the laser is off")
    assert recorded(agent, kinds.RECOMMENDATION_ACKNOWLEDGED)[0]["refused"] == "the laser is off"


def test_a_result_is_acknowledged_once_it_is_in_the_history(agent: Dispatcher) -> None:
    send_scan(agent)
    decide(agent)
    answer = agent.on_packet(AFM, result("d-scan-1-000", message_id="m-9"))
    assert (answer.of, answer.duplicate) == ("m-9", False)
    (event,) = agent.history.events(kind=kinds.RESULT_RECEIVED)
    assert (event.subject, event.body["cluster"], event.body["parameters"]) == ("d-scan-1-000", 0, {"coercive_V": 2.5})
    assert np.array_equal(agent.history.arrays.get(event.arrays["bias_V"]), np.linspace(-1, 1, 5))


def test_a_result_sent_again_is_a_duplicate_also_after_a_restart(agent: Dispatcher) -> None:
    send_scan(agent)
    decide(agent)
    agent.on_packet(AFM, result("d-scan-1-000"))
    for dispatcher in (agent, restarted(agent)):
        dispatcher.on_packet(AFM, hello())
        assert dispatcher.on_packet(AFM, result("d-scan-1-000", "failed", "m-other")).duplicate is True
    assert len(recorded(agent, kinds.RESULT_RECEIVED)) == 1


def test_a_result_that_answers_no_request_of_this_instrument_is_refused(agent: Dispatcher) -> None:
    send_scan(agent)
    decide(agent)
    agent.on_packet("afm-2", hello("afm-2"))
    assert refusal(agent, AFM, result("d-scan-1-999")) == "unknown_request"
    assert refusal(agent, "afm-2", result("d-scan-1-000")) == "unknown_request"
    assert recorded(agent, kinds.RESULT_RECEIVED) == []


def test_points_count_as_measured_where_they_were_measured_unless_skipped(agent: Dispatcher) -> None:
    requests = tuple(request(f"p{i}", x_m=i * 1e-7, y_m=0.0) for i in range(4))
    send_scan(agent)
    agent.decision_log.decided(agent.ledger.undecided(AFM), decision(requests=requests), 1.0)
    agent.on_packet(AFM, result("p0", "skipped"))
    agent.on_packet(AFM, result("p1", "failed"))  # the tip went there and something went wrong
    agent.on_packet(AFM, result("p2", x_m=2.1e-7, y_m=1e-9))
    for dispatcher in (agent, restarted(agent)):
        assert dispatcher.ledger.measured_xy("bto").tolist() == [[1e-7, 0.0], [2.1e-7, 1e-9]]
        assert dispatcher.ledger.measured_xy("another").shape == (0, 2)


def test_each_refusal_is_in_the_history_with_code_and_reason(agent: Dispatcher) -> None:
    answer = agent.refuse("\\xff", "m-1", ProtocolError("bad_json", "the header is not JSON"))
    assert (answer.of, answer.code, answer.reason) == ("m-1", "bad_json", "the header is not JSON")
    (body,) = recorded(agent, kinds.MESSAGE_REFUSED)
    assert body == {"instrument_id": "\\xff", "of": "m-1", "code": "bad_json", "reason": "the header is not JSON"}


@pytest.mark.parametrize("reason", ["version \ud800 is not spoken here", "long " * 1000])
def test_a_refusal_that_quotes_what_the_wire_cannot_carry_is_made_fit(agent: Dispatcher, reason: str) -> None:
    answer = agent.refuse(AFM, None, ProtocolError("unknown_version", reason))
    assert packet(answer).message == answer
    assert recorded(agent, kinds.MESSAGE_REFUSED)[0]["reason"] == answer.reason


def test_after_bye_an_instrument_must_say_hello_again(agent: Dispatcher) -> None:
    answer = agent.on_packet(AFM, packet(wire.Bye(id="bye-1", sent_at=Clock()(), reason="done")))
    assert answer.of == "bye-1"
    assert recorded(agent, kinds.INSTRUMENT_LEFT) == [{"instrument_id": AFM, "reason": "done"}]
    assert refusal(agent, AFM, scan_message(sample_scan())) == "hello_first"
    agent.on_packet(AFM, hello())
    assert send_scan(agent).duplicate is False


def test_a_heartbeat_needs_no_answer_and_leaves_no_trace(agent: Dispatcher) -> None:
    before = len(agent.history)
    assert agent.on_packet(AFM, packet(wire.Heartbeat(id="beat", sent_at=Clock()()))) is None
    assert len(agent.history) == before


def test_a_restarted_agent_knows_which_scan_waits_and_which_recommendation_was_not_acknowledged(agent: Dispatcher) -> None:
    send_scan(agent, "scan-1")
    name = decide(agent, "scan-1")
    assert restarted(agent).ledger.unacknowledged(AFM).scan_id == "scan-1"
    agent.on_packet(AFM, ack(name))
    send_scan(agent, "scan-2")
    later = restarted(agent).ledger
    assert later.unacknowledged(AFM) is None
    assert later.undecided(AFM).scan_id == "scan-2"
    assert later.latest(AFM).scan_id == "scan-2"
    assert later.undecided("afm-2") is None
