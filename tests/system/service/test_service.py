"""The service in this process, over real sockets; the search is replaced by a prepared decision."""

import asyncio
import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from agent.errors import SearchCancelledError, UnusableScanError
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from agent.service import sender as sending
from agent.service.service import STATE_FILE
from instrument_adapters.protocol import codec
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, encode
from tests.support.samples import NOW, ack, decision, hello, packet, result, sample_scan, scan_message
from tests.system.bench import Bench, config, connected, deciding, events, instrument, recorded, serving

BEAT = packet(wire.Heartbeat(id="beat-1", sent_at=NOW))


async def scan_and_recommendation(bench: Bench, scan_id: str = "scan-1") -> wire.RecommendationMessage:
    await bench.ask(scan_message(sample_scan(scan_id)), wire.Ack)
    return await bench.hear(wire.RecommendationMessage)


def test_a_scan_is_followed_by_a_recommendation_and_its_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = deciding(monkeypatch)

    async def scenario() -> None:
        async with connected(tmp_path, points_max=7) as bench:
            recommendation = await scan_and_recommendation(bench)
            assert (recommendation.scan_id, recommendation.id) == ("scan-1", "rec-d-scan-1")
            assert [r.request_id for r in recommendation.requests] == ["d-scan-1-000", "d-scan-1-001"]
            await bench.say(ack(recommendation.id))
            await bench.ask(result("d-scan-1-000", message_id="r-0"), wire.Ack)
            await bench.ask(result("d-scan-1-001", "skipped", "r-1"), wire.Ack)
            await scan_and_recommendation(bench, "scan-2")

    asyncio.run(scenario())
    assert [a[1].points_max for a in calls] == [7, 7]
    assert [a[2].tolist() for a in calls] == [[], [[1e-7, 2e-7]]]
    assert np.array_equal(calls[0][0].channels["Amplitude"], sample_scan().channels["Amplitude"])
    order = [e.kind for e in events(tmp_path)]
    assert order[:11] == [
        kinds.RUN_STARTED,
        kinds.INSTRUMENT_CONNECTED,
        kinds.SCAN_RECEIVED,
        kinds.CANDIDATES_SCORED,
        kinds.DECISION_MADE,
        kinds.APPROVAL_GIVEN,
        kinds.RECOMMENDATION_READY,
        kinds.RECOMMENDATION_SENT,
        kinds.RECOMMENDATION_ACKNOWLEDGED,
        kinds.RESULT_RECEIVED,
        kinds.RESULT_RECEIVED,
    ]
    assert order[-1] == kinds.RUN_STOPPED
    assert not (tmp_path / STATE_FILE).exists()


def header(**changes: object) -> bytes:
    raw = json.loads(encode(scan_message(sample_scan()))[0]) | changes
    return json.dumps(raw).encode()


SCAN, ARRAY = encode(scan_message(sample_scan()))
SPEC = {"name": "channels", "dtype": "<f4", "shape": [2, 3, 4]}
MALFORMED = {
    "unknown version": ([header(version=1), ARRAY], "unknown_version"),
    "a version that is not text": ([b'{"version": "\\ud800"}'], "unknown_version"),
    "wrong shape": ([header(arrays=[SPEC | {"shape": [2, 4, 4]}]), ARRAY], "bad_message"),
    "wrong dtype": ([header(arrays=[SPEC | {"dtype": "<f8"}]), ARRAY + ARRAY], "bad_message"),
    "unknown dtype": ([header(arrays=[SPEC | {"dtype": "O"}]), ARRAY], "bad_message"),
    "too few bytes": ([SCAN, ARRAY[:-1]], "wrong_byte_count"),
    "too many frames": ([SCAN, ARRAY, ARRAY], "wrong_frame_count"),
    "too few frames": ([SCAN], "wrong_frame_count"),
    "unknown field": ([header(execute="rm"), ARRAY], "bad_message"),
    "unknown type": ([header(type="go_to"), ARRAY], "bad_message"),
    "not JSON": ([b"\x80\x04pickle"], "bad_json"),
    "not an object": ([b"[1, 2]"], "bad_json"),
    "nested too deeply": ([b"[" * 100_000], "bad_json"),
    "empty": ([b""], "bad_json"),
    "what only the agent sends": (
        encode(packet(wire.Welcome(id="w", sent_at=NOW, of="h", run_id="r", scans_recorded=0))),
        "not_for_agent",
    ),
}


