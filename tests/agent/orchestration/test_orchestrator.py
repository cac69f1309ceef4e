"""Which scan is decided on, with searches that the test ends, in an event loop with simulated time."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, HistoryError
from agent.messaging.status import Replies, instruments
from agent.schema import event_kinds as kinds
from tests.support.fake_searches import Bench
from tests.support.fast_loop import run
from tests.support.samples import ack, hello, result

Scenario = Callable[[Bench], Awaitable[Any]]


def outcomes(path: Path, scenario: Scenario, instruments: tuple[str, ...] = ("afm-1",), **schedule: Any) -> list[tuple[str, str]]:
    """Run a scenario; kind and subject of the events that close scans, in their order."""

    async def events() -> list[tuple[str, str]]:
        async with Bench(path, instruments, **schedule) as bench:
            await scenario(bench)
            closing = (kinds.SEARCH_CANCELLED, kinds.DECISION_MADE, kinds.DECISION_DEEPENED)
            return [(e.kind, e.subject) for e in bench.history.events() if e.kind in closing]

    return run(events())


def test_a_newer_scan_cancels_the_search_and_only_the_newest_is_decided_on(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.scan("s-2")
        assert bench.running.cancelled
        assert bench.orchestrator._agent.workers.cancelled == 1
        await bench.scan("s-3")
        await bench.end_cancelled()
        assert await bench.finish() == "s-3"
        assert bench.recommended == ["afm-1"]

    assert outcomes(tmp_path, scenario) == [("search_cancelled", "s-1"), ("search_cancelled", "s-2"), ("decision_made", "d-s-3")]


def test_with_when_newer_finish_the_search_is_finished_first_and_its_decision_is_not_sent(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.scan("s-2")
        assert not bench.running.cancelled
        await bench.scan("s-3")
        assert await bench.finish() == "s-1"
        ledger = bench.dispatcher.ledger
        assert ledger.unacknowledged("afm-1") is None
        assert bench.dispatcher.due("afm-1") is None
        assert not ledger.requests
        assert bench.running.inputs.previous.record.decision_id == "d-s-1"
        assert await bench.finish() == "s-3"
        assert ledger.unacknowledged("afm-1").scan_id == "s-3"
        assert bench.dispatcher.recommendation(bench.dispatcher.due("afm-1")).seq == 1
        made = {e.subject: e.body.get("superseded_by") for e in bench.history.events(kind=kinds.DECISION_MADE)}
        assert made == {"d-s-1": "s-3", "d-s-3": None}

    found = outcomes(tmp_path, scenario, when_newer="finish")
    assert found == [("search_cancelled", "s-2"), ("decision_made", "d-s-1"), ("decision_made", "d-s-3")]


def test_a_search_that_was_to_be_finished_when_the_agent_was_killed_is_closed_by_the_next_one(tmp_path: Path) -> None:
    async def killed() -> None:
        bench = Bench(tmp_path, when_newer="finish")
        await bench.scan("s-1")
        await bench.scan("s-2")
        bench.task.cancel()
        bench.history.close()

    async def next_one(bench: Bench) -> None:
        await bench.settle()
        assert await bench.finish() == "s-2"

    run(killed())
    assert outcomes(tmp_path, next_one) == [("search_cancelled", "s-1"), ("decision_made", "d-s-2")]


def test_the_longest_waiting_instrument_is_next_and_one_that_scans_often_is_not_starved(tmp_path: Path) -> None:
    """Ordered by their newest scans, the hasty instrument would always be last."""

    async def scenario(bench: Bench) -> None:
        order = []
        await bench.scan("a-0", "calm-a")
        await bench.scan("h-0", "hasty")
        await bench.scan("b-0", "calm-b")
        for i in range(1, 7):
            await bench.scan(f"h-{i}", "hasty")
            done = bench.running.scan.scan_id
            order.append(done[0])
            if done[0] == "h":
                assert bench.running.cancelled
                await bench.end_cancelled()
                continue
            await bench.finish()
            await bench.scan(f"{done[0]}-{i}", f"calm-{done[0]}")
        assert order == ["a", "h", "b", "a", "h", "b"]
        while bench.running.scan.scan_id != "h-6":
            await bench.finish()
        await bench.finish()

    outcomes(tmp_path, scenario, ("calm-a", "hasty", "calm-b"))


def test_a_lost_wake_up_is_made_up_for_by_the_next_one(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.settle()
        await bench.scan("s-1", wake=False)
        assert bench.searches == []
        bench.orchestrator.wake()
        await bench.settle()
        await bench.scan("s-2", wake=False)
        bench.orchestrator.wake()
        assert bench.running.cancelled
        await bench.end_cancelled()
        await bench.finish()

    assert outcomes(tmp_path, scenario)[-1] == ("decision_made", "d-s-2")


def test_an_emergency_stop_cancels_the_search_and_the_scan_waits_for_the_operator(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.states["afm-1"] = "stopped"
        bench.orchestrator.wake()
        assert bench.running.cancelled
        await bench.end_cancelled()
        bench.orchestrator.wake()
        await bench.settle()
        assert len(bench.searches) == 1
        bench.states["afm-1"] = "running"
        bench.orchestrator.wake()
        await bench.settle()
        await bench.finish()

    assert outcomes(tmp_path, scenario) == [("decision_made", "d-s-1")]


def test_a_search_that_ends_by_itself_during_an_emergency_stop_counts_as_cancelled(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.states["afm-1"] = "stopped"
        bench.orchestrator.wake()
        await bench.finish()

    assert outcomes(tmp_path, scenario) == []


def test_a_search_to_be_finished_that_an_emergency_stop_ends_is_closed_with_the_reason(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.scan("s-2")
        bench.states["afm-1"] = "stopped"
        bench.orchestrator.wake()
        await bench.end_cancelled()

    assert outcomes(tmp_path, scenario, when_newer="finish") == [("search_cancelled", "s-1")]


def test_the_scan_of_a_paused_instrument_is_decided_on_and_a_stop_of_one_leaves_the_other_alone(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        bench.states |= {"afm-1": "paused", "afm-2": "stopped"}
        await bench.scan("s-1", "afm-1")
        await bench.scan("s-2", "afm-2")
        assert not bench.running.cancelled
        assert await bench.finish() == "s-1"
        assert all(s.future.done() for s in bench.searches)

    outcomes(tmp_path, scenario, ("afm-1", "afm-2"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AgentError("training processes died"), "training processes died"),
        (ZeroDivisionError("by zero"), "a fault in the agent (ZeroDivisionError: by zero); please report it"),
    ],
)
def test_a_search_that_fails_is_an_answer_with_the_reason(tmp_path: Path, error: Exception, reason: str) -> None:
    async def scenario(bench: Bench) -> None:
        entry = await bench.scan("s-1")
        bench.running.fail(error)
        await bench.settle()
        assert entry.decision.explanation == reason
        assert bench.recommended == ["afm-1"]

    outcomes(tmp_path, scenario)


@pytest.mark.parametrize("responds", [True, False], ids=["responds", "hangs"])
def test_a_search_that_takes_too_long_is_answered_all_the_same(tmp_path: Path, responds: bool) -> None:
    async def scenario(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        entry = await bench.scan("s-1")
        hanging = bench.running
        await asyncio.sleep(3599.0)
        assert not hanging.cancelled
        began = loop.time()
        while entry.decision is None:
            await asyncio.sleep(0.5)
            if responds and hanging.cancelled and not hanging.future.done():
                hanging.end_cancelled()
        assert loop.time() - began < (3 if responds else 13)
        assert entry.decision.outcome == "not_resolvable"
        assert "did not end within 3600 s (search.longest_s)" in entry.decision.explanation
        await bench.scan("s-2")
        assert bench.searches[-1].scan.scan_id == "s-2"
        bench.searches[-1].finish()
        await bench.settle()
        if not responds:
            hanging.finish()  # much later: the result is ignored
            await bench.settle()

    assert [kind for kind, _ in outcomes(tmp_path, scenario)] == ["decision_made", "decision_made"]


def test_a_newer_scan_does_not_wait_for_a_search_that_hangs(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        hanging = bench.running
        await bench.scan("s-2")
        await asyncio.sleep(11.0)
        assert bench.searches[-1].scan.scan_id == "s-2"
        bench.searches[-1].finish()
        await bench.settle()
        hanging.finish()

    assert outcomes(tmp_path, scenario) == [("search_cancelled", "s-1"), ("decision_made", "d-s-2")]


def test_each_instrument_and_sample_starts_from_its_own_last_decision(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        before: dict[str, str | None] = {}
        visits = [
            ("x-0", "afm-1", "x"),
            ("x-9", "afm-2", "x"),
            ("y-0", "afm-1", "y"),
            ("x-1", "afm-1", "x"),
            ("x-8", "afm-2", "x"),
            ("y-1", "afm-1", "y"),
        ]
        for scan_id, instrument, sample_id in visits:
            await bench.scan(scan_id, instrument, sample_id)
            previous, earlier = (bench.running.inputs.previous, bench.running.inputs.earlier)
            before[scan_id] = previous.record.scan_id if previous else None
            assert (earlier.scan_id if earlier else None) == before[scan_id]
            await bench.finish()
        assert before == {"x-0": None, "x-9": None, "y-0": None, "x-1": "x-0", "x-8": "x-9", "y-1": "y-0"}

    outcomes(tmp_path, scenario, ("afm-1", "afm-2"))


def test_few_decisions_are_kept_in_memory_and_the_others_are_read_back(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        for round_ in range(2):
            for sample in range(12):
                await bench.scan(f"s-{sample}-{round_}", sample_id=f"sample-{sample}")
                if round_:
                    assert bench.running.inputs.previous.record.scan_id == f"s-{sample}-0"
                    assert "points_rc" in bench.running.inputs.previous.arrays
                await bench.finish()
                assert len(bench.orchestrator._previous._kept) <= 8

    outcomes(tmp_path, scenario)


def test_a_last_decision_that_cannot_be_read_back_is_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.finish()
        bench.orchestrator._previous._kept.clear()
        get = bench.history.arrays.get
        decided = {d for e in bench.history.events(kind=kinds.DECISION_MADE) for d in e.arrays.values()}

        def altered(digest: str) -> object:
            if digest in decided:
                raise HistoryError("it has been altered")
            return get(digest)

        monkeypatch.setattr(bench.history.arrays, "get", altered)
        await bench.scan("s-2")
        assert bench.running.inputs.previous is None
        assert bench.running.inputs.earlier.scan_id == "s-1"
        monkeypatch.undo()
        await bench.finish()

    outcomes(tmp_path, scenario)


def test_no_search_starts_from_a_decision_on_a_bad_scan(tmp_path: Path) -> None:
    from tests.support.samples import decision

    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.finish()
        await bench.scan("s-2")
        bench.running.future.set_result(decision("s-2", outcome="bad_scan"))
        await bench.settle()
        await bench.scan("s-3")
        assert bench.running.inputs.previous.record.scan_id == "s-1"
        await bench.finish()

    outcomes(tmp_path, scenario)


class Unsearchable(dict):
    """A table of the ledger in which things may be looked up, but that is not to be gone through."""

    def __iter__(self):
        raise AssertionError("the whole run was gone through")

    keys = values = items = __iter__


@pytest.mark.attack("the history has grown for months", promise="nothing that the event loop does takes longer for it")
def test_no_step_of_a_cycle_goes_through_the_whole_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Bench(tmp_path) as bench:
            agent = bench.dispatcher
            await bench.scan("s-0")
            await bench.finish()
            ledger = agent.ledger
            ledger.scans, ledger.requests = Unsearchable(ledger.scans), Unsearchable(ledger.requests)
            agent.on_packet("afm-1", hello("afm-1"))
            await bench.scan("s-1")
            assert bench.running.inputs.previous.record.scan_id == "s-0"
            await bench.finish()
            recommendation = agent.recommendation(agent.due("afm-1"))
            agent.sent(ledger.latest("afm-1"))
            agent.on_packet("afm-1", ack(recommendation.id))
            agent.on_packet("afm-1", result(recommendation.requests[0].request_id))
            await bench.scan("s-2")
            assert len(bench.running.inputs.results.values) == 1
            await bench.finish()
            (status,) = instruments(agent, {}, lambda _: Replies()).values()
            assert (status["points"]["ok"], status["samples"]) == (1, ["bto"])
            assert agent.approvals.pending() == []
            bench.orchestrator.clear_cache()
            agent.commands.give("stop", "Ada", "smoke", None)
            bench.orchestrator.interrupt()
            ledger.scans, ledger.requests = dict(dict.items(ledger.scans)), dict(dict.items(ledger.requests))

    run(scenario())
