"""Lost messages are requested again, in both directions."""

import time

import pytest

from instrument_adapters.protocol.messages import Ack, Heartbeat, Resend, ResultMessage, ScanMessage
from tests.instrument_adapters.client.test_operator_commands import Running, wait_for
from tests.instrument_adapters.conftest import NOW


def test_a_heartbeat_that_shows_a_gap_makes_the_client_ask_for_the_open_messages(agent, instrument, client):
    def script(message):
        if isinstance(message, ScanMessage):
            agent.recommendation(message.scan_id)  # takes a sequence number and is lost
            return [agent.ack(message)]
        if isinstance(message, Resend):
            return [*agent.default_answers(message), agent.recommendation("s1")]
        return None

    agent.script = script
    running = Running(client, instrument, agent, cycles=1)
    wait_for(lambda: client.reported("acknowledged"))
    agent.send_heartbeat()
    assert running.join().results_ok == 2
    (resend,) = agent.got(Resend)
    assert resend.after == 0


def test_a_recommendation_with_something_missing_before_it_waits_until_that_is_known(agent, instrument, client):
    agent.command("pause", lost=True)
    agent.state = "running"  # the welcome was sent before the pause
    agent.seq = 0
    answers = []

    def script(message):
        if isinstance(message, ScanMessage):
            agent.seq, agent.state = 1, "paused"
            return [agent.ack(message), agent.recommendation(message.scan_id)]
        if isinstance(message, Resend):
            answers.append(list(agent.acks("recommendation-s1")))
            return [*agent.default_answers(message), agent.recommendation("s1")]
        return None

    agent.script = script
    running = Running(client, instrument, agent, cycles=1)
    wait_for(lambda: agent.acks("recommendation-s1"))
    assert answers == [[]], "acknowledged before the missing message was known"
    time.sleep(0.1)
    assert instrument.measured == [], "it was a pause"
    agent.command("resume")
    assert running.join().results_ok == 2


def test_a_stop_is_obeyed_though_something_before_it_is_missing(agent, halting, client):
    halting.on_measure = halting.wait
    running = Running(client, halting, agent)
    wait_for(lambda: halting.measured)
    agent.command("pause", lost=True)
    agent.script = lambda m: [] if isinstance(m, Resend) else None
    stop = agent.command("stop")
    wait_for(lambda: agent.acks(stop.id))
    assert halting.halts == 1
    assert agent.wait_for(Resend)[0].after == 1
    client.stop.set()
    running.join()


@pytest.mark.slow
def test_the_client_does_not_ask_more_often_than_it_repeats_anything(agent, instrument, client):
    agent.script = lambda m: [agent.ack(m)] if isinstance(m, ScanMessage) else [] if isinstance(m, Resend) else None
    running = Running(client, instrument, agent)
    wait_for(lambda: client.reported("acknowledged"))
    agent.command("pause", lost=True)
    begun = time.monotonic()
    while time.monotonic() < begun + 0.35:
        agent.send_heartbeat()
        time.sleep(0.01)
    client.stop.set()
    running.join()
    assert 2 <= len(agent.got(Resend)) <= 5


def test_a_resend_of_the_agent_brings_all_unanswered_messages_at_once_and_their_number(agent, instrument, client):
    timings = client.__call__.__kwdefaults__["timings"]
    slow = timings.__class__(**{**timings.__dict__, "repeat_s": 60.0, "repeat_max_s": 60.0})
    agent.script = lambda m: [] if isinstance(m, ResultMessage) else None
    running = Running(client, instrument, agent, cycles=1, timings=slow)
    wait_for(lambda: len(agent.got(ResultMessage)) == 2)
    wait_for(lambda: any(b.unanswered == 2 for b in agent.got(Heartbeat)))
    agent.script = lambda _: None
    agent.send(Resend(id="resend-1", sent_at=NOW))
    assert running.join().cycles == 1
    assert [r.request_id for r in agent.got(ResultMessage)] == ["s1-p0", "s1-p1"] * 2


def test_a_newer_recommendation_replaces_what_is_left_of_an_older_one(agent, instrument, client):
    def on_measure(request):
        if request.request_id == "s1-p0":
            newer = agent.recommendation("s1").model_copy(update={"id": "newer", "seq": 2, "requests": ()})
            agent.seq = 2
            agent.send(newer)
            wait_for(lambda: agent.acks("newer"))

    instrument.on_measure = on_measure
    client(instrument, agent.address, cycles=1)
    results = {r.request_id: (r.status, r.reason) for r in agent.got(ResultMessage)}
    assert results["s1-p0"][0] == "ok"
    assert results["s1-p1"] == ("skipped", "recommendation 1 was superseded by recommendation 2; the point was not measured")


def test_a_scan_that_the_agent_lost_from_its_run_is_sent_again(agent, instrument, client, new_agent):
    agent.script = lambda m: [agent.ack(m)] if isinstance(m, ScanMessage) else None
    running = Running(client, instrument, agent, cycles=1)
    wait_for(lambda: client.reported("acknowledged"))
    agent.close()
    restored = new_agent(agent.address, "run-1")
    restored.newest_scan_id = "s0"
    running.join()
    assert [s.scan_id for s in restored.got(ScanMessage)] == ["s1"]
    assert len([a for a in restored.got(Ack) if a.of == "recommendation-s1"]) == 1
