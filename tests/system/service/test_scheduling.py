"""Deeper searches, and searches that hang, with real searches."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from agent.config.model import Config, load_config
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import scan_packet
from tests.support.samples import NOW, hello
from tests.system.bench import LONGEST_S, Bench, connected, events, instrument, serving
from tests.system.service.test_service_search import decided, decisions, named, quick

SEARCH_S = 60.0
HANGS = """
import os, time
from pathlib import Path

def hang(representation, *, rng):
    Path(__file__).with_name("pid").write_text(str(os.getpid()))
    time.sleep(3600)
"""


def deep(config: Config, **schedule: Any) -> Config:
    """A configuration that deepens at once, with a quick and rough search."""
    given = {"deep": True, "idle_after_s": 0.0} | schedule
    rough = {
        "train": config.train.model_copy(update={"steps": 20}),
        "reward_options": {"restarts": 1, "components": [1, 2]},
        "schedule": config.schedule.model_copy(update=given),
    }
    return config.model_copy(update=rough)


def test_while_no_scan_waits_a_decision_is_deepened_and_the_next_scan_starts_from_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with connected(tmp_path, deep(quick(), deep_seeds=3)) as bench:
            await decided(bench, named("scan-0"))
            async with asyncio.timeout(SEARCH_S):
                while not events(tmp_path, kinds.DECISION_DEEPENED):
                    await asyncio.sleep(0.1)
            await decided(bench, named("scan-1", seed=1))

    asyncio.run(scenario())
    first, second = decisions(tmp_path)
    deepened = events(tmp_path, kinds.DECISION_DEEPENED)[0]
    assert deepened.body["of"] == first.decision_id
    assert deepened.body["decision"]["warm_from"] == first.decision_id
    assert second.warm_from == deepened.subject
    assert f"models of decision {deepened.subject}, a deeper search" in second.explanation
    sent = {e.subject for e in events(tmp_path, kinds.RECOMMENDATION_SENT)}
    assert sent == {first.decision_id, second.decision_id}


def test_a_deeper_search_gives_way_to_a_new_scan(tmp_path: Path) -> None:
    settings = deep(quick(workers=1), deep_seeds=50, deep_steps_factor=100.0)

    async def scenario() -> float:
        async with serving(tmp_path, settings) as (service, state):
            with instrument(state["bind"]) as bench:
                await bench.ask(hello(), wire.Welcome)
                await decided(bench, named("scan-0"))
                async with asyncio.timeout(LONGEST_S):
                    while service._orchestrator._deepening is None:
                        await asyncio.sleep(0.01)
                await asyncio.sleep(1.0)  # so that training has begun
                await send(bench, "scan-1")
                before = time.monotonic()
                async with asyncio.timeout(LONGEST_S):
                    while service._orchestrator._queue.current is None:
                        await asyncio.sleep(0.005)
                return time.monotonic() - before

    assert asyncio.run(scenario()) < 60  # to its end it would take an hour
    assert events(tmp_path, kinds.DECISION_DEEPENED) == []


async def send(bench: Bench, scan_id: str) -> None:
    await bench.ask(scan_packet(named(scan_id, seed=1), wire.Heartbeat(id=f"m-{scan_id}", sent_at=NOW)), wire.Ack)


def test_a_reward_that_never_comes_back_is_ended_with_its_process_and_the_scan_is_answered(tmp_path: Path) -> None:
    (tmp_path / "hanging_lab.py").write_text(HANGS)
    (tmp_path / "hanging_lab.toml").write_text('reward = "hanging_lab:hang"\n')
    plain = quick(families=["pca"], seeds=1, workers=1, longest_s=6.0)
    config = load_config(tmp_path / "hanging_lab.toml")
    config = config.model_copy(update={"search": plain.search, "service": plain.service})

    async def scenario() -> wire.RecommendationMessage:
        async with connected(tmp_path / "run", config) as bench:
            return await decided(bench, named("scan-0"))

    before = time.monotonic()
    answer = asyncio.run(scenario())
    assert time.monotonic() - before < 30
    assert answer.requests == ()
    assert "did not end within 6 s (search.longest_s)" in answer.reason
    if (tmp_path / "pid").exists():  # otherwise the computer was too busy to start the task
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists() or os.name != "posix"