def test_malformed_messages_are_refused_with_their_code_and_the_service_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deciding(monkeypatch)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            for case, (frames, code) in MALFORMED.items():
                answer = await bench.ask(frames, wire.Refused)
                assert answer.code == code, case
                assert answer.reason, case
                named = code in ("unknown_version", "bad_message", "wrong_byte_count", "wrong_frame_count")
                assert answer.of == ("m-scan" if named and b"m-scan" in frames[0] else "w" if case.startswith("what") else None)
            assert (await scan_and_recommendation(bench)).requests

    asyncio.run(scenario())
    bodies = [e.body for e in events(tmp_path, kinds.MESSAGE_REFUSED)]
    assert [b["code"] for b in bodies] == [code for _, code in MALFORMED.values()]


def test_an_oversized_frame_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_ARRAY_BYTES", 50)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            answer = await bench.ask([SCAN, ARRAY], wire.Refused)
            assert (answer.code, answer.of) == ("oversized_frame", "m-scan")
            assert "at most 50 are accepted" in answer.reason

    asyncio.run(scenario())


def test_clients_without_a_name_or_with_a_wrong_name_are_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serving(tmp_path) as (_, state):
            with instrument(state["bind"], name=None) as nameless:
                assert (await nameless.ask(BEAT, wire.Refused)).code == "hello_first"
                assert (await nameless.ask(hello(), wire.Refused)).code == "wrong_identity"
            with instrument(state["bind"], name="afm-2") as other:
                assert (await other.ask(hello("afm-1"), wire.Refused)).code == "wrong_identity"
                assert (await other.ask(scan_message(sample_scan()), wire.Refused)).code == "hello_first"

    asyncio.run(scenario())


def test_a_fault_while_a_message_is_handled_is_answered_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(packet: Packet) -> None:
        raise ZeroDivisionError("nothing to divide")

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            with monkeypatch.context() as patched:
                patched.setattr("agent.messaging.dispatcher.scan_from_packet", broken)
                answer = await bench.ask([SCAN, ARRAY], wire.Refused)
            assert (answer.code, answer.of) == ("agent_fault", "m-scan")
            assert "ZeroDivisionError: nothing to divide" in answer.reason
            assert (await bench.ask([SCAN, ARRAY], wire.Ack)).duplicate is False

    deciding(monkeypatch)
    asyncio.run(scenario())


def with_fields(frames: list[bytes], **fields: object) -> list[bytes]:
    """The frames of a message as a client without checks of its own sends them."""
    return [json.dumps(json.loads(frames[0]) | fields).encode(), *frames[1:]]


@pytest.mark.attack(
    "a result at 1.7e308 m, a scan and a clock of the year 9999",
    promise="each is refused; the service goes on, also after a restart",
)
def test_numbers_and_dates_that_cannot_be_end_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    year_9999 = "9999-12-31T23:59:59Z"
    said = ("sent_at is 9999-12-31T23:59:59+00:00", "finished_at is 9999-12-31T23:59:59+00:00", "x_m is 1.7e+308")

    async def scenario() -> None:
        for number in (1, 2):
            async with connected(tmp_path) as bench:
                told = [await bench.ask(with_fields(encode(hello()), sent_at=year_9999), wire.Refused)]
                late = scan_message(sample_scan(f"late-{number}"), f"m-late-{number}")
                told.append(await bench.ask(with_fields(encode(late), finished_at=year_9999), wire.Refused))
                recommendation = await scan_and_recommendation(bench, f"scan-{number}")
                await bench.say(ack(recommendation.id))
                impossible = result(f"d-scan-{number}-000", message_id=f"r-{number}")
                told.append(await bench.ask(with_fields(encode(impossible), x_m=1.7e308), wire.Refused))
                found = [(t.code, t.reason.split(",")[0]) for t in told]
                assert found == [("impossible_value", what) for what in said]

    asyncio.run(scenario())
    assert events(tmp_path, kinds.RESULT_RECEIVED) == []


