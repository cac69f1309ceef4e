"""Writes a small run of the real service, for tests that later code reads it.

    PYTHONPATH=<a checkout> python tests/golden/history/make.py <new directory>

The checkout may be an old one: v1 was written by commit 8765ab3 (wire 1, schema 1).
"""

import asyncio
import json
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from agent.config import Config
from agent.workflow.quality_settings import QualitySettings
from instrument_adapters import messages as wire
from instrument_adapters.codec import scan_packet, specs
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from tests.agent.samples import NOW, ack, packet
from tests.agent.workflow.images import two_textures
from tests.system.bench import Bench, config, hello, instrument, serving

SIDE_PX = 64
FRAME_S = 300


def settings() -> Config:
    """A search of a second, in the calling process."""
    sections = {
        "search": {
            "windows_px": [5],
            "invariances": ["r"],
            "seeds": 2,
            "workers": 0,
            "families": ["pca"],
            "plain_latent_dim": 3,
            "drop_elbo_per_px": 1,
        },
        "train": {"steps": 40},
        "guards": {"collapse_below": 0, "elbo_gap_per_px": 1, "min_points": 40},
        "warm": {"gap_per_px": 1},
        "scan": {"channels": ["amplitude"], "spacing_px": 2},
        "reward_options": {"restarts": 2, "components": [1, 2, 3]},
        "rule": {"least_information": 0.0, "groups": False},
        "evidence": {"fewest_results": 3},
        "recommend": {"points": 5},
        "quality": QualitySettings(actions={"repeated": "rescan"}).model_dump(),
    }
    return Config.model_validate(sections | {"service": config().service.model_dump()})


def scan(number: int, image: np.ndarray, sample_id: str = "bto") -> Scan:
    """One channel, with its times."""
    frame = Frame(size_fast_m=2e-6, size_slow_m=2e-6, x_offset_m=5e-6, y_offset_m=-3e-6, rows=SIDE_PX, cols=SIDE_PX)
    began = NOW + timedelta(seconds=1000 * number)
    times = {"started_at": began, "finished_at": began + timedelta(seconds=FRAME_S)}
    return Scan(
        {"Amplitude1Retrace": image},
        {"Amplitude1Retrace": "m"},
        frame,
        f"scan-{number}",
        sample_id,
        metadata={"ScanDown": "0", "operator": "Łukasz"},
        **times,
    )


def picture(seed: int, moved_px: int = 0) -> np.ndarray:
    """Two textures, in picometres, moved along the columns."""
    wide = two_textures(SIDE_PX + 8, seed=0)[:SIDE_PX, moved_px : moved_px + SIDE_PX]
    noise = np.random.default_rng(seed).standard_normal(wide.shape)
    return (1e-10 * (1 + wide + 0.02 * noise)).astype(np.float32)


async def decided(bench: Bench, said: Scan) -> wire.RecommendationMessage:
    """The recommendation on a scan, acknowledged."""
    await bench.ask(scan_packet(said, wire.Heartbeat(id=f"m-{said.scan_id}", sent_at=NOW)), wire.Ack)
    while True:
        try:
            recommendation = await bench.hear(wire.RecommendationMessage)
        except TimeoutError:
            continue
        if recommendation.scan_id == said.scan_id:
            await bench.say(ack(recommendation.id))
            return recommendation


async def measure(bench: Bench, recommendation: wire.RecommendationMessage, at_s: float) -> None:
    """A loop for each place, but for one that failed and one that was skipped."""
    for i, r in enumerate(recommendation.requests):
        fields, arrays = {"status": "ok", "x_m": r.x_m, "y_m": r.y_m, "measured_at": NOW + timedelta(seconds=at_s + 12 * i)}, {}
        if i in (1, 2):
            fields = {"status": "failed" if i == 1 else "skipped", "reason": "the tip was lifted" if i == 1 else "out of time"}
        else:
            bias = np.linspace(-5, 5, 16)
            arrays = {"bias_V": bias, "response": np.tanh(bias - r.cluster)}
            fields["parameters"] = {"coercive_V": 2.5 + 0.5 * r.cluster + 0.01 * i, "area_pmV": 10.0 + r.cluster}
        message = wire.ResultMessage(
            id=f"res-{r.request_id}", sent_at=NOW, arrays=specs(arrays), request_id=r.request_id, **fields
        )
        await bench.ask(packet(message, arrays), wire.Ack)


async def first_day(run: Path) -> None:
    """Two decisions on a sample, the second from the first one's weights and results; a refusal; a scan of another instrument."""
    async with serving(run, settings()) as (_, state):
        with instrument(state["bind"], "afm-1") as bench, instrument(state["bind"], "afm-2") as other:
            await bench.ask(hello("afm-1", spacing_min_m=50e-9), wire.Welcome)
            await bench.ask([b"not json"], wire.Refused)
            await measure(bench, await decided(bench, scan(1, picture(1))), 400)
            await measure(bench, await decided(bench, scan(2, picture(2, 1))), 1400)
            await other.ask(hello("afm-2", "hello-2", points_max=3), wire.Welcome)
            await decided(other, scan(3, picture(1), "pzt"))
            await bench.ask(packet(wire.Bye(id="bye-1", sent_at=NOW, reason="end of the day")), wire.Ack)


async def second_day(run: Path) -> None:
    """After a restart: a decision on what the history holds, a frame that was sent twice, one without contrast, one overtaken."""
    async with serving(run, settings()) as (_, state):
        with instrument(state["bind"], "afm-1") as bench:
            await bench.ask(hello("afm-1", "hello-3", spacing_min_m=50e-9, points_max=5), wire.Welcome)
            await decided(bench, scan(4, picture(4, 2)))
            await decided(bench, replace(scan(5, picture(4, 2)), scan_id="scan-5"))
            flat = scan(6, np.full((SIDE_PX, SIDE_PX), 1e-10, np.float32), "mica")
            await decided(bench, flat)
            await bench.ask(scan_packet(scan(7, picture(1)), wire.Heartbeat(id="m-7", sent_at=NOW)), wire.Ack)
            await decided(bench, scan(8, picture(2, 1)))


def main() -> None:
    """Both days, and a word on what there is."""
    run = Path(sys.argv[1])
    asyncio.run(first_day(run))
    asyncio.run(second_day(run))
    sizes = {str(p.relative_to(run)): p.stat().st_size for p in sorted(run.rglob("*")) if p.is_file()}
    sys.stdout.write(json.dumps(sizes, indent=1) + f"\n{sum(sizes.values())} bytes\n")


if __name__ == "__main__":
    main()
