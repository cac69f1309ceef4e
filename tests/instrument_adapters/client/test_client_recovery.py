"""The client when the agent disconnects, when it is stopped, and when it is killed and started again."""

import os
import threading
import time

import pytest
import zmq

from instrument_adapters.client import ClientTimings
from instrument_adapters.client.connection import HELLO_FIRST
from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.protocol.messages import Ack, Bye, Hello, Refused, ResultMessage, ScanMessage
from instrument_adapters.spool.journal import SpoolError


class KilledError(BaseException):
    """Ends a client as a power cut would: the point was begun and nothing more was written."""


def statuses(agent):
    return [(r.request_id, r.status) for r in agent.got(ResultMessage)]


def silent_on(kind):
    return lambda message: [] if isinstance(message, kind) else None


def free_address():
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        return f"tcp://127.0.0.1:{socket.bind_to_random_port('tcp://127.0.0.1')}"


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 60 s"
        time.sleep(0.01)


# -- the agent is not connected


@pytest.mark.slow
def test_an_agent_that_appears_later_is_found(instrument, client, new_agent):
    address = free_address()
    later = threading.Timer(0.2, new_agent, (address, "run-1"))
    later.start()
    report = client(instrument, address, cycles=1)
    later.join()
    assert report.results_ok == 2


def test_a_client_without_an_agent_says_so_and_moves_nothing(instrument, client):
    timings = ClientTimings(repeat_s=0.1, silence_s=0.1)
    client(instrument, free_address(), stop_at="agent_silent", timings=timings)
    assert "start it, or correct the address" in client.reported("agent_silent")[0]["sentence"]
    assert instrument.scans == 0


@pytest.mark.slow
def test_an_agent_that_accepts_the_connection_but_stays_silent_is_reported(agent, instrument, client):
    agent.script = silent_on(Hello)
    client(instrument, agent.address, stop_at="agent_silent")
    assert "check that no other client uses this instrument's name" in client.reported("agent_silent")[0]["sentence"]
    assert len({h.id for h in agent.got(Hello)}) == 1
    assert len(agent.got(Hello)) > 1


@pytest.mark.slow
def test_a_silent_agent_gets_a_new_hello_and_nothing_is_lost(agent, instrument, client):

    def script(message):
        silent = agent.got(ScanMessage) and len({h.id for h in agent.got(Hello)}) == 1
        return [] if silent else None

    agent.script = script
    assert client(instrument, agent.address, cycles=1).results_ok == 2
    assert len({h.id for h in agent.got(Hello)}) == 2
    assert len(client.reported("agent_silent")) == 1


def test_an_agent_that_forgot_the_instrument_gets_a_new_hello_and_the_scan_again(agent, instrument, client):
    def script(message):
        if isinstance(message, ScanMessage) and len(agent.got(ScanMessage)) == 1:
            return [Refused(id="r1", sent_at=message.sent_at, of=message.id, code=HELLO_FIRST, reason="who are you?")]
        return None

    agent.script = script
    assert client(instrument, agent.address, cycles=1).results_ok == 2
    assert [m.type for m in agent.received if isinstance(m, Hello | ScanMessage)] == ["hello", "scan", "hello", "scan"]


def test_a_scan_that_waits_is_sent_again_to_an_agent_that_restarted_in_a_new_run(agent, instrument, client, new_agent):
    agent.script = lambda m: [agent.ack(m)] if isinstance(m, ScanMessage) else None  # but no recommendation
    reports = []
    thread = threading.Thread(target=lambda: reports.append(client(instrument, agent.address, cycles=1)))
    thread.start()
    wait_for(lambda: client.reported("acknowledged"))
    agent.close()
    restarted = new_agent(agent.address, "run-2")
    thread.join()
    assert [s.id for s in restarted.got(ScanMessage)] == ["scan-s1"]
    assert (reports[0].cycles, reports[0].results_ok, instrument.scans) == (1, 2, 1)
    assert [w["run_id"] for w in client.reported("welcome")] == ["run-1", "run-2"]


