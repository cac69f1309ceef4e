import signal
import threading
import time

import pytest

from instrument_adapters.client import stop_on_signals
from instrument_adapters.errors import InstrumentFaultError, LimitError, ProtocolError
from instrument_adapters.protocol.messages import (
    Ack,
    Bye,
    Heartbeat,
    Hello,
    Limits,
    Refused,
    ResultMessage,
    ScanMessage,
    StatusMessage,
    TroubleMessage,
)


def refuse(message, code="no", reason="the reason"):
    return Refused(id=f"refused-{message.id}", sent_at=message.sent_at, of=message.id, code=code, reason=reason)


def first_time(kind, answers):
    """A script that answers the first message of a kind with `answers` and all others by default."""
    seen = set()

    def script(message):
        if isinstance(message, kind) and not seen:
            seen.add(message.id)
            return answers(message)
        return None

    return script


def statuses(agent):
    """(request, status) of each result, without repetitions: on a slow machine a client may repeat a result before its ack."""
    once = {r.id: (r.request_id, r.status) for r in agent.got(ResultMessage)}
    return list(once.values())


def test_two_cycles_are_measured_in_order_and_reported(agent, instrument, client):
    report = client(instrument, agent.address, cycles=2)
    assert (report.cycles, report.scans_sent, report.results_ok, report.results_failed) == (2, 2, 4, 0)
    assert [b.reason for b in agent.wait_for(Bye)] == ["all 2 cycles are done"]
    kinds = [m.type for m in agent.received if not isinstance(m, Heartbeat | Ack | StatusMessage)]
    assert kinds == ["hello", "scan", "result", "result", "scan", "result", "result", "bye"]
    assert instrument.measured == ["s1-p0", "s1-p1", "s2-p0", "s2-p1"]
    assert agent.got(ScanMessage)[0].id == "scan-s1"
    assert agent.got(ResultMessage)[0].id == "result-s1-p0"
    assert agent.got(ResultMessage)[0].parameters == {"coercive_V": 2.5}


def test_the_instrument_is_called_from_one_worker_thread_and_closed_once(agent, instrument, client):
    client(instrument, agent.address, cycles=2)
    assert len(instrument.threads) == 1
    assert threading.current_thread().name not in instrument.threads
    assert instrument.closings == 1


def test_hello_carries_the_name_and_the_limits_of_the_instrument(agent, instrument, client):
    instrument.limits = Limits(points_max=7)
    client(instrument, agent.address, cycles=1)
    hello = agent.got(Hello)[0]
    assert (hello.instrument_id, hello.model, hello.limits.points_max) == ("afm-1", "a table", 7)


@pytest.mark.parametrize("kind", [ScanMessage, ResultMessage])
def test_a_message_whose_answer_was_lost_is_repeated_unchanged(agent, instrument, client, kind):
    agent.script = first_time(kind, lambda _: [])
    report = client(instrument, agent.address, cycles=1)
    frames = [f for m, f in zip(agent.received, agent.frames, strict=True) if isinstance(m, kind)]
    assert frames[0] in frames[1:]
    assert (report.cycles, report.scans_sent, report.results_ok) == (1, 1, 2)
    assert instrument.measured == ["s1-p0", "s1-p1"]


def test_a_repeated_recommendation_is_acknowledged_again_and_measured_once(agent, instrument, client):
    def script(message):
        return (
            [*agent.default_answers(message), agent.recommendation(message.scan_id)] if isinstance(message, ScanMessage) else None
        )

    agent.script = script
    client(instrument, agent.address, cycles=1)
    assert instrument.measured == ["s1-p0", "s1-p1"]
    assert [(a.of, a.duplicate) for a in agent.got(Ack)] == [("recommendation-s1", False), ("recommendation-s1", True)]


def test_a_recommendation_replaces_the_lost_acknowledgement_of_its_scan(agent, instrument, client):
    def script(message):
        return [agent.recommendation(message.scan_id)] if isinstance(message, ScanMessage) else None

    agent.script = script
    report = client(instrument, agent.address, cycles=1)
    assert (report.scans_sent, len(agent.got(ScanMessage))) == (1, 1)


