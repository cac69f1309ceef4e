"""Operator commands at the instrument: pause, resume, emergency stop."""

import threading
import time

import pytest

from instrument_adapters.errors import AdapterError, EmergencyStopError
from instrument_adapters.protocol.messages import (
    Ack,
    Bye,
    Refused,
    Resend,
    ResultMessage,
    ScanMessage,
    StatusMessage,
    TroubleMessage,
)
from tests.instrument_adapters.conftest import FAST, FakeInstrument, HaltingInstrument


def outcomes(agent):
    once = {r.id: (r.request_id, r.status) for r in agent.got(ResultMessage)}
    return list(once.values())


def reasons(agent):
    return {r.request_id: r.reason for r in agent.got(ResultMessage)}


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} s"
        time.sleep(0.005)


def activities(agent):
    return [m.activity for m in agent.got(StatusMessage)]


class Running:
    """A client in a thread of its own, so that the test can act as the agent meanwhile."""

    def __init__(self, client, instrument, agent, **options):
        self.report, self.error = None, None
        self._thread = threading.Thread(target=self._run, args=(client, instrument, agent.address, options))
        self._thread.start()

    def _run(self, client, instrument, address, options):
        try:
            self.report = client(instrument, address, **options)
        except AdapterError as error:
            self.error = error

    def join(self):
        self._thread.join(60)
        assert not self._thread.is_alive(), "the client did not end"
        return self.report


@pytest.mark.slow
def test_a_pause_lets_the_point_under_way_end_and_begins_nothing_until_resume(agent, halting, client):
    commands = []

    def on_measure(request):
        if request.rank == 0 and not commands:
            commands.append(agent.command("pause"))
            wait_for(lambda: agent.acks(commands[0].id))

    halting.on_measure = on_measure
    running = Running(client, halting, agent, cycles=1)
    wait_for(lambda: "paused" in activities(agent))
    assert (halting.measured, outcomes(agent)) == (["s1-p0"], [("s1-p0", "ok")])
    time.sleep(0.15)
    assert halting.measured == ["s1-p0"]
    agent.command("resume")
    assert running.join().results_ok == 2
    assert (halting.measured, halting.halts) == (["s1-p0", "s1-p1"], 0)
    (paused, *_) = [m for m in agent.got(StatusMessage) if m.activity == "paused"]
    assert paused.sentence == "paused by Ada: lunch"


def test_a_pause_before_the_scan_holds_it(agent, instrument, client):
    agent.command("pause", lost=True)
    running = Running(client, instrument, agent, cycles=1)
    wait_for(lambda: "paused" in activities(agent))
    assert instrument.scans == 0
    agent.command("resume")
    assert running.join().cycles == 1


@pytest.mark.slow
def test_a_stop_ends_the_point_under_way_at_once_and_skips_the_others(agent, halting, client):
    agent.points = lambda _: [(n * 1e-6, 1e-6) for n in range(4)]
    stopped_at = []

    def on_measure(request):
        if request.request_id == "s1-p1":
            stopped_at.append(agent.command("stop", "Ada", "it smokes"))
            halting.wait()

    halting.on_measure = on_measure
    running = Running(client, halting, agent, cycles=1)
    wait_for(lambda: stopped_at and agent.acks(stopped_at[0].id))
    wait_for(lambda: len(outcomes(agent)) == 4)
    assert outcomes(agent) == [("s1-p0", "ok"), ("s1-p1", "failed"), ("s1-p2", "skipped"), ("s1-p3", "skipped")]
    assert reasons(agent)["s1-p1"] == "emergency stop by Ada: it smokes; halted"
    assert reasons(agent)["s1-p3"] == "emergency stop by Ada: it smokes"
    wait_for(lambda: activities(agent)[-1] == "stopped")
    assert (halting.scans, halting.halts, halting.releases) == (1, 1, 0)
    agent.command("resume")
    assert running.join().cycles == 1, "the cycle that was stopped does not count"
    assert halting.measured[2:] == [f"s2-p{n}" for n in range(4)], "it continues with a new scan"
    assert halting.releases == 1


def test_a_scan_aborted_by_a_stop_does_not_count_as_a_fault_of_the_instrument(agent, halting, client):
    def on_scan():
        if halting.scans <= 3:
            agent.command("stop")
            halting.wait()

    halting.on_scan = on_scan
    running = Running(client, halting, agent, cycles=1)
    for number in range(1, 4):
        wait_for(lambda: len(client.reported("scan_abandoned")) == number)  # noqa: B023 - called at once
        wait_for(lambda: len([c for c in agent.got(Ack) if c.of.startswith("command")]) == 2 * number - 1)  # noqa: B023
        agent.command("resume")
    report = running.join()
    assert (report.scans_failed, report.scans_sent, report.cycles) == (0, 1, 1)
    assert [s.scan_id for s in agent.got(ScanMessage)] == ["s4"]


