"""A small closed loop with the real service: every decision can be repeated from the history alone."""

import asyncio
from pathlib import Path

from agent.config.retention import RetentionSettings
from agent.history.event_log import History
from agent.history.readers import decision_in
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire
from tests.support.history.golden_scenario import decided, measure, picture, scan, settings
from tests.support.history.retention import retain
from tests.system.bench import connected
from tests.system.commands import vaestar


def run_loop(run: Path) -> None:
    """Two scans with results and VAEs among the candidates, the second search warm-started from the first; after a restart a
    third scan with a cold start.
    """
    search = settings().search.model_copy(update={"families": ("vae", "pca"), "seeds": 1})
    warm = settings().warm.model_copy(update={"gap_per_px": 1.0, "cold_every": 2})
    config = settings().model_copy(update={"search": search, "warm": warm})

    async def first() -> None:
        async with connected(run, config, spacing_min_m=50e-9) as bench:
            await measure(bench, await decided(bench, scan(1, picture(1))), 400)
            await measure(bench, await decided(bench, scan(2, picture(2, 1))), 1400)

    async def second() -> None:
        async with connected(run, config, points_max=2) as bench:
            await decided(bench, scan(3, picture(3, 2)))

    asyncio.run(first())
    asyncio.run(second())


def test_every_decision_of_a_closed_loop_comes_out_the_same_again_also_after_retention(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run_loop(run)
    with History(run) as history:
        first, second, third = (decision_in(history, e).record for e in history.events(kind=kinds.DECISION_MADE))
        assert (first.warm_from, second.warm_from) == (None, first.decision_id)
        assert third.cold_because == "a cold start is due every 2 scans (warm.cold_every)"
        assert second.drift.nm_per_min is not None
        late = max(e.recorded_at for e in history.events())
        event = retain(history, RetentionSettings(keep_days=0, keep_latents=False, keep_weights=False), late)
        gone = {(entry["seq"], entry["name"].split(":")[0]) for entry in event.body["released"]}
        made = [e.seq for e in history.events(kind=kinds.DECISION_MADE)]
        # The second search used the first one's weights, none used the second one's, and a later one may use the third one's.
        assert gone == {*((seq, "latents") for seq in made), (made[1], "weights")}
        report = history.inspect()
        assert report.faults == []
        assert report.remarks == [f"{len(event.body['released'])} arrays were released on purpose (event {event.seq})"]
    done = vaestar("history", "replay", "--all", "--workers", 0, "--run", run)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("3 decisions: 3 identical, 0 different\n")


def test_a_run_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    from tests.support.history.golden_runs import golden_run

    run = golden_run(tmp_path, "v1")

    async def scenario() -> wire.RecommendationMessage:
        async with connected(run, settings(), points_max=2) as bench:
            return await decided(bench, scan(9, picture(9)))

    recommendation = asyncio.run(scenario())
    assert len(recommendation.requests) == 2
    with History(run, read_only=True) as history:
        assert history.verify() == []
        last = list(history.events(kind=kinds.DECISION_MADE))[-1]
        assert last.body["asked"]["previous"] is not None
        assert last.body["decision"]["points_measured_before"] == 8