def test_a_refused_scan_is_reported_and_the_next_one_taken(agent, instrument, client):
    agent.script = first_time(ScanMessage, lambda m: [refuse(m, "too_blurred", "no edges in it")])
    report = client(instrument, agent.address, cycles=2)
    assert (report.scans_refused, report.scans_sent, report.cycles) == (1, 1, 2)
    assert client.reported("refused")[0]["code"] == "too_blurred"
    assert instrument.measured == ["s2-p0", "s2-p1"]


def test_a_refused_result_is_reported_and_not_repeated(agent, instrument, client):
    agent.script = first_time(ResultMessage, lambda m: [refuse(m)])
    report = client(instrument, agent.address, cycles=1)
    assert report.cycles == 1
    assert client.reported("refused")[0]["of"] == "result-s1-p0"


@pytest.mark.parametrize(
    ("points", "limits", "reason"),
    [
        ([(1e-6, 1e-6), (46e-6, 0.0)], Limits(), "outside the stage's range"),
        ([(1e-6, 1e-6), (1.05e-6, 1e-6)], Limits(), "50.0 nm from another one measured"),
        ([(1e-6, 1e-6), (2e-6, 2e-6)], Limits(points_max=1), "1 points have been measured"),
    ],
    ids=["outside", "too near", "too many"],
)
def test_a_request_outside_the_limits_is_skipped_and_never_measured(agent, instrument, client, points, limits, reason):
    agent.points = lambda _: points
    instrument.limits = limits
    report = client(instrument, agent.address, cycles=1)
    assert instrument.measured == ["s1-p0"]
    assert statuses(agent) == [("s1-p0", "ok"), ("s1-p1", "skipped")]
    assert reason in agent.got(ResultMessage)[1].reason
    assert (report.results_ok, report.results_skipped) == (1, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("error", "status"), [(InstrumentFaultError, "failed"), (LimitError, "skipped")])
def test_a_point_that_the_instrument_cannot_measure_is_reported_and_the_next_one_measured(
    agent, instrument, client, error, status
):
    def on_measure(request):
        if request.rank == 0:
            raise error("the tip is stuck")

    instrument.on_measure = on_measure
    client(instrument, agent.address, cycles=1)
    assert statuses(agent) == [("s1-p0", status), ("s1-p1", "ok")]
    assert agent.got(ResultMessage)[0].reason == "the tip is stuck"


def test_a_measurement_that_the_wire_cannot_carry_is_a_failed_one(agent, instrument, client):
    instrument.parameters = {"coercive_V": float("nan")}
    report = client(instrument, agent.address, cycles=1)
    assert report.results_failed == 2
    assert "cannot be sent" in agent.got(ResultMessage)[0].reason


def test_an_empty_recommendation_ends_the_cycle_with_its_reason(agent, instrument, client):
    agent.points = lambda _: []
    report = client(instrument, agent.address, cycles=2)
    assert (report.cycles, instrument.measured) == (2, [])
    assert client.reported("recommendation")[0]["reason"] == "nothing stands out in this scan"


def test_points_of_an_older_scan_are_not_measured(agent, instrument, client):
    def script(message):
        if not isinstance(message, ScanMessage):
            return None
        if message.scan_id == "s1":
            return [refuse(message)]
        return [agent.ack(message), agent.recommendation("s1"), agent.recommendation("s2")]

    agent.script = script
    client(instrument, agent.address, cycles=2)
    assert instrument.measured == ["s2-p0", "s2-p1"]
    assert statuses(agent)[:2] == [("s1-p0", "skipped"), ("s1-p1", "skipped")]
    assert agent.got(ResultMessage)[0].reason.startswith("a newer scan exists")


