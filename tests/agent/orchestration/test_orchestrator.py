"""Which scan is decided on, with searches that the test ends, in a loop whose time passes at once."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, HistoryError
from agent.schema import event_kinds as kinds
from tests.support.fake_searches import Bench
from tests.support.fast_loop import run

Act = Callable[[Bench], Awaitable[Any]]


def played(path: Path, act: Act, instruments: tuple[str, ...] = ("afm-1",), **schedule: Any) -> list[tuple[str, str]]:
    """The kinds and subjects of what became of scans."""

    async def scenario() -> list[tuple[str, str]]:
        async with Bench(path, instruments, **schedule) as bench:
            await act(bench)
            fates = (kinds.SEARCH_CANCELLED, kinds.DECISION_MADE, kinds.DECISION_DEEPENED)
            return [(e.kind, e.subject) for e in bench.history.events() if e.kind in fates]

    return run(scenario())


def test_a_newer_scan_cancels_the_search_and_only_the_newest_is_decided_on(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.scan("s-2")
        assert bench.running.told_to_end
        assert bench.decider._agent.workers.cancelled == 1
        await bench.scan("s-3")
        await bench.heed()
        assert await bench.finish() == "s-3"
        assert bench.recommended == ["afm-1"]

    assert played(tmp_path, act) == [("search_cancelled", "s-1"), ("search_cancelled", "s-2"), ("decision_made", "d-s-3")]


def test_by_policy_the_search_is_finished_first_and_sent_to_nobody(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.scan("s-2")
        assert not bench.running.told_to_end
        await bench.scan("s-3")
        assert await bench.finish() == "s-1"
        ledger = bench.dispatch.ledger
        assert ledger.unacknowledged("afm-1") is None
        assert bench.dispatch.due("afm-1") is None
        assert not ledger.requests
        assert bench.running.asked["previous"].record.decision_id == "d-s-1"
        assert await bench.finish() == "s-3"
        assert ledger.unacknowledged("afm-1").scan_id == "s-3"
        assert bench.dispatch.recommendation(bench.dispatch.due("afm-1")).seq == 1
        made = {e.subject: e.body.get("superseded_by") for e in bench.history.events(kind=kinds.DECISION_MADE)}
        assert made == {"d-s-1": "s-3", "d-s-3": None}

    fates = played(tmp_path, act, when_newer="finish")
    assert fates == [("search_cancelled", "s-2"), ("decision_made", "d-s-1"), ("decision_made", "d-s-3")]


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
    assert played(tmp_path, next_one) == [("search_cancelled", "s-1"), ("decision_made", "d-s-2")]


def test_who_has_waited_longest_is_next_and_one_that_scans_all_the_time_is_not_put_off(tmp_path: Path) -> None:
    """By the numbers of their newest scans, the hasty one would always be last."""

    async def act(bench: Bench) -> None:
        order = []
        await bench.scan("a-0", "calm-a")
        await bench.scan("h-0", "hasty")
        await bench.scan("b-0", "calm-b")
        for i in range(1, 7):
            await bench.scan(f"h-{i}", "hasty")
            done = bench.running.scan.scan_id
            order.append(done[0])
            if done[0] == "h":
                assert bench.running.told_to_end
                await bench.heed()
                continue
            await bench.finish()
            await bench.scan(f"{done[0]}-{i}", f"calm-{done[0]}")
        assert order == ["a", "h", "b", "a", "h", "b"]
        while bench.running.scan.scan_id != "h-6":
            await bench.finish()
        await bench.finish()

    played(tmp_path, act, ("calm-a", "hasty", "calm-b"))


def test_a_lost_wake_up_is_made_up_for_by_the_next_poke(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.settle()
        await bench.scan("s-1", poke=False)
        assert bench.searches == []
        bench.decider.news()
        await bench.settle()
        await bench.scan("s-2", poke=False)
        bench.decider.news()
        assert bench.running.told_to_end
        await bench.heed()
        await bench.finish()

    assert played(tmp_path, act)[-1] == ("decision_made", "d-s-2")


def test_an_emergency_stop_gives_up_the_search_and_the_scan_waits_for_a_person(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.states["afm-1"] = "stopped"
        bench.decider.news()
        assert bench.running.told_to_end
        await bench.heed()
        bench.decider.news()
        await bench.settle()
        assert len(bench.searches) == 1
        bench.states["afm-1"] = "running"
        bench.decider.news()
        await bench.settle()
        await bench.finish()

    assert played(tmp_path, act) == [("decision_made", "d-s-1")]


def test_a_search_that_ends_of_itself_during_an_emergency_stop_counts_as_given_up(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.states["afm-1"] = "stopped"
        bench.decider.news()
        await bench.finish()

    assert played(tmp_path, act) == []


def test_a_search_to_be_finished_that_an_emergency_stop_ends_is_closed_with_the_reason(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.scan("s-2")
        bench.states["afm-1"] = "stopped"
        bench.decider.news()
        await bench.heed()

    assert played(tmp_path, act, when_newer="finish") == [("search_cancelled", "s-1")]


def test_the_scan_of_a_paused_instrument_is_decided_on_and_a_stop_of_one_leaves_the_other_alone(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        bench.states |= {"afm-1": "paused", "afm-2": "stopped"}
        await bench.scan("s-1", "afm-1")
        await bench.scan("s-2", "afm-2")
        assert not bench.running.told_to_end
        assert await bench.finish() == "s-1"
        assert all(s.future.done() for s in bench.searches)

    played(tmp_path, act, ("afm-1", "afm-2"))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AgentError("training processes died"), "training processes died"),
        (ZeroDivisionError("by zero"), "a fault in the agent (ZeroDivisionError: by zero); please report it"),
    ],
)
def test_a_search_that_fails_is_an_answer_with_the_reason(tmp_path: Path, error: Exception, said: str) -> None:
    async def act(bench: Bench) -> None:
        entry = await bench.scan("s-1")
        bench.running.fail(error)
        await bench.settle()
        assert entry.decision.explanation == said
        assert bench.recommended == ["afm-1"]

    played(tmp_path, act)


@pytest.mark.parametrize("heeds", [True, False], ids=["heeds", "hangs"])
def test_a_search_that_takes_too_long_is_answered_all_the_same(tmp_path: Path, heeds: bool) -> None:
    async def act(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        entry = await bench.scan("s-1")
        hanging = bench.running
        await asyncio.sleep(3599.0)
        assert not hanging.told_to_end
        began = loop.time()
        while entry.decision is None:
            await asyncio.sleep(0.5)
            if heeds and hanging.told_to_end and not hanging.future.done():
                hanging.heed()
        assert loop.time() - began < (3 if heeds else 13)
        assert entry.decision.outcome == "not_resolvable"
        await bench.scan("s-2")
        assert bench.searches[-1].scan.scan_id == "s-2"
        bench.searches[-1].finish()
        await bench.settle()
        if not heeds:
            hanging.finish()  # much later: nobody listens
            await bench.settle()
        assert "did not end within 3600 s (search.longest_s)" in entry.decision.explanation

    assert [kind for kind, _ in played(tmp_path, act)] == ["decision_made", "decision_made"]


def test_a_newer_scan_does_not_wait_for_a_search_that_hangs(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        hanging = bench.running
        await bench.scan("s-2")
        await asyncio.sleep(11.0)
        assert bench.searches[-1].scan.scan_id == "s-2"
        bench.searches[-1].finish()
        await bench.settle()
        hanging.finish()

    assert played(tmp_path, act) == [("search_cancelled", "s-1"), ("decision_made", "d-s-2")]


def test_each_instrument_and_sample_goes_on_from_its_own_last_decision(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
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
            previous, earlier = (bench.running.asked[name] for name in ("previous", "earlier"))
            before[scan_id] = previous.record.scan_id if previous else None
            assert (earlier.scan_id if earlier else None) == before[scan_id]
            await bench.finish()
        assert before == {"x-0": None, "x-9": None, "y-0": None, "x-1": "x-0", "x-8": "x-9", "y-1": "y-0"}

    played(tmp_path, act, ("afm-1", "afm-2"))


def test_few_decisions_are_kept_in_memory_and_the_others_are_read_back(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        for round_ in range(2):
            for sample in range(12):
                await bench.scan(f"s-{sample}-{round_}", sample_id=f"sample-{sample}")
                if round_:
                    assert bench.running.asked["previous"].record.scan_id == f"s-{sample}-0"
                    assert "points_rc" in bench.running.asked["previous"].arrays
                await bench.finish()
                assert len(bench.decider._recall._kept) <= 8

    played(tmp_path, act)


def test_a_last_decision_that_cannot_be_read_back_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.finish()
        bench.decider._recall._kept.clear()
        get = bench.history.arrays.get
        decided = {d for e in bench.history.events(kind=kinds.DECISION_MADE) for d in e.arrays.values()}

        def altered(digest: str) -> object:
            if digest in decided:
                raise HistoryError("it has been altered")
            return get(digest)

        monkeypatch.setattr(bench.history.arrays, "get", altered)
        await bench.scan("s-2")
        assert bench.running.asked["previous"] is None
        assert bench.running.asked["earlier"].scan_id == "s-1"
        monkeypatch.undo()
        await bench.finish()

    played(tmp_path, act)


def test_a_scan_of_a_bad_frame_is_nobodys_start(tmp_path: Path) -> None:
    from tests.support.samples import decision

    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        await bench.finish()
        await bench.scan("s-2")
        bench.running.future.set_result(decision("s-2", outcome="bad_scan"))
        await bench.settle()
        await bench.scan("s-3")
        assert bench.running.asked["previous"].record.scan_id == "s-1"
        await bench.finish()

    played(tmp_path, act)