def test_an_acknowledged_scan_is_not_sent_again_within_one_run(agent, instrument, client, new_agent):
    agent.script = lambda m: [agent.ack(m)] if isinstance(m, ScanMessage) else None
    thread = threading.Thread(target=client, args=(instrument, agent.address), kwargs={"cycles": 1})
    thread.start()
    wait_for(lambda: client.reported("acknowledged"))
    agent.close()
    restarted = new_agent(agent.address, "run-1")
    wait_for(lambda: len(client.reported("welcome")) == 2)
    restarted.send(restarted.recommendation("s1"))
    thread.join()
    assert restarted.got(ScanMessage) == []
    assert instrument.measured == ["s1-p0", "s1-p1"]


# -- the client is stopped


@pytest.mark.parametrize("event", ["welcome", "acknowledged", "scan_started"])
def test_a_stop_while_waiting_is_prompt_and_says_bye(agent, instrument, client, event):
    agent.script = lambda m: [agent.ack(m)] if isinstance(m, ScanMessage) else None
    client(instrument, agent.address, stop_at=event)  # otherwise it would wait for ever
    assert [b.reason for b in agent.wait_for(Bye)] == ["stopped"]
    assert instrument.closings == 1


def test_a_stop_closes_the_instrument_so_that_the_call_under_way_may_end(agent, instrument, client):
    def on_measure(_):
        client.stop.set()
        assert instrument.closed.wait(5), "the instrument was not closed while it measured"
        raise InstrumentFaultError("closed while measuring")

    instrument.on_measure = on_measure
    report = client(instrument, agent.address)
    assert [(r.status, r.reason) for r in agent.wait_for(ResultMessage)] == [("failed", "closed while measuring")]
    assert (report.cycles, instrument.closings) == (0, 1)


def test_a_stop_before_the_tip_moves_leaves_the_point_unmeasured(agent, instrument, client):
    client(instrument, agent.address, stop_at="measuring")
    assert agent.wait_for(Bye)
    assert (instrument.measured, agent.got(ResultMessage)) == ([], [])


def test_a_point_under_way_at_the_stop_is_still_reported(agent, instrument, client):
    def on_measure(_):
        client.stop.set()
        assert instrument.closed.wait(5), "the instrument was not closed while it measured"

    instrument.on_measure = on_measure
    report = client(instrument, agent.address)
    assert [r.status for r in agent.wait_for(ResultMessage)] == ["ok"]
    assert report.results_ok == 1
    assert agent.wait_for(Bye)
    assert isinstance(agent.received[-1], Bye)


def test_a_stop_that_comes_before_the_start_moves_nothing(instrument, client):
    client.stop.set()
    assert client(instrument, free_address(), stopped=True).cycles == 0
    assert (instrument.scans, instrument.closings) == (0, 1)


# -- the client is killed and started again


def test_a_result_that_was_not_acknowledged_is_sent_again_by_the_next_client(agent, instrument, client, new_instrument, tmp_path):
    agent.points = lambda _: [(1e-6, 1e-6)]
    agent.script = silent_on(ResultMessage)
    client(instrument, agent.address, stop_at="result", spool_dir=tmp_path)
    agent.script = lambda _: None
    first = next(f for m, f in zip(agent.received, agent.frames, strict=True) if isinstance(m, ResultMessage))
    agent.received.clear()
    agent.frames.clear()
    again = new_instrument(first_scan=2)
    client(again, agent.address, cycles=1, spool_dir=tmp_path)
    assert agent.frames[[m.id for m in agent.received].index("result-s1-p0")] == first
    assert again.measured == ["s2-p0"]
    assert list(tmp_path.glob("*.raw")) == []