def test_an_agent_that_refuses_the_instrument_ends_the_client_before_anything_moves(agent, instrument, client):
    agent.script = first_time(Hello, lambda m: [refuse(m, "unknown_instrument", "it is not on the list")])
    with pytest.raises(ProtocolError, match="refused this instrument: it is not on the list") as caught:
        client(instrument, agent.address)
    assert caught.value.code == "unknown_instrument"
    assert (instrument.scans, instrument.closings) == (0, 1)


def test_an_invalid_message_is_refused_by_its_id_and_does_no_harm(agent, instrument, client):
    def script(message):
        return (
            [b'{"id": "x1", "version": 7}', b"\xff", *agent.default_answers(message)]
            if isinstance(message, ScanMessage)
            else None
        )

    agent.script = script
    assert client(instrument, agent.address, cycles=1).results_ok == 2
    assert [(r.of, r.code) for r in agent.got(Refused)] == [("x1", "unknown_version"), (None, "bad_json")]


def test_a_message_meant_for_the_agent_is_refused(agent, instrument, client):
    def script(message):
        return (
            [Bye(id="b1", sent_at=message.sent_at), *agent.default_answers(message)] if isinstance(message, ScanMessage) else None
        )

    agent.script = script
    client(instrument, agent.address, cycles=1)
    assert [(r.of, r.code) for r in agent.got(Refused)] == [("b1", "unexpected_type")]


def test_a_scan_fault_is_reported_and_the_scan_taken_again(agent, instrument, client):
    def on_scan():
        if instrument.scans == 1:
            raise InstrumentFaultError("no laser")

    instrument.on_scan = on_scan
    report = client(instrument, agent.address, cycles=1)
    assert (report.scans_failed, report.cycles) == (1, 1)
    assert "no laser" in client.reported("scan_failed")[0]["sentence"]
    (trouble,) = {t.id: t for t in agent.got(TroubleMessage)}.values()
    assert (trouble.event, trouble.sentence) == ("scan_failed", "no scan was recorded: no laser")


def test_three_scan_faults_in_a_row_end_the_client(agent, instrument, client):
    def on_scan():
        raise InstrumentFaultError("no laser")

    instrument.on_scan = on_scan
    with pytest.raises(InstrumentFaultError, match="no laser"):
        client(instrument, agent.address)
    assert (instrument.scans, instrument.closings) == (3, 1)
    assert len({t.id for t in agent.got(TroubleMessage)}) == 1, "a repeated fault is reported once"


def test_faults_reported_by_the_instrument_reach_the_agent(agent, instrument, client):
    kept = []
    instrument.tell_troubles = kept.append

    def on_scan():
        kept[0]("file_damaged", "half of a file")

    instrument.on_scan = on_scan
    client(instrument, agent.address, cycles=1)
    assert {(t.event, t.sentence) for t in agent.got(TroubleMessage)} == {("file_damaged", "half of a file")}
    assert client.reported("file_damaged")[0]["sentence"] == "half of a file"


def test_no_fault_report_of_an_instrument_ends_the_client(agent, instrument, client):
    kept = []
    instrument.tell_troubles = kept.append

    def on_scan():
        kept[0]("no blanks allowed", "a sentence")
        kept[0]("file_damaged", "")
        kept[0]("file_damaged", "caf\udce9.ibw is damaged")
        if instrument.scans == 1:
            raise InstrumentFaultError("caf\udce9.ibw cannot be read")

    instrument.on_scan = on_scan
    assert client(instrument, agent.address, cycles=1).cycles == 1
    assert {t.sentence for t in agent.got(TroubleMessage)} == {
        "caf?.ibw is damaged",
        "no scan was recorded: caf?.ibw cannot be read",
    }
    assert all("a fault report cannot be sent: " in event["sentence"] for event in client.reported("trouble_left_out"))


def test_a_reason_that_is_not_valid_text_is_still_sent(agent, instrument, client):
    def on_measure(_):
        raise InstrumentFaultError("caf\udce9.ibw cannot be read")

    instrument.on_measure = on_measure
    client(instrument, agent.address, cycles=1)
    assert {(r.status, r.reason) for r in agent.got(ResultMessage)} == {("failed", "caf?.ibw cannot be read")}


