"""A fault in the deciding of one scan, wherever it occurs, is the outcome of that scan: the next scan is decided on."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.schema import event_kinds as kinds
from tests.support.fake_searches import Bench
from tests.support.fast_loop import run

SENTENCE = "a fault in the agent (OverflowError: int too large); please report it"


def fails(*_: object, **__: object) -> None:
    raise OverflowError("int too large")


def in_a_bench(path: Path, scenario: Callable[[Bench], Awaitable[None]]) -> None:
    async def body() -> None:
        async with Bench(path) as bench:
            await scenario(bench)

    run(body())


async def next_scan_is_decided_on(bench: Bench) -> None:
    entry = await bench.scan("s-2")
    await bench.finish()
    assert entry.approval is not None
    assert entry.approval.given
    assert [r.request_id for r in bench.dispatcher.recommendation(entry).requests] == ["d-s-2-000", "d-s-2-001"]


attack = pytest.mark.attack(
    "something raises while a scan is decided on", promise="it is that scan's outcome; the service goes on"
)


@attack
def test_a_fault_while_the_inputs_are_gathered_is_the_outcome_of_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(bench.dispatcher.ledger, "results", fails)
            entry = await bench.scan("s-1")
        assert entry.decision is not None
        assert (entry.decision.outcome, entry.decision.explanation) == ("not_resolvable", SENTENCE)
        await next_scan_is_decided_on(bench)

    in_a_bench(tmp_path, scenario)


@attack
def test_a_decision_that_cannot_be_recorded_leaves_the_scan_without_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        entry = await bench.scan("s-1")
        log, calls = bench.dispatcher.decision_log, []
        decided = log.decided

        def once(*args: object) -> None:
            calls.append(args)
            fails() if len(calls) == 1 else decided(*args)

        monkeypatch.setattr(log, "decided", once)
        await bench.finish()
        assert entry.decision is not None
        assert (entry.decision.outcome, entry.decision.explanation) == ("not_resolvable", SENTENCE)
        await next_scan_is_decided_on(bench)

    in_a_bench(tmp_path, scenario)


@attack
def test_a_scan_that_can_have_no_decision_at_all_is_closed_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(bench.dispatcher.ledger, "results", fails)
            patched.setattr(bench.orchestrator._agent, "unresolved", fails)
            entry = await bench.scan("s-1")
        assert entry.closed
        assert [e.body["reason"] for e in bench.history.events(kind=kinds.SEARCH_CANCELLED)] == [SENTENCE]
        await next_scan_is_decided_on(bench)

    in_a_bench(tmp_path, scenario)


@attack
def test_points_that_cannot_be_checked_are_rejected_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(bench: Bench) -> None:
        entry = await bench.scan("s-1")
        with monkeypatch.context() as patched:
            patched.setattr(bench.dispatcher.interlock, "verdict", fails)
            await bench.finish()
        message = bench.dispatcher.recommendation(entry)
        assert (message.requests, message.reason) == ((), f"Nothing is measured: rejected by policy ({SENTENCE}).")
        await next_scan_is_decided_on(bench)

    in_a_bench(tmp_path, scenario)


@attack
def test_approved_points_that_cannot_be_checked_before_sending_are_not_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(bench: Bench) -> None:
        entry = await bench.scan("s-1")
        await bench.finish()
        with monkeypatch.context() as patched:
            patched.setattr(bench.dispatcher.interlock, "verdict", fails)
            assert bench.dispatcher.recommendation(entry).requests == ()
        assert SENTENCE in bench.dispatcher.recommendation(entry).reason
        last = list(bench.history.events(kind=kinds.APPROVAL_REJECTED))
        assert [(e.subject, e.body["by"], e.body["reason"]) for e in last] == [("d-s-1", "policy", SENTENCE)]
        await next_scan_is_decided_on(bench)

    in_a_bench(tmp_path, scenario)


@attack
def test_a_fault_in_a_deeper_search_ends_only_that_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        async with Bench(tmp_path, deep=True, idle_after_s=1.0) as bench:
            await bench.scan("s-1")
            await bench.finish()
            monkeypatch.setattr(bench.dispatcher.decision_log, "deepened", fails)
            bench.orchestrator._idle.due = lambda _: bench.dispatcher.ledger.latest("afm-1") if len(bench.searches) < 2 else None
            bench.orchestrator.wake()
            await bench.settle()
            assert bench.running.deep
            await bench.finish()
            await next_scan_is_decided_on(bench)

    run(body())
