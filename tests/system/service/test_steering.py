"""Operator commands to a running agent over real sockets; the search blocks or is replaced by a prepared decision."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.config.model import Config
from agent.errors import ControlError, HistoryError, SearchCancelledError
from agent.history.event_log import Event, History
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from agent.service import sender as sending
from agent.service.service import Service, ServiceError
from instrument_adapters.protocol import messages as wire
from tests.support.samples import NOW, ack, decision, hello, packet, result, sample_scan, scan_message
from tests.system.bench import Bench, config, deciding, events, instrument, recorded, serving

SOON_S = 30.0  # the searches of these tests would never end; benchmarks.service measures the second that is promised


def review(**approval: object) -> Config:
    raw = config().model_dump() | {"approval": {"mode": "review"} | approval}
    return Config.model_validate(raw)


async def welcomed(bench: Bench, name: str = "afm-1") -> wire.Welcome:
    return await bench.ask(hello(name), wire.Welcome)


def with_instrument(run: Path, scenario: Callable[[Service, Bench], Awaitable[None]], settings: Config | None = None) -> None:
    """Run a scenario with one welcomed instrument."""

    async def whole() -> None:
        async with serving(run, settings) as (service, state):
            with instrument(state["bind"]) as bench:
                await welcomed(bench)
                await scenario(service, bench)

    asyncio.run(whole())


def endless(searching: threading.Event) -> Callable[..., Decision]:
    def decide(scan: object, cancelled: Callable[[], bool]) -> Decision:
        searching.set()
        while not cancelled():
            time.sleep(0.002)
        raise SearchCancelledError("the search was cancelled")

    return decide


def test_a_pause_reaches_the_instrument_within_a_second_while_a_search_blocks_and_holds_back_what_comes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching, finish = threading.Event(), threading.Event()

    def decide(scan: object, cancelled: object) -> Decision:
        searching.set()
        finish.wait(120)
        return decision(scan.scan_id)

    async def scenario(service: Service, bench: Bench) -> None:
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        await asyncio.to_thread(searching.wait)
        before = time.monotonic()
        await service.control.pause("Ada", "lunch")
        command = await bench.hear(wire.CommandMessage)
        assert time.monotonic() - before < SOON_S
        assert (command.command, command.by, command.reason, command.seq) == ("pause", "Ada", "lunch", 1)
        await bench.say(ack(command.id))
        await recorded(tmp_path, kinds.COMMAND_ACKNOWLEDGED)
        finish.set()
        await recorded(tmp_path, kinds.DECISION_MADE)
        await service.tick()
        assert (await bench.hear(wire.Heartbeat)).seq == 1
        assert not any(isinstance(m, wire.RecommendationMessage) for m in bench.heard)
        await service.control.resume("Ada", "")
        assert (await bench.hear(wire.CommandMessage)).command == "resume"
        recommendation = await bench.hear(wire.RecommendationMessage)
        assert (recommendation.seq, len(recommendation.requests)) == (3, 2)

    deciding(monkeypatch, decide)
    with_instrument(tmp_path, scenario)


def test_an_emergency_stop_cancels_the_search_and_afterwards_the_instrument_begins_with_a_new_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching, ended = threading.Event(), threading.Event()

    def decide(scan: object, cancelled: Callable[[], bool]) -> Decision:
        if scan.scan_id == "scan-2":
            return decision(scan.scan_id)
        try:
            return endless(searching)(scan, cancelled)
        finally:
            ended.set()

    async def scenario(service: Service, bench: Bench) -> None:
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        await asyncio.to_thread(searching.wait)
        before = time.monotonic()
        await service.control.emergency_stop("Ada", "smoke", "afm-1")
        assert (await bench.hear(wire.CommandMessage)).command == "stop"
        assert await asyncio.to_thread(ended.wait, SOON_S)
        assert time.monotonic() - before < SOON_S
        await service.control.resume("Bo", "aired")
        nothing = await bench.hear(wire.RecommendationMessage)
        assert (nothing.scan_id, nothing.requests) == ("scan-1", ())
        assert nothing.reason == "Nothing is measured: the instrument was stopped in an emergency by Ada: smoke."
        await bench.say(ack(nothing.id))
        await bench.ask(scan_message(sample_scan("scan-2")), wire.Ack)
        assert len((await bench.hear(wire.RecommendationMessage)).requests) == 2

    deciding(monkeypatch, decide)
    with_instrument(tmp_path, scenario)


def test_a_restarted_agent_keeps_an_instrument_stopped_and_says_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = deciding(monkeypatch)

    async def before(service: Service, bench: Bench) -> None:
        await service.control.emergency_stop("Ada", "smoke")
        await bench.hear(wire.CommandMessage)
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        assert service.status()["recovered"] == {}

    async def after(service: Service, bench: Bench) -> None:
        command = await bench.hear(wire.CommandMessage)  # it is not acknowledged yet
        assert (command.command, command.seq) == ("stop", 1)
        found = service.status()["recovered"]
        assert (found["scans"], found["decisions"], found["states"]) == (1, 0, {"afm-1": "stopped"})
        assert [e.body for e in events(tmp_path, kinds.RUN_RECOVERED)] == [found]
        await service.control.resume("Ada", "")
        assert (await bench.hear(wire.RecommendationMessage)).requests == ()

    with_instrument(tmp_path, before)
    with_instrument(tmp_path, after)
    assert calls == []  # no search while the instrument is stopped, nor on scans that were received meanwhile


def test_an_operator_approves_after_a_restart_what_was_submitted_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)

    async def before(service: Service, bench: Bench) -> None:
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        await recorded(tmp_path, kinds.APPROVAL_ASKED)
        await service.tick()
        await bench.hear(wire.Heartbeat)
        assert not any(isinstance(m, wire.RecommendationMessage) for m in bench.heard)

    async def after(service: Service, bench: Bench) -> None:
        (waiting,) = service.control.pending()
        assert service.status()["instruments"]["afm-1"]["waiting_approval"] == waiting["decision_id"] == "d-scan-1"
        for given in ({"by": "", "reason": ""}, {"by": "policy", "reason": ""}, {"by": "A" * 65, "reason": ""}):
            with pytest.raises(ControlError):
                await service.control.approve("d-scan-1", **given)
        await service.control.approve("d-scan-1", "Ada", "fine", drop=["d-scan-1-000"])
        recommendation = await bench.hear(wire.RecommendationMessage)
        assert ([r.request_id for r in recommendation.requests], recommendation.approved_by) == (["d-scan-1-001"], "Ada")
        with pytest.raises(ControlError, match="it was approved by Ada"):
            await service.control.reject("d-scan-1", "Bo", "no")

    with_instrument(tmp_path, before, review())
    with_instrument(tmp_path, after, review())


def test_after_a_rejection_the_instrument_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)

    async def scenario(service: Service, bench: Bench) -> None:
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        await recorded(tmp_path, kinds.APPROVAL_ASKED)
        await service.control.reject("d-scan-1", "Ada", "a scratch")
        assert (await bench.hear(wire.RecommendationMessage)).reason == "Nothing is measured: rejected by Ada (a scratch)."

    with_instrument(tmp_path, scenario, review())


def test_commands_are_repeated_and_open_messages_are_resent_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    monkeypatch.setattr(sending, "RESEND_S", 0.0)

    async def scenario(service: Service, bench: Bench) -> None:
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        first = await bench.hear(wire.RecommendationMessage)
        snapshot = (await bench.ask(packet(wire.Resend(id="again", sent_at=NOW)), wire.SnapshotMessage)).snapshot
        assert (snapshot.seq, snapshot.open_decision_id, snapshot.state) == (1, first.decision_id, "running")
        assert (await bench.hear(wire.RecommendationMessage)).id == first.id
        await service.control.pause("Ada", "")
        commands = [await bench.hear(wire.CommandMessage)]
        await service.tick()
        commands.append(await bench.hear(wire.CommandMessage))
        assert commands[0].id == commands[1].id
        assert commands[0].seq == 2

    with_instrument(tmp_path, scenario)


def test_an_instrument_that_misses_answers_is_asked_to_resend(tmp_path: Path) -> None:
    async def scenario(service: Service, bench: Bench) -> None:
        for i in range(3):
            await bench.say(packet(wire.Heartbeat(id=f"b-{i}", sent_at=NOW, unanswered=2)))
        await bench.ask(packet(wire.Resend(id="sync", sent_at=NOW)), wire.SnapshotMessage)
        for i in range(3):
            await bench.say(packet(wire.Heartbeat(id=f"c-{i}", sent_at=NOW, unanswered=2)))
        await bench.ask([b""], wire.Refused)
        await service.tick()
        await bench.hear(wire.Resend)

    with_instrument(tmp_path, scenario)


def test_an_instrument_that_goes_silent_is_recorded_once_and_again_when_it_is_back(tmp_path: Path) -> None:
    async def scenario(service: Service, bench: Bench) -> None:
        await asyncio.sleep(0.06)
        for _ in range(3):
            await service.tick()
        assert service.status()["instruments"]["afm-1"]["connected"] is False
        await bench.ask([b""], wire.Refused)  # a malformed message does not count as a sign of life
        await bench.say(packet(wire.Heartbeat(id="b", sent_at=NOW)))
        await recorded(tmp_path, kinds.INSTRUMENT_BACK)

    with_instrument(tmp_path, scenario, config(silence_s=0.05, heartbeat_s=60))
    assert [e.subject for e in events(tmp_path, kinds.INSTRUMENT_LOST)] == ["afm-1"]
    assert events(tmp_path, kinds.INSTRUMENT_LOST)[0].body["silent_s"] >= 0.05


def test_the_status_is_plain_json_and_says_what_every_instrument_is_doing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching = threading.Event()

    def decide(scan: object, cancelled: Callable[[], bool]) -> Decision:
        return endless(searching)(scan, cancelled) if scan.scan_id == "scan-2" else decision(scan.scan_id)

    async def scenario(service: Service, bench: Bench) -> None:
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        await bench.say(ack((await bench.hear(wire.RecommendationMessage)).id))
        await bench.ask(result("d-scan-1-000"), wire.Ack)
        await bench.say(packet(wire.StatusMessage(id="s", sent_at=NOW, activity="measuring", points_left=1)))
        await bench.ask(scan_message(sample_scan("scan-2"), "m-2"), wire.Ack)
        await asyncio.to_thread(searching.wait)
        status = json.loads(json.dumps(service.control.status()))
        assert (status["directory"], status["mode"]) == (str(tmp_path), "auto")
        assert status["events"] == len(events(tmp_path))
        afm = status["instruments"]["afm-1"]
        assert (afm["model"], afm["state"], afm["connected"], afm["samples"]) == ("MFP-3D", "running", True, ["bto"])
        assert afm["doing"]["activity"] == "measuring"
        assert afm["deciding"] == {"stage": "training", "done": 1, "total": 1}
        assert afm["newest_scan"]["scan_id"] == "scan-2"
        assert afm["points"] == {"open": 0, "ok": 1, "skipped": 0, "failed": 0}

    deciding(monkeypatch, decide)
    with_instrument(tmp_path, scenario)


def test_every_event_is_passed_to_listeners(tmp_path: Path) -> None:
    async def scenario(service: Service, bench: Bench) -> None:
        seen: list[Event] = []
        service._dispatcher.recorder.listen(seen.append)
        await bench.ask(scan_message(sample_scan()), wire.Ack)
        first = seen[0]
        assert (first.kind, first.subject, first.body["sample_id"]) == ("scan_received", "scan-1", "bto")
        assert events(tmp_path)[first.seq - 1] == first

    with_instrument(tmp_path, scenario)


def test_commands_are_refused_before_the_service_runs(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="not running yet"):
        _ = Service(config(), tmp_path).control


def test_a_command_that_cannot_be_recorded_ends_the_service_and_is_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = []

    def full(self: History, kind: str, *_: object, **__: object) -> None:
        raise HistoryError(f"'{kind}' could not be written: No space left on device")

    async def scenario(service: Service, bench: Bench) -> None:
        monkeypatch.setattr(History, "record", full)
        with pytest.raises(HistoryError):
            await service.control.pause("Ada", "")
        await bench.hear(wire.Bye)
        heard.extend(bench.heard)

    with pytest.raises(HistoryError, match="'command_given' could not be written: No space left"):
        with_instrument(tmp_path, scenario)
    assert not any(isinstance(m, wire.CommandMessage) for m in heard)


def test_an_instrument_that_connects_after_a_command_to_all_receives_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (service, state):
            await service.control.pause("Ada", "night")
            with instrument(state["bind"]) as bench:
                assert (await welcomed(bench)).snapshot.state == "paused"
                assert (await bench.hear(wire.CommandMessage)).reason == "night"

    asyncio.run(scenario())