@pytest.mark.slow
def test_a_fault_report_that_was_not_acknowledged_is_sent_by_the_next_client(agent, instrument, client, tmp_path):
    agent.script = lambda message: [] if isinstance(message, TroubleMessage) else None

    def on_scan():
        raise InstrumentFaultError("no laser")

    instrument.on_scan = on_scan
    with pytest.raises(InstrumentFaultError, match="no laser"):
        client(instrument, agent.address, spool_dir=tmp_path)
    agent.script, instrument.on_scan = lambda _: None, lambda: None
    before = {t.id for t in agent.got(TroubleMessage)}
    assert client(instrument, agent.address, cycles=1, spool_dir=tmp_path).cycles == 1
    assert {t.id for t in agent.got(TroubleMessage)} == before


def test_a_scan_that_cannot_be_sent_says_why(agent, instrument, client):
    instrument.scan_name = lambda _: "no blanks allowed"
    with pytest.raises(ValueError, match="scan 'no blanks allowed' cannot be sent"):
        client(instrument, agent.address)


def test_a_scan_returned_twice_is_left_out(agent, instrument, client):
    instrument.scan_name = lambda n: f"s{max(1, n - 1)}"
    client(instrument, agent.address, cycles=2)
    assert [s.scan_id for s in agent.got(ScanMessage)] == ["s1", "s2"]
    assert len(client.reported("scan_repeated")) == 1


def test_a_scan_whose_name_the_agent_already_holds_does_not_block_the_next(agent, instrument, client):
    agent.script = first_time(ScanMessage, lambda m: [agent.ack(m, duplicate=True)])
    assert client(instrument, agent.address, cycles=2).cycles == 2
    assert "give each scan a name of its own" in client.reported("scan_known")[0]["sentence"]


def test_a_scan_repeated_because_its_acknowledgement_was_lost_is_the_same_scan(agent, instrument, client):
    agent.script = first_time(
        ScanMessage, lambda m: [agent.ack(m, duplicate=True, first_sent_at=m.sent_at), agent.recommendation(m.scan_id)]
    )
    assert client(instrument, agent.address, cycles=1).results_ok == 2
    assert client.reported("scan_known") == []


@pytest.mark.slow
def test_heartbeats_go_on_while_the_instrument_is_busy(agent, instrument, client):
    instrument.on_measure = lambda _: time.sleep(0.2)
    client(instrument, agent.address, cycles=1)
    times = [m.type for m in agent.received]
    between = times[times.index("scan") : len(times) - times[::-1].index("result")]
    assert between.count("heartbeat") >= 3


def test_an_invalid_address_is_refused_and_the_instrument_closed(instrument, client):
    with pytest.raises(ValueError, match=r"cannot connect to 'nowhere'.*tcp://host:5555"):
        client(instrument, "nowhere")
    assert instrument.closings == 1


@pytest.mark.attack("Ctrl-C twice at a client", promise="The client ends cleanly; only a third Ctrl-C ends it at once.")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_first_signal_sets_stop_the_second_says_what_is_waited_for_and_the_third_acts_as_before(name, caplog):
    number, earlier = getattr(signal, name), []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {s: signal.signal(s, lambda number, _: earlier.append(number)) for s in numbers}
    try:
        stop = threading.Event()
        stop_on_signals(stop)
        signal.raise_signal(number)
        assert stop.is_set()
        signal.raise_signal(number)
        while not caplog.records:
            time.sleep(0.001)
        assert "still stopping: the instrument's call in progress has to end" in caplog.text
        assert earlier == []
        signal.raise_signal(number)
        assert earlier == [number]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_client_started_with_nohup_outlives_its_terminal():
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop_on_signals(stop := threading.Event())
        signal.raise_signal(signal.SIGHUP)
        assert not stop.is_set()
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