@pytest.mark.attack("something raises after a message was recorded", promise="it is logged; the service goes on")
@pytest.mark.parametrize(
    "broken",
    [
        "agent.messaging.decision_log.DecisionLog.apply_policy",
        "agent.messaging.delivery.Delivery.message",
        "agent.service.sender.Sender.mark_all_due",
        "agent.service.service.json",
    ],
)
def test_a_fault_in_what_follows_a_message_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    deciding(monkeypatch)

    def fails(*_: object, **__: object) -> None:
        raise OverflowError("int too large")

    fails.dumps = fails

    async def scenario() -> None:
        async with serving(tmp_path, config()) as (_, state):
            with instrument(state["bind"], "afm-1") as bench, monkeypatch.context() as patched:
                patched.setattr(broken, fails)
                await bench.ask(hello(), wire.Welcome)
                await bench.ask(scan_message(sample_scan("scan-1")), wire.Ack)
                await recorded(tmp_path, kinds.DECISION_MADE)
                await bench.ask(packet(wire.Resend(id="again", sent_at=NOW)), wire.SnapshotMessage)
                patched.undo()
                await bench.say(packet(wire.Resend(id="again-2", sent_at=NOW)))
                assert (await bench.hear(wire.RecommendationMessage)).scan_id == "scan-1"
                assert (await scan_and_recommendation(bench, "scan-2")).scan_id == "scan-2"

    asyncio.run(scenario())


def test_a_scan_sent_twice_is_decided_on_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = deciding(monkeypatch)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            recommendation = await scan_and_recommendation(bench)
            await bench.say(ack(recommendation.id))
            assert (await bench.ask(scan_message(sample_scan(), "again"), wire.Ack)).duplicate is True
            other = await bench.ask(scan_message(sample_scan(value=0.9), "other"), wire.Refused)
            assert (other.code, other.of) == ("duplicate_scan_id", "other")

    asyncio.run(scenario())
    assert len(calls) == 1


def test_the_newest_scan_wins_and_the_older_search_is_recorded_as_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searching = threading.Event()

    def decide(scan: object, cancelled: object) -> Decision:
        if scan.scan_id == "scan-1":
            searching.set()
            while not cancelled():
                time.sleep(0.002)
            raise SearchCancelledError("the search was cancelled")
        return decision(scan.scan_id)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            await bench.ask(scan_message(sample_scan("scan-1")), wire.Ack)
            await asyncio.to_thread(searching.wait)
            recommendation = await scan_and_recommendation(bench, "scan-2")
            assert recommendation.scan_id == "scan-2"
            await bench.say(ack(recommendation.id))

    calls = deciding(monkeypatch, decide)
    asyncio.run(scenario())
    assert [a[0].scan_id for a in calls] == ["scan-1", "scan-2"]
    (end,) = events(tmp_path, kinds.SEARCH_CANCELLED)
    assert (end.subject, end.body["reason"]) == ("scan-1", "a newer scan came in: scan-2")
    assert [e.body["scan_id"] for e in events(tmp_path, kinds.DECISION_MADE)] == ["scan-2"]


def test_a_search_that_ends_just_when_a_newer_scan_came_gives_no_second_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(scan: object, cancelled: object) -> Decision:
        while scan.scan_id == "scan-1" and not cancelled():
            time.sleep(0.002)
        return decision(scan.scan_id)  # too late to be cancelled

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            await bench.ask(scan_message(sample_scan("scan-1")), wire.Ack)
            assert (await scan_and_recommendation(bench, "scan-2")).scan_id == "scan-2"

    deciding(monkeypatch, decide)
    asyncio.run(scenario())
    assert [e.subject for e in events(tmp_path, kinds.SEARCH_CANCELLED)] == ["scan-1"]
    assert [e.body["scan_id"] for e in events(tmp_path, kinds.DECISION_MADE)] == ["scan-2"]


