"""Approval of decisions, and the recommendations that follow."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.config.safety import ApprovalSettings, SafetySettings
from agent.errors import ControlError
from agent.history.event_log import History
from agent.messaging.dispatcher import Dispatcher
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet
from tests.support.samples import NOW, Clock, ack, decision, hello, packet, request, result, sample_scan, scan_message

AFM = "afm-1"
POINTS = tuple(
    request(f"p{i}", x_m, 2e-7).model_copy(update={"col": col})
    for i, (x_m, col) in enumerate(((-3e-7, 1), (-1e-7, 1), (1e-7, 2), (3e-7, 2)))
)
Open = Callable[..., Dispatcher]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Starts an agent on the history of the test; called again, it starts the agent that follows after a restart.

    `start.monotonic` holds the monotonic time, which goes on across a restart unless the test sets it.
    """
    with History(tmp_path) as history:

        def start(mode: str = "review", timeout_s: float | None = None, now_at: datetime = NOW, **safety: object) -> Dispatcher:
            approval = ApprovalSettings(mode=mode, timeout_s=timeout_s)
            clock = Clock()
            clock.time = now_at
            agent = Dispatcher(history, "run-1", clock, SafetySettings(**safety), approval, monotonic=lambda: start.monotonic)
            agent.on_packet(AFM, hello())
            return agent

        start.monotonic = 0.0
        yield start
        assert history.verify() == []


def decide(agent: Dispatcher, scan_id: str = "s-1", points: tuple[wire.MeasurementRequest, ...] = POINTS) -> str:
    agent.on_packet(AFM, scan_message(sample_scan(scan_id, finished_at=NOW)))
    agent.decision_log.decided(agent.ledger.undecided(AFM), decision(scan_id, points), 1.0)
    return f"d-{scan_id}"


def hello_at(time: datetime) -> Packet:
    """A hello sent at this time by the instrument's clock."""
    return packet(hello().message.model_copy(update={"sent_at": time}))


def sent(agent: Dispatcher) -> wire.RecommendationMessage | None:
    agent.decision_log.apply_policy(AFM)
    entry = agent.due(AFM)
    return None if entry is None else agent.recommendation(entry)


def ids(message: wire.RecommendationMessage | None) -> list[str]:
    assert message is not None
    return [r.request_id for r in message.requests]


def bodies(agent: Dispatcher, kind: str) -> list[dict]:
    return [e.body for e in agent.history.events(kind=kind)]


def refusal(agent: Dispatcher, name: str, drop: tuple[str, ...] = (), move: dict | None = None) -> str:
    before = len(agent.history)
    with pytest.raises(ControlError) as caught:
        agent.approvals.approve(name, "Ada", "", drop, move or {})
    assert len(agent.history) == before
    return str(caught.value)


def test_in_automatic_mode_all_points_within_the_limits_are_approved_and_recorded(opened: Open) -> None:
    agent = opened("auto")
    decide(agent)
    message = sent(agent)
    assert ids(message) == ["p0", "p1", "p2", "p3"]
    assert (message.approved_by, message.bias_max_V, message.seq) == ("policy", 10.0, 1)
    (given,) = bodies(agent, kinds.APPROVAL_GIVEN)
    assert (given["by"], given["reason"], [r["request_id"] for r in given["requests"]]) == (
        "policy",
        "within all limits",
        ["p0", "p1", "p2", "p3"],
    )


def test_points_outside_the_envelope_are_left_out_recorded_and_counted_and_the_rest_is_sent(opened: Open) -> None:
    agent = opened("auto", x_min_m=-2e-7)
    decide(agent, points=(*POINTS, request("p4", 3.5e-7, 2e-7), request("p5", 3e-7, 6e-7)))
    message = sent(agent)
    assert ids(message) == ["p1", "p2", "p3"]
    assert message.reason == (
        "One type [/in brackets]; reward 1.5 ± 0.1. 3 of 6 points were left out for safety: 1 outside the frame of the scan, "
        "1 outside the stage's range, 1 closer than the spacing to another point."
    )
    (refused,) = bodies(agent, kinds.REQUESTS_REFUSED)
    assert refused["when"] == "deciding"
    assert [(r["request_id"], r["rule"]) for r in refused["refused"]] == [("p0", "limits"), ("p4", "spacing"), ("p5", "frame")]
    assert refused["refused"][0]["reason"] == "x = -0.300 um is outside the stage's range, -0.200 to 45.000 um"