def test_a_point_that_was_begun_is_reported_interrupted_and_the_rest_measured(
    agent, instrument, client, new_instrument, tmp_path
):
    def on_measure(_):
        raise KilledError

    instrument.on_measure = on_measure
    with pytest.raises(KilledError):
        client(instrument, agent.address, spool_dir=tmp_path)
    again = new_instrument(first_scan=2)
    report = client(again, agent.address, cycles=1, spool_dir=tmp_path)
    assert statuses(agent) == [("s1-p0", "failed"), ("s1-p1", "ok")]
    assert agent.got(ResultMessage)[0].reason.startswith("interrupted")
    assert (again.measured, again.scans) == (["s1-p1"], 0)
    assert (report.cycles, report.results_failed, report.results_ok) == (1, 1, 1)


def test_a_point_that_has_its_result_keeps_it_when_a_later_one_is_interrupted(
    agent, instrument, client, new_instrument, tmp_path
):
    def on_measure(request):
        if request.rank == 1:
            raise KilledError

    instrument.on_measure = on_measure
    with pytest.raises(KilledError):
        client(instrument, agent.address, spool_dir=tmp_path)
    again = new_instrument(first_scan=2)
    client(again, agent.address, cycles=1, spool_dir=tmp_path)
    assert dict(statuses(agent)) == {"s1-p0": "ok", "s1-p1": "failed"}
    assert len({r.sent_at for r in agent.got(ResultMessage) if r.request_id == "s1-p0"}) == 1
    assert again.measured == []


def test_a_recommendation_that_arrives_again_after_a_restart_is_not_measured_again(
    agent, instrument, client, new_instrument, tmp_path
):
    client(instrument, agent.address, cycles=1, spool_dir=tmp_path)
    agent.script = lambda m: [*agent.default_answers(m), agent.recommendation("s1")] if isinstance(m, Hello) else None
    again = new_instrument(first_scan=2)
    client(again, agent.address, cycles=1, spool_dir=tmp_path)
    assert again.measured == ["s2-p0", "s2-p1"]
    assert [a.duplicate for a in agent.got(Ack) if a.of == "recommendation-s1"] == [False, True]


def test_a_scan_that_was_not_recommended_on_is_waited_for_after_a_restart(agent, instrument, client, new_instrument, tmp_path):
    agent.script = silent_on(ScanMessage)
    client(instrument, agent.address, stop_at="scan_recorded", spool_dir=tmp_path)
    agent.script = lambda _: None
    again = new_instrument(first_scan=2)
    assert client(again, agent.address, cycles=1, spool_dir=tmp_path).cycles == 1
    assert (again.scans, again.measured) == (0, ["s1-p0", "s1-p1"])


def test_a_client_that_was_down_for_long_measures_nothing_from_before(agent, instrument, client, new_instrument, tmp_path):
    client(instrument, agent.address, stop_at="recommendation", spool_dir=tmp_path)
    hours_ago = time.time() - 3 * 3600
    os.utime(tmp_path / "journal.jsonl", (hours_ago, hours_ago))
    again = new_instrument(first_scan=2)
    client(again, agent.address, cycles=1, spool_dir=tmp_path)
    assert statuses(agent)[:2] == [("s1-p0", "skipped"), ("s1-p1", "skipped")]
    assert "begins with a new scan" in agent.got(ResultMessage)[0].reason
    assert again.measured == ["s2-p0", "s2-p1"]


def test_two_clients_cannot_share_a_spool(agent, instrument, client, new_instrument, tmp_path):
    other = new_instrument()

    def on_measure(_):
        with pytest.raises(SpoolError, match="another client uses the spool"):
            client.__class__()(other, agent.address, spool_dir=tmp_path)

    instrument.on_measure = on_measure
    agent.points = lambda _: [(1e-6, 1e-6)]
    client(instrument, agent.address, cycles=1, spool_dir=tmp_path)
    assert (other.scans, other.closings) == (0, 1)
