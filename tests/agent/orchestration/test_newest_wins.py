"""Newest wins, whatever comes in, in whatever order, and however searches end."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.errors import AgentError
from agent.schema import event_kinds as kinds
from tests.support.fake_searches import Bench
from tests.support.fast_loop import run

INSTRUMENTS = ("afm-1", "afm-2")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (*["scan"] * 6, *["finish"] * 4, "heed", "heed", "fail", "hang", "wait", "stop", "resume", "command", "leave")
        ),
        st.sampled_from(INSTRUMENTS),
        st.sampled_from(("bto", "pto")),
        st.booleans(),  # whether the service wakes the decider, or the wake-up is lost
    ),
    min_size=10,
    max_size=40,
)


async def do(bench: Bench, number: int, step: tuple[str, str, str, bool]) -> None:
    what, instrument, sample_id, poke = step
    if what == "scan":
        if instrument not in bench.dispatch.limits:
            bench.connect(instrument)
        await bench.scan(f"s-{number}", instrument, sample_id, poke=poke)
    elif what in ("finish", "fail", "heed"):
        end(bench, what)
    elif what in ("hang", "wait"):
        await asyncio.sleep(12.0 if what == "hang" else 70.0)  # beyond all patience; until idle
        bench.decider.news()
    else:
        say(bench, what, instrument)
    await bench.settle()


def end(bench: Bench, how: str) -> None:
    running = [s for s in bench.searches if not s.future.done()]
    if running and how == "finish":
        running[-1].finish()
    elif running and how == "fail":
        running[-1].fail(AgentError("no contrast"))
    elif running and running[-1].told_to_end:
        running[-1].heed()


def say(bench: Bench, what: str, instrument: str) -> None:
    if what == "leave":
        bench.dispatch.limits.pop(instrument, None)
    elif what == "command":
        bench.decider.interrupt()
    else:
        bench.states[instrument] = "stopped" if what == "stop" else "running"
        bench.decider.news()


async def to_the_end(bench: Bench) -> None:
    """Everybody is there and may go on; every search comes to its end."""
    bench.states.clear()
    for instrument in INSTRUMENTS:
        bench.connect(instrument)
    for _ in range(20):
        await asyncio.sleep(12.0)
        bench.decider.news()
        await bench.settle()
        for search in [s for s in bench.searches if not s.future.done()]:
            search.finish()
        await bench.settle()


def check(bench: Bench) -> None:
    fates: dict[tuple[str, str], list[str]] = {}
    for event in bench.history.events():
        if event.kind == kinds.DECISION_MADE:
            fate = "superseded" if event.body.get("superseded_by") else "decided"
            fates.setdefault((event.body["instrument_id"], event.body["scan_id"]), []).append(fate)
        elif event.kind == kinds.SEARCH_CANCELLED:
            assert event.body["reason"]
            fates.setdefault((event.body["instrument_id"], event.subject), []).append("cancelled")
    ledger = bench.dispatch.ledger
    assert set(fates) == set(ledger.scans)
    assert all(len(fate) == 1 for fate in fates.values()), fates
    for instrument in INSTRUMENTS:
        newest = ledger.latest(instrument)
        assert newest is None or fates[instrument, newest.scan_id] == ["decided"]
    deepened = [e.body["of"] for e in bench.history.events(kind=kinds.DECISION_DEEPENED)]
    assert len(set(deepened)) == len(deepened)


@pytest.mark.parametrize("when_newer", ["cancel", "finish"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_each_scan_ends_in_one_way_and_the_newest_of_each_instrument_is_always_decided_on(
    tmp_path_factory: pytest.TempPathFactory, when_newer: str, steps: list[tuple[str, str, str, bool]]
) -> None:
    async def scenario(path: Path) -> None:
        async with Bench(path, INSTRUMENTS, when_newer=when_newer, deep=True) as bench:
            for number, step in enumerate(steps):
                await do(bench, number, step)
                # Never more than one that is waited for; others were left to themselves.
                waited_for = [s for s in bench.searches if not s.future.done() and not s.told_to_end]
                assert len(waited_for) <= 1
            await to_the_end(bench)
            check(bench)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)  # nothing is killed here
        run(scenario(tmp_path_factory.mktemp("run")))