def test_when_no_point_is_left_the_instrument_gets_an_empty_recommendation_with_the_reason(opened: Open) -> None:
    agent = opened("review", x_min_m=4e-7)
    decide(agent)
    message = sent(agent)
    assert ids(message) == []
    assert message.reason.endswith("4 of 4 points were left out for safety: 4 outside the stage's range.")
    assert bodies(agent, kinds.APPROVAL_ASKED) == []


def test_in_review_mode_nothing_is_sent_before_an_operator_approves_also_after_a_restart(opened: Open) -> None:
    name = decide(opened())
    for agent in (opened(), opened("auto")):
        assert sent(agent) is None
        (waiting,) = agent.approvals.pending()
        assert (waiting["decision_id"], len(waiting["requests"]), waiting["refused"]) == (name, 4, {})
    assert agent.approvals.approve(name, "Ada", "looks fine", (), {}) == AFM
    message = sent(opened())
    assert (ids(message), message.approved_by) == (["p0", "p1", "p2", "p3"], "Ada")
    assert [bodies(agent, kind)[0].get("by") for kind in (kinds.APPROVAL_ASKED, kinds.APPROVAL_GIVEN)] == [None, "Ada"]


def test_a_decision_without_points_needs_no_operator(opened: Open) -> None:
    agent = opened()
    agent.on_packet(AFM, scan_message(sample_scan("s-1")))
    made = decision("s-1")
    record = made.record.model_copy(update={"requests": [], "explanation": "Nothing to recommend: too dark."})
    agent.decision_log.decided(agent.ledger.undecided(AFM), type(made)(record, made.arrays), 1.0)
    message = sent(agent)
    assert (message.requests, message.reason, message.approved_by) == ((), "Nothing to recommend: too dark.", "policy")


def test_points_are_dropped_and_moved_under_new_ids_and_that_is_recorded(opened: Open) -> None:
    agent = opened()
    name = decide(agent)
    agent.approvals.approve(name, "Ada", "off the scratch", ("p1",), {"p2": (0.5e-7, 1e-7)})
    message = sent(agent)
    assert ids(message) == ["p0", "p2-m", "p3"]
    assert (message.requests[1].x_m, message.requests[1].y_m) == (0.5e-7, 1e-7)
    assert message.reason.endswith("1 point dropped by Ada. 1 point moved by Ada.")
    (given,) = bodies(agent, kinds.APPROVAL_GIVEN)
    moved = {"request_id": "p2-m", "x_m": 0.5e-7, "y_m": 1e-7, "moved_from": "p2", "from_x_m": 1e-7, "from_y_m": 2e-7}
    assert (given["dropped"], given["moved"], given["reason"]) == (["p1"], [moved], "off the scratch")
    after = opened()
    assert ids(sent(after)) == ids(message)
    assert after.on_packet(AFM, result("p2-m")).duplicate is False
    for other in ("p1", "p2"):
        with pytest.raises(Exception, match="no request"):
            after.on_packet(AFM, result(other))


@pytest.mark.parametrize(
    ("move", "why"),
    [
        ((6e-7, 0.0), "is outside the frame of the scan"),
        ((-1.5e-7, 2e-7), "are required"),
        ((float("nan"), 0.0), "give two finite numbers"),
        ((float("inf"), 0.0), "give two finite numbers"),
        ((1e300, 0.0), "is outside the frame of the scan"),
    ],
)
def test_a_point_that_cannot_be_moved_there_refuses_the_whole_approval(opened: Open, move: tuple[float, float], why: str) -> None:
    agent = opened()
    assert why in refusal(agent, decide(agent), move={"p2": move})
    assert sent(agent) is None


def test_edits_of_what_is_not_offered_are_refused(opened: Open) -> None:
    agent = opened(x_min_m=-2e-7)
    name = decide(agent)
    expected = "'p0' is not among the points that wait for approval: p1, p2, p3"
    assert refusal(agent, name, ("p0",)) == expected
    assert refusal(agent, name, ("p1",), {"p1": (0.0, 0.0)}) == "'p1' cannot be both dropped and moved; choose one"


def test_a_rejected_decision_goes_out_without_points_and_with_the_reason(opened: Open) -> None:
    agent = opened()
    name = decide(agent)
    assert agent.approvals.reject(name, "Ada", "a scratch") == AFM
    message = sent(opened())
    assert (message.requests, message.approved_by) == ((), "Ada")
    assert message.reason == "Nothing is measured: rejected by Ada (a scratch)."
    assert "it was rejected by Ada" in refusal(agent, name)


def test_a_dry_run_says_how_many_points_there_would_have_been(opened: Open) -> None:
    agent = opened("dry-run")
    decide(agent)
    message = sent(agent)
    assert message.requests == ()
    assert message.reason == "Nothing is measured: rejected by policy (dry run, 4 points would have been sent)."


