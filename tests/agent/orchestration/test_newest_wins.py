"""Property test: the newest scan is decided on, whatever arrives in whatever order and however searches end."""

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
            (
                *["scan"] * 6,
                *["finish"] * 4,
                "end_cancelled",
                "end_cancelled",
                "fail",
                "hang",
                "wait",
                "stop",
                "resume",
                "command",
                "leave",
            )
        ),
        st.sampled_from(INSTRUMENTS),
        st.sampled_from(("bto", "pto")),
        st.booleans(),  # whether the service wakes the orchestrator, or the wake-up is lost
    ),
    min_size=10,
    max_size=40,
)


async def do(bench: Bench, number: int, step: tuple[str, str, str, bool]) -> None:
    what, instrument, sample_id, wake = step
    if what == "scan":
        if instrument not in bench.dispatcher.presence.connected():
            bench.connect(instrument)
        await bench.scan(f"s-{number}", instrument, sample_id, wake=wake)
    elif what in ("finish", "fail", "end_cancelled"):
        end(bench, what)
    elif what in ("hang", "wait"):
        await asyncio.sleep(12.0 if what == "hang" else 70.0)  # longer than a cancelled search may take; until the agent is idle
        bench.orchestrator.wake()
    else:
        apply(bench, what, instrument)
    await bench.settle()


def end(bench: Bench, how: str) -> None:
    running = [s for s in bench.searches if not s.future.done()]
    if running and how == "finish":
        running[-1].finish()
    elif running and how == "fail":
        running[-1].fail(AgentError("no contrast"))
    elif running and running[-1].cancelled:
        running[-1].end_cancelled()


def apply(bench: Bench, what: str, instrument: str) -> None:
    if what == "leave":
        bench.dispatcher.presence.disconnect(instrument)
    elif what == "command":
        bench.orchestrator.interrupt()
    else:
        bench.states[instrument] = "stopped" if what == "stop" else "running"
        bench.orchestrator.wake()


async def finish_all(bench: Bench) -> None:
    """Connect and resume all instruments, and let every search end."""
    bench.states.clear()
    for instrument in INSTRUMENTS:
        bench.connect(instrument)
    for _ in range(20):
        await asyncio.sleep(12.0)
        bench.orchestrator.wake()
        await bench.settle()
        for search in [s for s in bench.searches if not s.future.done()]:
            search.finish()
        await bench.settle()


def check(bench: Bench) -> None:
    outcomes: dict[tuple[str, str], list[str]] = {}
    for event in bench.history.events():
        if event.kind == kinds.DECISION_MADE:
            outcome = "superseded" if event.body.get("superseded_by") else "decided"
            outcomes.setdefault((event.body["instrument_id"], event.body["scan_id"]), []).append(outcome)
        elif event.kind == kinds.SEARCH_CANCELLED:
            assert event.body["reason"]
            outcomes.setdefault((event.body["instrument_id"], event.subject), []).append("cancelled")
    ledger = bench.dispatcher.ledger
    assert set(outcomes) == set(ledger.scans)
    assert all(len(outcome) == 1 for outcome in outcomes.values()), outcomes
    for instrument in INSTRUMENTS:
        newest = ledger.latest(instrument)
        assert newest is None or outcomes[instrument, newest.scan_id] == ["decided"]
    deepened = [e.body["of"] for e in bench.history.events(kind=kinds.DECISION_DEEPENED)]
    assert len(set(deepened)) == len(deepened)


@pytest.mark.slow
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
                # At most one search is waited for; others were cancelled and may still be running.
                waited_for = [s for s in bench.searches if not s.future.done() and not s.cancelled]
                assert len(waited_for) <= 1
            await finish_all(bench)
            check(bench)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)  # nothing is killed here
        run(scenario(tmp_path_factory.mktemp("run")))