def test_a_scan_that_ends_after_a_stop_is_not_sent(agent, halting, client):
    def on_scan():
        if halting.scans == 1:
            command = agent.command("stop")
            wait_for(lambda: agent.acks(command.id))

    halting.on_scan = on_scan
    running = Running(client, halting, agent, cycles=1)
    wait_for(lambda: client.reported("scan_abandoned"))
    agent.command("resume")
    running.join()
    assert [s.scan_id for s in agent.got(ScanMessage)] == ["s2"]


@pytest.mark.slow
def test_after_a_stop_before_the_recommendation_resume_begins_with_a_new_scan(agent, halting, client):
    agent.script = lambda m: [agent.ack(m)] if isinstance(m, ScanMessage) and m.scan_id == "s1" else None
    running = Running(client, halting, agent, cycles=1)
    wait_for(lambda: client.reported("acknowledged"))
    agent.command("stop")
    wait_for(lambda: "stopped" in activities(agent))
    late = agent.recommendation("s1")
    agent.send(late)
    wait_for(lambda: outcomes(agent) == [("s1-p0", "skipped"), ("s1-p1", "skipped")])
    assert "emergency stop by Ada" in reasons(agent)["s1-p0"]
    agent.command("resume")
    running.join()
    assert halting.measured == ["s2-p0", "s2-p1"]


def test_a_stop_is_acknowledged_within_a_second_though_the_call_hangs(agent, halting, client):
    release, sent = threading.Event(), []

    def on_measure(request):
        if request.request_id == "s1-p0":
            sent.append(agent.command("stop"))
            assert release.wait(60)

    halting.on_measure = on_measure
    running = Running(client, halting, agent, cycles=1)
    wait_for(lambda: sent and agent.acks(sent[0].id))
    assert not release.is_set(), "it was acknowledged while the call hung"
    resume = agent.command("resume")
    time.sleep(0.1)
    assert not agent.acks(resume.id), "the instrument was released during the call"
    assert halting.halted.is_set()
    release.set()
    running.join()
    assert dict(outcomes(agent)) == {"s1-p0": "ok", "s1-p1": "skipped", "s2-p0": "ok", "s2-p1": "ok"}


@pytest.mark.slow
def test_a_stop_is_acknowledged_within_a_second_though_halting_hangs(agent, halting, client):
    finish = threading.Event()
    halting.on_halt = lambda: finish.wait(60)
    halting.on_measure = lambda r: halting.wait() if r.request_id == "s1-p0" else None
    running = Running(client, halting, agent, cycles=1)
    wait_for(lambda: halting.measured)
    stop = agent.command("stop")
    wait_for(lambda: agent.acks(stop.id))
    assert not finish.is_set(), "it was acknowledged while halting hung"
    finish.set()
    wait_for(lambda: len(outcomes(agent)) == 2)
    agent.command("resume")
    running.join()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cannot be halted", "fails to halt", "does not end"])
def test_an_instrument_that_cannot_be_halted_is_closed_and_the_client_ends(agent, client, how, tmp_path):
    halts = how != "cannot be halted"
    afm = HaltingInstrument() if halts else FakeInstrument()

    def on_measure(request):
        agent.command("stop", "Ada", "it smokes")
        assert afm.closed.wait(5)
        raise AdapterError("closed")

    def on_halt():
        raise OSError("no answer from the controller")

    afm.on_measure = on_measure
    if how == "fails to halt":
        afm.on_halt = on_halt
    timings = FAST.__class__(**{**FAST.__dict__, "halt_max_s": 0.2})
    running = Running(client, afm, agent, spool_dir=tmp_path, timings=timings)
    running.join()
    assert isinstance(running.error, EmergencyStopError)
    reason = {
        "cannot be halted": "cannot be halted",
        "fails to halt": "no answer from",
        "does not end": "call did not end within 0.2 s",
    }
    assert f"emergency stop by Ada: it smokes. The instrument was closed because {'' if halts else 'this'}" in str(running.error)
    assert reason[how] in str(running.error)
    assert (outcomes(agent), afm.closings) == ([("s1-p0", "failed"), ("s1-p1", "skipped")], 1)
    assert agent.wait_for(Bye)[0].reason == str(running.error)[:2000]
    again = FakeInstrument(first_scan=2)
    running = Running(client, again, agent, spool_dir=tmp_path, cycles=1)
    wait_for(lambda: activities(agent)[-1] == "stopped" and len(client.reported("welcome")) == 2)
    assert again.scans == 0
    agent.command("resume")
    assert running.join().results_ok == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pause", "stop"])
@pytest.mark.parametrize("spooled", [True, False])
def test_a_pause_or_a_stop_outlives_the_client(agent, halting, client, tmp_path, name, spooled):
    options = {"spool_dir": tmp_path} if spooled else {}
    commands = []

    def on_measure(request):
        commands.append(agent.command(name))
        if name == "stop":
            halting.wait()

    halting.on_measure = on_measure
    running = Running(client, halting, agent, **options)
    wait_for(lambda: commands and agent.acks(commands[0].id))
    client.stop.set()
    running.join()
    agent.wait_for(Bye)  # after it nothing of this client arrives
    agent.received.clear()
    again = HaltingInstrument(first_scan=100)
    running = Running(client, again, agent, cycles=1, **options)
    wait_for(lambda: {"pause": "paused", "stop": "stopped"}[name] in activities(agent))
    assert (again.scans, again.measured) == (0, [])
    agent.command("resume")
    running.join()
    assert again.measured == ["s100-p0", "s100-p1"], "the points left were reported as skipped when the client ended"