def test_a_newer_scan_supersedes_a_waiting_decision(opened: Open) -> None:
    agent = opened()
    name = decide(agent)
    agent.on_packet(AFM, scan_message(sample_scan("s-2")))
    assert agent.approvals.pending() == []
    assert refusal(agent, name) == (
        "decision 'd-s-1' does not wait for approval: it was superseded by a newer scan of the instrument"
    )
    assert "there is no decision 'd-9'" in refusal(agent, "d-9")
    assert sent(agent) is None


def test_a_decision_that_no_operator_approves_in_time_is_rejected(opened: Open) -> None:
    agent = opened(timeout_s=60.0)
    decide(agent)
    assert sent(agent) is None
    opened.monotonic = 59.9
    assert sent(agent) is None
    opened.monotonic = 60.0
    message = sent(agent)
    assert message.reason == "Nothing is measured: rejected by policy (no operator approved it within 60 s)."


@pytest.mark.attack(
    "the wall clock steps by an hour while a decision waits", promise="its time-out is neither longer nor shorter"
)
@pytest.mark.parametrize("step", [timedelta(hours=1), -timedelta(hours=1), timedelta(days=9000), -timedelta(days=9000)])
def test_a_step_of_the_wall_clock_changes_no_approval_timeout(opened: Open, step: timedelta) -> None:
    agent = opened(timeout_s=60.0)
    decide(agent)
    assert sent(agent) is None
    agent.recorder.now.time += step
    opened.monotonic = 59.0
    assert sent(agent) is None
    opened.monotonic = 60.0
    assert "within 60 s" in sent(agent).reason


@pytest.mark.parametrize(
    ("shown", "waits"), [(timedelta(seconds=30), True), (timedelta(seconds=70), False), (-timedelta(days=1), True)]
)
def test_after_a_restart_the_wall_clock_counts_but_never_backwards(opened: Open, shown: timedelta, waits: bool) -> None:
    agent = opened(timeout_s=60.0)
    decide(agent)
    assert sent(agent) is None
    opened.monotonic = 5000.0  # another boot of the computer
    again = opened(timeout_s=60.0, now_at=NOW + shown)
    assert (sent(again) is None) is waits
    opened.monotonic += 60.0
    assert "within 60 s" in sent(again).reason


def test_two_instruments_that_sent_one_scan_are_told_apart(opened: Open) -> None:
    agent = opened()
    name = decide(agent)
    agent.on_packet("afm-2", hello("afm-2"))
    agent.on_packet("afm-2", scan_message(sample_scan("s-1")))
    agent.decision_log.decided(agent.ledger.undecided("afm-2"), decision("s-1", POINTS), 1.0)
    assert "waits for approval at several instruments (afm-1, afm-2); name one of them" in refusal(agent, name)
    assert agent.approvals.approve(name, "Ada", "", (), {}, "afm-2") == "afm-2"
    assert sent(agent) is None
    assert agent.due("afm-2") is not None


def test_what_was_measured_meanwhile_keeps_points_out_when_they_are_sent(opened: Open) -> None:
    agent = opened("auto")
    decide(agent)
    agent.on_packet("afm-2", hello("afm-2"))
    agent.on_packet("afm-2", scan_message(sample_scan("other")))
    agent.decision_log.decided(agent.ledger.undecided("afm-2"), decision("other", (request("q", 1.5e-7, 2e-7),)), 1.0)
    agent.on_packet("afm-2", result("q", x_m=1.5e-7, y_m=2e-7))
    message = sent(agent)
    assert ids(message) == ["p0", "p1", "p3"]
    (refused,) = bodies(agent, kinds.REQUESTS_REFUSED)
    assert (refused["when"], [r["request_id"] for r in refused["refused"]]) == ("sending", ["p2"])
    assert ids(sent(agent)) == ids(message)
    assert len(bodies(agent, kinds.REQUESTS_REFUSED)) == 1


def test_its_own_results_do_not_keep_a_recommendations_points_out(opened: Open) -> None:
    agent = opened("auto")
    decide(agent)
    sent(agent)
    agent.on_packet(AFM, result("p0", x_m=-3e-7, y_m=2e-7))
    assert agent.ledger.latest(AFM).acknowledged  # a result says that the recommendation has come
    assert bodies(agent, kinds.REQUESTS_REFUSED) == []


