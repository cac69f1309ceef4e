"""What is done while nothing waits, and how it makes room."""

import asyncio
from pathlib import Path

from agent.errors import AgentError
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from tests.agent.orchestration.test_orchestrator import Act, played
from tests.support.fake_searches import Bench
from tests.support.fast_loop import run

DEEP = {"deep": True, "idle_after_s": 60.0}


async def idle(bench: Bench, seconds: float = 61.0) -> None:
    """Nothing comes in; the service pokes every ten seconds."""
    for _ in range(round(seconds / 10) + 1):
        bench.decider.news()
        await bench.settle()
        await asyncio.sleep(10.0)


async def decided(bench: Bench, scan_id: str = "s-1", instrument: str = "afm-1") -> None:
    await bench.scan(scan_id, instrument)
    await bench.finish()


def deep(path: Path, act: Act, instruments: tuple[str, ...] = ("afm-1",)) -> list[tuple[str, str]]:
    return played(path, act, instruments, **DEEP)


def test_a_decision_is_deepened_once_after_a_while_and_the_next_scan_goes_on_from_that(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await decided(bench)
        await idle(bench, 40.0)
        assert len(bench.searches) == 1
        await idle(bench)
        assert bench.running.deep
        start = bench.running.asked["start"]
        assert (start.decision_id, start.complete) == ("d-s-1", True)
        assert bench.running.asked["previous"] is None  # what bears on quality and drift is what bore on them before
        sent = list(bench.recommended)
        await bench.finish()
        assert bench.recommended == sent
        assert bench.published[-1] == "deepened"
        (event,) = bench.history.events(kind=kinds.DECISION_DEEPENED)
        assert (event.body["of"], event.body["scan_id"], event.body["instrument_id"]) == ("d-s-1", "s-1", "afm-1")
        assert "points_rc" in event.arrays
        await idle(bench, 300.0)
        assert len(bench.searches) == 2
        bench.decider._recall._kept.clear()  # as after a restart
        await bench.scan("s-2")
        assert bench.running.asked["previous"].record.decision_id == "deep-s-1"
        await bench.finish()

    fates = [("decision_made", "d-s-1"), ("decision_deepened", "deep-s-1"), ("decision_made", "d-s-2")]
    assert deep(tmp_path, act) == fates

    async def restarted() -> None:
        async with Bench(tmp_path, **DEEP) as bench:
            assert Ledger.of(bench.history.events()).scans["afm-1", "s-1"].deepened.decision_id == "deep-s-1"
            await idle(bench)
            assert bench.running.asked["start"].decision_id == "d-s-2"
            assert bench.running.asked["previous"].record.decision_id == "deep-s-1"

    run(restarted())


def test_it_is_given_up_for_a_new_scan_of_any_instrument_and_leaves_nothing(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        await bench.scan("t-1", "afm-2")
        assert bench.running.deep
        assert bench.running.told_to_end
        assert bench.decider._agent.workers.cancelled == 1
        await bench.heed()
        assert await bench.finish() == "t-1"
        await bench.scan("s-2", "afm-1")
        assert bench.running.asked["previous"].record.decision_id == "d-s-1"
        await bench.finish()

    fates = [("decision_made", "d-s-1"), ("decision_made", "d-t-1"), ("decision_made", "d-s-2")]
    assert deep(tmp_path, act, ("afm-1", "afm-2")) == fates


def test_a_deeper_search_that_does_not_heed_the_new_scan_does_not_hold_it_up_for_long(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        await bench.scan("s-2")
        await asyncio.sleep(11.0)
        bench.searches[1].finish()
        await bench.settle()
        assert await bench.finish() == "s-2"

    assert deep(tmp_path, act) == [("decision_made", "d-s-1"), ("decision_made", "d-s-2")]


def test_a_command_interrupts_it_and_it_begins_again_later(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        bench.decider.interrupt()
        assert bench.running.told_to_end
        await bench.heed()
        await idle(bench, 40.0)
        assert len(bench.searches) == 2
        await idle(bench)
        assert bench.running.deep
        await bench.finish()

    assert deep(tmp_path, act)[-1] == ("decision_deepened", "deep-s-1")


def test_a_command_does_not_interrupt_the_search_on_a_new_scan(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.decider.interrupt()
        assert not bench.running.told_to_end
        await bench.finish()

    deep(tmp_path, act)


def test_an_emergency_stop_ends_it_and_while_it_lasts_none_begins(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        bench.states["afm-1"] = "stopped"
        bench.decider.news()
        await bench.heed()
        await idle(bench, 200.0)
        assert len(bench.searches) == 2

    deep(tmp_path, act)


def test_one_that_failed_is_not_tried_again_and_harms_nothing(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await decided(bench)
        for error in (AgentError("training processes died"), None):
            await idle(bench)
            if error is not None:
                bench.running.fail(error)
                await bench.settle()
        assert len(bench.searches) == 2
        await decided(bench, "s-2")
        await idle(bench)
        assert bench.running.deep
        await bench.finish()

    assert deep(tmp_path, act)[-1] == ("decision_deepened", "deep-s-2")


def test_the_instrument_whose_decision_is_oldest_is_first(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await decided(bench, "t-1", "afm-2")
        await idle(bench, 10.0)
        await decided(bench, "s-1", "afm-1")
        await idle(bench, 80.0)
        assert await bench.finish() == "t-1"
        await idle(bench)
        assert await bench.finish() == "s-1"

    deep(tmp_path, act, ("afm-1", "afm-2"))


def test_switched_off_or_where_nothing_was_found_there_is_none(tmp_path: Path) -> None:
    async def act(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.running.fail(AgentError("no contrast"))
        await bench.settle()
        await idle(bench, 200.0)
        assert len(bench.searches) == 1

    async def off(bench: Bench) -> None:
        await decided(bench)
        await idle(bench, 200.0)
        assert len(bench.searches) == 1

    deep(tmp_path / "nothing", act)
    played(tmp_path / "off", off, deep=False)