def test_a_recommendation_is_sent_again_to_an_instrument_that_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)

    async def scenario() -> None:
        async with serving(tmp_path) as (_, state):
            with instrument(state["bind"]) as first:
                await first.ask(hello(), wire.Welcome)
                sent = await scan_and_recommendation(first)
            with instrument(state["bind"]) as second:
                await second.ask(hello(message_id="hello-2"), wire.Welcome)
                again = await second.hear(wire.RecommendationMessage)
                assert (again.id, again.requests) == (sent.id, sent.requests)
                await second.say(ack(again.id))
                await recorded(tmp_path, kinds.RECOMMENDATION_ACKNOWLEDGED)
                await second.ask(hello(message_id="hello-3"), wire.Welcome)
                await second.ask([b""], wire.Refused)
                assert sum(isinstance(m, wire.RecommendationMessage) for m in second.heard) == 1

    asyncio.run(scenario())
    assert len(events(tmp_path, kinds.RECOMMENDATION_SENT)) == 2


def test_a_recommendation_is_repeated_until_it_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    monkeypatch.setattr(sending, "RESEND_S", 0.0)

    async def scenario() -> None:
        async with connected(tmp_path, config(heartbeat_s=0.02)) as bench:
            first = await scan_and_recommendation(bench)
            assert (await bench.hear(wire.RecommendationMessage)).id == first.id
            await bench.say(ack(first.id))
            await recorded(tmp_path, kinds.RECOMMENDATION_ACKNOWLEDGED)
            sent = len(events(tmp_path, kinds.RECOMMENDATION_SENT))
            for _ in range(3):
                await bench.hear(wire.Heartbeat)
            assert len(events(tmp_path, kinds.RECOMMENDATION_SENT)) == sent

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("nothing to divide"), "a fault in the agent (ZeroDivisionError: nothing to divide); please report it"),
        (UnusableScanError("the image is constant"), "the image is constant"),
    ],
)
def test_a_search_that_fails_is_answered_with_the_reason_and_the_service_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def decide(scan: object, cancelled: object) -> Decision:
        if scan.scan_id == "scan-1":
            raise error
        return decision(scan.scan_id)

    async def scenario() -> None:
        async with connected(tmp_path) as bench:
            nothing = await scan_and_recommendation(bench, "scan-1")
            assert nothing.requests == ()
            assert nothing.reason == f"Nothing to recommend: {reason}."
            assert (await scan_and_recommendation(bench, "scan-2")).requests

    deciding(monkeypatch, decide)
    asyncio.run(scenario())
    first, second = (e.body["decision"]["outcome"] for e in events(tmp_path, kinds.DECISION_MADE))
    assert (first, second) == ("not_resolvable", "one_type_only")


class BrokenPage:
    """A dashboard that fails at everything that is published."""

    def add_to(self, app: object, address: str) -> None: ...

    def update(self, kind: str, facts: object) -> None:
        raise RuntimeError(f"cannot show {kind}")


@pytest.mark.attack("the dashboard fails at each message", promise="scans are decided on and points go out all the same")
def test_a_page_that_fails_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)

    async def scenario() -> None:
        async with serving(tmp_path, page=lambda _: BrokenPage()) as (_, state):
            with instrument(state["bind"]) as bench:
                await bench.ask(hello("afm-1"), wire.Welcome)
                for scan_id in ("scan-1", "scan-2"):
                    assert (await scan_and_recommendation(bench, scan_id)).scan_id == scan_id

    asyncio.run(scenario())
    assert events(tmp_path)[-1].kind == kinds.RUN_STOPPED
