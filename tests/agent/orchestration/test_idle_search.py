"""Deeper searches while no scan waits, and how they give way to scans."""

import asyncio
from pathlib import Path

from agent.errors import AgentError
from agent.ledger.ledger import Ledger
from agent.schema import event_kinds as kinds
from tests.agent.orchestration.test_orchestrator import Scenario, outcomes
from tests.support.fake_searches import Bench
from tests.support.fast_loop import run

DEEP = {"deep": True, "idle_after_s": 60.0}


async def idle(bench: Bench, seconds: float = 61.0) -> None:
    """Let time pass without new scans; the service wakes the orchestrator every ten seconds."""
    for _ in range(round(seconds / 10) + 1):
        bench.orchestrator.wake()
        await bench.settle()
        await asyncio.sleep(10.0)


async def decided(bench: Bench, scan_id: str = "s-1", instrument: str = "afm-1") -> None:
    await bench.scan(scan_id, instrument)
    await bench.finish()


def deep(path: Path, scenario: Scenario, instruments: tuple[str, ...] = ("afm-1",)) -> list[tuple[str, str]]:
    return outcomes(path, scenario, instruments, **DEEP)


def test_a_decision_is_deepened_once_after_a_while_and_the_next_scan_starts_from_it(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await decided(bench)
        await idle(bench, 40.0)
        assert len(bench.searches) == 1
        await idle(bench)
        assert bench.running.deep
        start = bench.running.inputs.start
        assert (start.decision_id, start.complete) == ("d-s-1", True)
        assert bench.running.inputs.previous is None  # quality and drift are compared with the same predecessor as before
        sent = list(bench.recommended)
        await bench.finish()
        assert bench.recommended == sent
        assert bench.published[-1] == "deepened"
        (event,) = bench.history.events(kind=kinds.DECISION_DEEPENED)
        assert (event.body["of"], event.body["scan_id"], event.body["instrument_id"]) == ("d-s-1", "s-1", "afm-1")
        assert "points_rc" in event.arrays
        await idle(bench, 300.0)
        assert len(bench.searches) == 2
        bench.orchestrator._previous._kept.clear()  # as after a restart
        await bench.scan("s-2")
        assert bench.running.inputs.previous.record.decision_id == "deep-s-1"
        await bench.finish()

    expected = [("decision_made", "d-s-1"), ("decision_deepened", "deep-s-1"), ("decision_made", "d-s-2")]
    assert deep(tmp_path, scenario) == expected

    async def restarted() -> None:
        async with Bench(tmp_path, **DEEP) as bench:
            assert Ledger.of(bench.history.events()).scans["afm-1", "s-1"].deeper.decision_id == "deep-s-1"
            await idle(bench)
            assert bench.running.inputs.start.decision_id == "d-s-2"
            assert bench.running.inputs.previous.record.decision_id == "deep-s-1"

    run(restarted())


def test_a_deeper_search_is_cancelled_for_a_new_scan_of_any_instrument_and_leaves_nothing(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        await bench.scan("t-1", "afm-2")
        assert bench.running.deep
        assert bench.running.cancelled
        assert bench.orchestrator._agent.workers.cancelled == 1
        await bench.end_cancelled()
        assert await bench.finish() == "t-1"
        await bench.scan("s-2", "afm-1")
        assert bench.running.inputs.previous.record.decision_id == "d-s-1"
        await bench.finish()

    expected = [("decision_made", "d-s-1"), ("decision_made", "d-t-1"), ("decision_made", "d-s-2")]
    assert deep(tmp_path, scenario, ("afm-1", "afm-2")) == expected


def test_an_unresponsive_deeper_search_does_not_delay_a_new_scan_for_long(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        await bench.scan("s-2")
        await asyncio.sleep(11.0)
        bench.searches[1].finish()
        await bench.settle()
        assert await bench.finish() == "s-2"

    assert deep(tmp_path, scenario) == [("decision_made", "d-s-1"), ("decision_made", "d-s-2")]


def test_a_command_interrupts_a_deeper_search_and_it_begins_again_later(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        bench.orchestrator.interrupt()
        assert bench.running.cancelled
        await bench.end_cancelled()
        await idle(bench, 40.0)
        assert len(bench.searches) == 2
        await idle(bench)
        assert bench.running.deep
        await bench.finish()

    assert deep(tmp_path, scenario)[-1] == ("decision_deepened", "deep-s-1")


def test_a_command_does_not_interrupt_the_search_on_a_new_scan(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.orchestrator.interrupt()
        assert not bench.running.cancelled
        await bench.finish()

    deep(tmp_path, scenario)


def test_an_emergency_stop_ends_a_deeper_search_and_none_begins_while_stopped(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await decided(bench)
        await idle(bench)
        bench.states["afm-1"] = "stopped"
        bench.orchestrator.wake()
        await bench.end_cancelled()
        await idle(bench, 200.0)
        assert len(bench.searches) == 2

    deep(tmp_path, scenario)


def test_a_deeper_search_that_failed_is_not_repeated_and_harms_nothing(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
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

    assert deep(tmp_path, scenario)[-1] == ("decision_deepened", "deep-s-2")


def test_the_instrument_whose_decision_is_oldest_is_first(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await decided(bench, "t-1", "afm-2")
        await idle(bench, 10.0)
        await decided(bench, "s-1", "afm-1")
        await idle(bench, 80.0)
        assert await bench.finish() == "t-1"
        await idle(bench)
        assert await bench.finish() == "s-1"

    deep(tmp_path, scenario, ("afm-1", "afm-2"))


def test_there_is_no_deeper_search_when_switched_off_or_without_a_chosen_configuration(tmp_path: Path) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.scan("s-1")
        bench.running.fail(AgentError("no contrast"))
        await bench.settle()
        await idle(bench, 200.0)
        assert len(bench.searches) == 1

    async def off(bench: Bench) -> None:
        await decided(bench)
        await idle(bench, 200.0)
        assert len(bench.searches) == 1

    deep(tmp_path / "nothing", scenario)
    outcomes(tmp_path / "off", off, deep=False)