def test_a_stop_outlives_the_client_even_in_a_new_run_of_the_agent(agent, halting, client, new_agent, tmp_path):
    running = Running(client, halting, agent, spool_dir=tmp_path)
    wait_for(lambda: halting.measured)
    command = agent.command("stop")
    wait_for(lambda: agent.acks(command.id))
    client.stop.set()
    running.join()
    agent.close()
    other = new_agent(agent.address, "run-2")
    again = HaltingInstrument(first_scan=100)
    running = Running(client, again, other, spool_dir=tmp_path, cycles=1)
    wait_for(lambda: "stopped" in activities(other))
    assert again.scans == 0
    report = other.wait_for(TroubleMessage)[0]
    assert (report.event, report.sentence) == ("still_stopped", "emergency stop by Ada: lunch (command 2 of run-1)")
    wait_for(lambda: other.got(Resend))  # it knows that the report was recorded
    other.command("resume")
    running.join()
    assert again.measured == ["s100-p0", "s100-p1"]


@pytest.mark.attack(
    "an agent comes back on another run and resumes an instrument before it has heard of its emergency stop",
    promise="An emergency stop holds the instrument until an operator lifts it knowing of it, whichever agent speaks.",
)
def test_a_resume_of_an_agent_that_has_not_recorded_the_stop_is_neither_obeyed_nor_acknowledged(
    agent, halting, client, new_agent, tmp_path
):
    running = Running(client, halting, agent, spool_dir=tmp_path)
    wait_for(lambda: halting.measured)
    command = agent.command("stop")
    wait_for(lambda: agent.acks(command.id))
    client.stop.set()
    running.join()
    agent.close()
    other = new_agent(agent.address, "run-2")
    other.script = lambda message: [] if isinstance(message, TroubleMessage) else None
    again = HaltingInstrument(first_scan=100)
    running = Running(client, again, other, spool_dir=tmp_path)
    wait_for(lambda: len(other.got(TroubleMessage)) > 1)  # repeated until it is answered
    resume = other.command("resume")
    other.send_heartbeat()
    wait_for(lambda: other.got(Resend))
    for _ in range(3):  # whatever it says
        other.send(resume)
        other.send_heartbeat()
    count = len(other.got(TroubleMessage))
    wait_for(lambda: len(other.got(TroubleMessage)) > count + 1)
    assert (again.scans, other.acks(resume.id)) == (0, [])
    client.stop.set()
    running.join()


def test_a_repeated_command_is_acknowledged_as_a_duplicate_and_not_obeyed_again(agent, halting, client):
    halting.on_measure = lambda r: time.sleep(0.02)
    running = Running(client, halting, agent)
    wait_for(lambda: halting.measured)
    pause = agent.command("pause")
    resume = agent.command("resume")
    wait_for(lambda: agent.acks(resume.id))
    agent.send(pause)
    wait_for(lambda: len(agent.acks(pause.id)) == 2)
    assert [a.duplicate for a in agent.acks(pause.id)] == [False, True]
    scans = halting.scans
    wait_for(lambda: halting.scans > scans + 1)
    client.stop.set()
    running.join()


@pytest.mark.slow
def test_a_lost_pause_is_noticed_by_the_next_heartbeat(agent, instrument, client):
    instrument.on_measure = lambda r: time.sleep(0.02)
    running = Running(client, instrument, agent)
    wait_for(lambda: instrument.measured)
    agent.command("pause", lost=True)
    agent.send_heartbeat()
    wait_for(lambda: "paused" in activities(agent))
    count = len(instrument.measured)
    time.sleep(0.1)
    assert len(instrument.measured) == count
    client.stop.set()
    running.join()


def test_status_messages_follow_the_activity_and_end_when_the_agent_refuses_them(agent, instrument, client):
    timings = FAST.__class__(**{**FAST.__dict__, "status_s": 0.0})
    instrument.on_scan = lambda: time.sleep(0.02)
    instrument.on_measure = lambda _: time.sleep(0.02)
    client(instrument, agent.address, cycles=1, timings=timings)
    sent = [(m.activity, m.scan_id, m.request_id, m.points_left) for m in agent.got(StatusMessage)]
    for expected in (
        ("scanning", None, None, 0),
        ("measuring", "s1", "s1-p0", 2),
        ("measuring", "s1", "s1-p1", 1),
        ("waiting", "s1", None, 0),
    ):
        assert expected in sent

    agent.received.clear()
    agent.script = lambda m: (
        [Refused(id="r", sent_at=m.sent_at, of=m.id, code="not_for_agent", reason="no")] if isinstance(m, StatusMessage) else None
    )
    client(FakeInstrument(first_scan=7), agent.address, cycles=2, timings=timings)
    assert len(agent.got(StatusMessage)) <= 3
    assert client.reported("status_unwanted")
