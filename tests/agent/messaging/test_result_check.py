"""Results that the agent did not ask for, that were measured elsewhere, or whose date cannot be right: named, and acted on."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from agent.cli.history_events import _summary
from agent.config.drift import DriftSettings
from agent.config.safety import SafetySettings
from agent.dashboard.timeline import timeline
from agent.history.event_log import Event, History
from agent.ledger.recovery import recovery_facts, recovery_sentence
from agent.messaging.dispatcher import Dispatcher
from agent.preprocessing.drift import update_track
from agent.preprocessing.registration import ScanPair
from agent.provenance.narrative import event_sentence
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol.codec import Packet, encode
from tests.support.samples import FRAME, NOW, Clock, decision, hello, packet, result, sample_scan, scan_message
from tests.support.samples import request as point

AFM = "afm-1"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path) as opened:
        yield opened
        assert opened.verify() == []


def decided(history: History, scan: dict | None = None, **safety: object) -> Dispatcher:
    """An agent that has decided on a scan and sent nothing yet: two points at (100, 200) and (300, 200) nm."""
    agent = Dispatcher(history, "run-1", Clock(), SafetySettings(**safety), monotonic=lambda: 0.0)
    agent.on_packet(AFM, hello())
    agent.on_packet(AFM, scan_message(sample_scan("s-1", **(scan or {}))))
    entry = agent.ledger.latest(AFM)
    agent.decision_log.decided(entry, decision("s-1"), 1.0)
    return agent


def sent(history: History, scan: dict | None = None, **safety: object) -> Dispatcher:
    agent = decided(history, scan, **safety)
    entry = agent.ledger.latest(AFM)
    agent.recommendation(entry)
    agent.sent(entry)
    return agent


def received(agent: Dispatcher, message: object) -> Event:
    agent.on_packet(AFM, message)
    return list(agent.history.events(kind=kinds.RESULT_RECEIVED))[-1]


def restarted(agent: Dispatcher) -> Dispatcher:
    return Dispatcher(agent.history, "run-1", Clock())


def test_a_result_as_it_should_be_is_recorded_without_any_finding(history: History) -> None:
    event = received(sent(history), result("d-s-1-000"))
    assert not {"judged", "judgement", "used_at", "pauses"} & event.body.keys()


@pytest.mark.attack(
    "a point is reported half a metre from where it was sent", promise="it is named elsewhere, and the instrument is paused"
)
def test_a_point_measured_elsewhere_is_named_shown_left_out_and_pauses_the_instrument(history: History) -> None:
    agent = sent(history)
    event = received(agent, result("d-s-1-000", x_m=0.5))
    assert (event.body["status"], event.body["judged"]) == ("ok", ["elsewhere"])
    sentence = (
        "d-s-1-000 was measured 5e+08 nm from where it was sent, at most 500 nm are allowed; check the stage and its sensors"
    )
    assert event.body["judgement"] == sentence
    for one in (agent, restarted(agent)):
        assert (one.ledger.command_state.state(AFM), one.ledger.command_state.commands[AFM].by) == ("paused", "policy")
        assert one.ledger.command_state.reason(AFM).endswith(sentence)
        assert dict(one.ledger.results("bto").left_out) == {"elsewhere": 1}
        assert one.ledger.measured_xy("bto").tolist() == [[0.5, 2e-7], [1e-7, 2e-7]]
    (shown,) = timeline([event])
    assert (shown.title, shown.text, shown.tone) == ("Point ok, but elsewhere, cluster 0", sentence, "bad")
    assert sentence in _summary(event)
    assert sentence in event_sentence(event)


def test_the_instrument_is_paused_even_if_the_agent_is_killed_just_after_the_result(history: History, monkeypatch) -> None:
    agent = sent(history)
    monkeypatch.setattr(agent.commands, "pause_on_alarm", lambda _: None)
    received(agent, result("d-s-1-000", x_m=0.5))
    agent = restarted(agent)
    agent.decision_log.apply_policy(AFM)
    assert agent.ledger.command_state.state(AFM) == "paused"


@pytest.mark.parametrize(("x_m", "judged"), [(599e-9, None), (601e-9, ["elsewhere"])])
@pytest.mark.parametrize("tolerance_m", [500e-9, 100e-9])  # of the scan a pixel is 500 nm
def test_elsewhere_begins_at_the_tolerance_of_the_settings(
    history: History, x_m: float, judged: object, tolerance_m: float
) -> None:
    agent = sent(history, position_tolerance_m=tolerance_m, pause_on=())
    event = received(agent, result("d-s-1-000", x_m=x_m))
    assert event.body.get("judged") == judged
    assert agent.ledger.command_state.state(AFM) == "running"


@pytest.mark.attack(
    "a result for a point that was approved and never sent", promise="it is named unasked, and the points are sent all the same"
)
def test_a_result_for_a_point_that_was_never_sent_is_named_and_does_not_count_as_arrival(history: History) -> None:
    agent = decided(history)
    event = received(agent, result("d-s-1-000"))
    assert (event.body["judged"], event.body["judgement"]) == (
        ["unasked"],
        "d-s-1-000 was approved but never sent to the instrument",
    )
    assert dict(agent.ledger.results("bto").left_out) == {"unasked": 1}
    assert agent.ledger.measured_xy("bto").tolist() == [[1e-7, 2e-7]]
    entry = agent.due(AFM)
    assert [r.request_id for r in agent.recommendation(entry).requests] == ["d-s-1-001"]  # no point is measured twice


@pytest.mark.attack("a point voided by a stop is reported as measured", promise="it is named unasked")
def test_a_point_that_an_emergency_stop_voided_is_named_unasked(history: History) -> None:
    agent = sent(history)
    agent.commands.give("stop", "Ada", "smoke")
    event = received(agent, result("d-s-1-000"))
    why = "d-s-1-000 was no longer to be measured: the instrument was stopped in an emergency by Ada: smoke"
    assert (event.body["judged"], event.body["judgement"]) == (["unasked"], why)
    assert received(agent, result("d-s-1-001", "skipped", "m-2")).body.get("judged") is None


def test_with_pause_on_unasked_such_a_result_pauses_the_instrument(history: History) -> None:
    agent = decided(history, pause_on=("unasked", "elsewhere"))
    received(agent, result("d-s-1-000"))
    assert agent.ledger.command_state.state(AFM) == "paused"


@pytest.mark.attack(
    "a result is dated an hour or a year ahead, or before its scan", promise="its time of receipt is used, and that is recorded"
)
@pytest.mark.parametrize(
    ("off", "sentence"),
    [
        (timedelta(hours=1), "but was received at 2026-01-02T03:04:05"),
        (timedelta(days=365), "but was received at"),
        (-timedelta(hours=1), "before the end of its scan at 2026-01-02T03:04:00"),
    ],
)
def test_a_date_that_cannot_be_right_is_named_and_the_time_of_receipt_is_used(
    history: History, off: timedelta, sentence: str
) -> None:
    ended = NOW - timedelta(seconds=5)
    agent = sent(history, {"started_at": ended - timedelta(seconds=60), "finished_at": ended})
    event = received(agent, result("d-s-1-000", measured_at=NOW + off))
    assert event.body["judged"] == ["misdated"]
    assert sentence in event.body["judgement"]
    assert event.body["used_at"] == NOW.isoformat()
    assert agent.ledger.measured_s("bto").tolist() == [NOW.timestamp()]
    assert agent.clocks.now(AFM) == NOW, "such a date does not move the instrument's clock"
    assert len(agent.ledger.results("bto").values) == 1, "the result itself is used"


def test_the_clock_of_a_simulated_instrument_may_run_faster_than_ours(history: History) -> None:
    agent = sent(history)
    later = NOW + timedelta(hours=5)
    made = result("d-s-1-000", measured_at=later)
    made = packet(made.message.model_copy(update={"sent_at": later}), made.arrays)
    assert received(agent, made).body.get("judged") is None
    assert agent.clocks.now(AFM) == later


@pytest.mark.attack("a history of an earlier version holds a scan of the year 9999", promise="it is decided on and goes on")
@pytest.mark.parametrize(
    "header",
    [
        {"finished_at": "9999-12-31T23:59:59Z", "started_at": "9999-12-31T23:00:00Z"},
        {"finished_at": "0001-01-01T00:00:00+14:00", "started_at": "0001-01-01T00:00:00+14:00"},
        {"sent_at": "9999-12-31T23:59:59-23:59"},
        {"frame": FRAME.model_dump() | {"size_fast_m": 1e300, "size_slow_m": 1e300}},
        {"frame": FRAME.model_dump() | {"x_offset_m": 1e308, "angle_rad": 1e300}},
    ],
)
def test_a_history_with_a_scan_that_cannot_be_is_taken_up(history: History, header: dict) -> None:
    agent = Dispatcher(history, "run-1", Clock(), monotonic=lambda: 0.0)
    agent.on_packet(AFM, hello())
    agent.on_packet(AFM, scan_message(sample_scan("s-0")))
    (event,) = history.events(kind=kinds.SCAN_RECEIVED)
    body = event.body | {"header": event.body["header"] | {"scan_id": "s-1"} | header}
    history.record(kinds.SCAN_RECEIVED, "s-1", body, at=NOW, arrays={"channels": history.arrays.get(event.arrays["channels"])})
    agent = restarted(agent)
    agent.on_packet(AFM, hello(x_max_m=1.0))
    entry = agent.ledger.undecided(AFM)
    scan = asyncio.run(agent.decision_log.read_scan(entry))
    update_track(None, ScanPair(sample_scan("s-0"), scan, "Amplitude"), DriftSettings())
    agent.decision_log.decided(entry, decision("s-1", frame=scan.frame), 1.0)
    encode(Packet(agent.recommendation(agent.due(AFM))))
    agent.on_packet(AFM, scan_message(sample_scan("s-2", 0.7), "m-2"))
    agent.decision_log.decided(agent.ledger.undecided(AFM), decision("s-2", (point("p-2", 9e-8, 4e-7),)), 1.0)
    assert [r.request_id for r in agent.recommendation(agent.due(AFM)).requests] == ["p-2"]


@pytest.mark.attack(
    "a history of an earlier version holds 1.7e308 m",
    promise="it is taken up, the next scan is decided on, and what is left out is said",
)
@pytest.mark.parametrize(
    "poison", [{"x_m": 1.7e308}, {"y_m": -1e300}, {"parameters": {"a_V": 1e308}}, {"measured_at": "9999-12-31T23:59:59+00:00"}]
)
def test_a_history_that_holds_what_cannot_be_is_taken_up(history: History, poison: dict) -> None:
    agent = sent(history)
    body = {"id": "r", "sent_at": NOW.isoformat(), "request_id": "d-s-1-000", "status": "ok", "reason": ""}
    body |= {"x_m": 1e-7, "y_m": 2e-7, "measured_at": NOW.isoformat(), "parameters": {"a_V": 1.0}}
    body |= {"instrument_id": AFM, "scan_id": "s-1", "cluster": 0} | poison
    history.record(kinds.RESULT_RECEIVED, "d-s-1-000", body, at=NOW)
    agent = restarted(agent)
    agent.on_packet(AFM, hello())
    dated = "measured_at" in poison
    assert agent.ledger.measured_xy("bto").tolist() == [[1e-7, 2e-7]], "where it was sent"
    assert dict(agent.ledger.results("bto").left_out) == ({} if dated else {"impossible": 1})
    facts = recovery_facts(agent.ledger)
    assert ("impossible_results" in facts) is not dated
    assert ("hold a place or a number that cannot be and are left out: d-s-1-000" in recovery_sentence(facts)) is not dated
    agent.on_packet(AFM, scan_message(sample_scan("s-2", 0.7), "m-2"))
    agent.decision_log.decided(agent.ledger.latest(AFM), decision("s-2", (point("p-2", 9e-8, 4e-7),)), 1.0)
    assert [r.request_id for r in agent.recommendation(agent.due(AFM)).requests] == ["p-2"]