def test_a_decision_of_a_version_without_approvals_counts_as_approved_only_if_it_was_sent(opened: Open) -> None:
    agent = opened("auto")
    where = {"instrument_id": AFM}
    for name in ("s-1", "s-2"):
        agent.on_packet(AFM, scan_message(sample_scan(name)))
        made = decision(name, tuple(request(f"{name}-{i}", x * 1e-7) for i, x in enumerate((-3, 3)))).record
        body = where | {"scan_id": name, "seconds": 1.0, "decision": made.model_dump(mode="json")}
        agent.history.record(kinds.DECISION_MADE, made.decision_id, body, at=NOW)
        if name == "s-1":
            agent.history.record(kinds.RECOMMENDATION_SENT, made.decision_id, where | {"scan_id": name}, at=NOW)
    after = opened("review")
    assert after.ledger.scans[AFM, "s-1"].approval.reason == "sent by an earlier version"
    assert after.on_packet(AFM, result("s-1-0")).duplicate is False
    assert sent(after) is None  # s-2 is checked and asked for as any other
    assert [w["decision_id"] for w in after.approvals.pending()] == ["d-s-2"]


def test_a_scan_that_has_become_too_old_is_not_measured_on(opened: Open) -> None:
    agent = opened("auto", scan_age_max_s=100.0)
    decide(agent)
    agent.on_packet(AFM, hello_at(NOW + timedelta(seconds=101)))
    message = sent(agent)
    assert message.requests == ()
    assert message.reason.endswith("4 of 4 points were left out for safety: 4 because the scan is too old.")
    assert message.expires_at == NOW + timedelta(seconds=101)  # at once


def test_the_age_of_a_scan_without_an_end_time_counts_from_its_receipt(opened: Open) -> None:
    agent = opened("auto", scan_age_max_s=100.0)
    agent.on_packet(AFM, scan_message(sample_scan("s-1")))
    agent.decision_log.decided(agent.ledger.undecided(AFM), decision("s-1", POINTS), 1.0)
    assert len(sent(agent).requests) == 4
    opened.monotonic = 100.1
    assert sent(agent).requests == ()


@pytest.mark.attack("a scan is held and the clocks are set back a day", promise="it is too old all the same")
@pytest.mark.parametrize("with_end_time", [True, False])
def test_a_clock_that_is_set_back_makes_no_scan_younger(opened: Open, with_end_time: bool) -> None:
    agent = opened("auto", scan_age_max_s=100.0)
    ended = {"finished_at": NOW} if with_end_time else {}
    agent.on_packet(AFM, scan_message(sample_scan("s-1", **ended)))
    agent.decision_log.decided(agent.ledger.undecided(AFM), decision("s-1", POINTS), 1.0)
    opened.monotonic = 100.1
    agent.recorder.now.time -= timedelta(days=1)
    agent.on_packet(AFM, hello_at(NOW - timedelta(days=1)))
    assert sent(agent).requests == ()
    assert set(agent.ledger.latest(AFM).refused.values()) == {"scan_age"}


@pytest.mark.attack("the agent is restarted with its clock set back a day", promise="a scan that was too old does not go out")
def test_a_restart_with_the_clock_set_back_makes_no_scan_younger_than_the_newest_event(opened: Open) -> None:
    agent = opened("auto", scan_age_max_s=100.0)
    agent.on_packet(AFM, scan_message(sample_scan("s-1")))
    agent.decision_log.decided(agent.ledger.undecided(AFM), decision("s-1", POINTS), 1.0)
    agent.recorder.now.time += timedelta(seconds=100)
    agent.run_log.noted("job_troubled", "a later event", {})
    again = opened("auto", scan_age_max_s=100.0, now_at=NOW - timedelta(days=1))
    assert sent(again).requests == ()


def test_points_expire_by_the_instruments_clock(opened: Open) -> None:
    agent = opened("auto", expiry_s=30.0)
    decide(agent)
    agent.on_packet(AFM, hello_at(NOW + timedelta(seconds=50)))
    assert sent(agent).expires_at == NOW + timedelta(seconds=80)


def test_an_instrument_that_applies_too_large_a_bias_gets_no_points(opened: Open) -> None:
    agent = opened("auto", bias_max_V=5.0)
    loud = hello().message.model_copy(update={"bias_V": 6.0})
    agent.on_packet(AFM, packet(loud))
    decide(agent)
    message = sent(agent)
    assert (message.requests, message.bias_max_V) == ((), 5.0)
    assert "4 because the bias of the instrument is too large" in message.reason


def test_an_acknowledged_recommendation_is_not_due_any_more(opened: Open) -> None:
    agent = opened("auto")
    name = decide(agent)
    sent(agent)
    agent.on_packet(AFM, ack(f"rec-{name}"))
    assert sent(agent) is None
