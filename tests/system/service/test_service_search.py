"""Rungs, deadlines, earlier decisions and unfinished work in the service, with real searches."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agent.config.model import Config
from agent.config.quality import QualitySettings
from agent.representation.tasks import FittedRepresentation, RepresentTask
from agent.schema import event_kinds as kinds
from agent.schema.decision import DecisionRecord
from agent.search.task_cache import TaskCache
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, scan_packet
from instrument_adapters.scan import Scan
from tests.agent.search.test_search import scan_of
from tests.support.data.images import two_textures
from tests.support.samples import NOW, result
from tests.system.bench import config, connected, events, recorded

LONGEST_S = 60.0


def quick(**search: Any) -> Config:
    """Configuration of a search that takes two seconds in the calling thread."""
    sections = {
        "search": {"windows_px": [5], "invariances": ["r"], "seeds": 2, "workers": 0, "drop_elbo_per_px": 1} | search,
        "train": {"steps": 60},
        "guards": {"collapse_below": 0, "elbo_gap_per_px": 1},
        "warm": {"gap_per_px": 1},
        "reward_options": {"restarts": 2, "components": [1, 2, 3]},
    }
    return Config.model_validate(sections | {"service": config().service.model_dump()})


def named(scan_id: str, seed: int = 0) -> Scan:
    scan = scan_of(two_textures(96, seed=seed))
    return Scan(scan.channels, scan.units, scan.frame, scan_id, "pto")


async def decided(bench: Any, scan: Scan) -> wire.RecommendationMessage:
    await bench.say(scan_packet(scan, wire.Heartbeat(id=f"m-{scan.scan_id}", sent_at=NOW)))
    async with asyncio.timeout(LONGEST_S):
        while True:
            try:
                recommendation = await bench.hear(wire.RecommendationMessage)
            except TimeoutError:
                continue
            if recommendation.scan_id == scan.scan_id:  # not the unacknowledged one of the previous scan
                return recommendation


def decisions(run: Path) -> list[DecisionRecord]:
    return [DecisionRecord.model_validate(e.body["decision"]) for e in events(run, kinds.DECISION_MADE)]


def test_the_next_scan_of_a_sample_makes_a_warm_start_also_after_a_restart(tmp_path: Path) -> None:
    async def scenario(scan: Scan) -> None:
        async with connected(tmp_path, quick()) as bench:
            await decided(bench, scan)

    for i in range(2):
        asyncio.run(scenario(named(f"scan-{i}", seed=i)))
    first, second = decisions(tmp_path)
    assert first.warm_from is None
    assert first.cold_because == "no earlier decision on this sample"
    assert second.warm_from == first.decision_id
    assert not (tmp_path / "work").exists()


def test_a_sample_whose_last_decision_cannot_be_read_back_makes_a_cold_start(tmp_path: Path) -> None:
    async def scenario(scan: Scan) -> None:
        async with connected(tmp_path, quick()) as bench:
            await decided(bench, scan)

    asyncio.run(scenario(named("scan-0")))
    (event,) = events(tmp_path, kinds.DECISION_MADE)
    weights = next(digest for name, digest in event.arrays.items() if name.startswith("weights:"))
    (path,) = (tmp_path / "arrays").rglob(f"*{weights[-16:]}*")
    path.unlink()

    async def again() -> None:
        async with connected(tmp_path, quick()) as bench:
            await decided(bench, named("scan-1", seed=1))

    asyncio.run(again())
    first, second = decisions_unverified(tmp_path)
    assert second.warm_from is None
    assert second.cold_because == first.cold_because


def decisions_unverified(run: Path) -> list[DecisionRecord]:
    """Decisions of a run that has lost an array."""
    from agent.history.event_log import History

    with History(run, read_only=True) as history:
        return [DecisionRecord.model_validate(e.body["decision"]) for e in history.events(kind=kinds.DECISION_MADE)]


def test_results_on_a_sample_reach_the_decision_on_its_next_scan(tmp_path: Path) -> None:
    def outcome_of(request: wire.MeasurementRequest, i: int) -> Packet:
        if i == 0:
            return result(request.request_id, "failed", f"m-result-{i}")
        parameters = {"width_V": float(i), "area_pmV": 2.0 * i} if i != 1 else {"width_V": 0.5}
        return result(request.request_id, message_id=f"m-result-{i}", x_m=request.x_m, y_m=request.y_m, parameters=parameters)

    async def scenario() -> int:
        again = {"quality": QualitySettings(actions={"repeated": "warn"})}
        async with connected(tmp_path, quick(families=["pca"], seeds=1).model_copy(update=again)) as bench:
            first = await decided(bench, named("scan-0"))
            for i, request in enumerate(first.requests):
                await bench.ask(outcome_of(request, i), wire.Ack)
            await decided(bench, named("scan-1"))
        return len(first.requests)

    count = asyncio.run(scenario())
    assert count > 4
    first, second = decisions(tmp_path)
    assert (first.results_used, first.results_left_out, first.evidence_weight) == (0, {}, None)
    assert second.results_used == count - 2
    assert second.evidence_weight == 0  # fewer than 20
    assert {c.metrics["results_used"] for c in second.candidates if c.value is not None} == {count - 2}
    assert second.results_left_out == {"failed": 1, "lacking_a_parameter": 1}
    assert second.points_measured_before == count


def test_at_the_deadline_the_instrument_gets_the_best_so_far(tmp_path: Path) -> None:
    settings = quick(workers=1, deadline_s=8.0)
    settings = settings.model_copy(update={"train": settings.train.model_copy(update={"steps": 10_000_000})})

    async def scenario() -> tuple[float, wire.RecommendationMessage]:
        async with connected(tmp_path, settings) as bench:
            clock = asyncio.get_running_loop().time
            before = clock()
            recommendation = await decided(bench, named("scan-0"))
            return clock() - before, recommendation

    seconds, recommendation = asyncio.run(scenario())
    assert recommendation.requests
    assert 7.0 < seconds < 10.0
    (record,) = decisions(tmp_path)
    assert record.ended_early
    assert record.rungs == ["plain"]


def test_work_that_a_stopped_agent_had_finished_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    put = TaskCache.put

    def counting(self: TaskCache, image: str, task: RepresentTask, result: Sequence[FittedRepresentation]) -> None:
        made.append(f"{task.train.steps} steps")
        put(self, image, task, result)

    monkeypatch.setattr(TaskCache, "put", counting)
    settings = quick(invariances=["v", "r"])

    async def stopped_in_the_middle() -> None:
        async with connected(tmp_path, settings) as bench:
            await bench.say(scan_packet(named("scan-0"), wire.Heartbeat(id="m-1", sent_at=NOW)))
            async with asyncio.timeout(LONGEST_S):
                while len(made) < 3:
                    await asyncio.sleep(0.002)

    asyncio.run(stopped_in_the_middle())
    before = list(made)
    assert 3 <= len(before) <= 4
    assert not decisions(tmp_path)
    # A second agent on a copy of the run makes the same decision, without the finished tasks.
    shutil.copytree(tmp_path, tmp_path.parent / "copy", ignore=shutil.ignore_patterns("work"))

    async def continued(run: Path) -> None:
        async with connected(run, settings):
            await recorded(run, kinds.DECISION_MADE)

    asyncio.run(continued(tmp_path))
    assert len(made) == 4
    asyncio.run(continued(tmp_path.parent / "copy"))
    assert len(made) == 8
    assert decisions(tmp_path) == decisions(tmp_path.parent / "copy")
