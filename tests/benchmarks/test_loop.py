"""Benchmark of the closed loop: figures checked by hand, the bound of the oracle, and one small world from end to end."""

import math
from typing import Any

import numpy as np
import pytest
from scipy.spatial import cKDTree

from agent.config.model import Config
from benchmarks.loop import orders as loop_orders
from benchmarks.loop import study as loop
from benchmarks.loop.microscope import HITS, NEAR_M, Bench, Sample, Visit, loops_needed
from benchmarks.loop.value import Judge
from benchmarks.realism.loop_statistics import describe, noise_of, simulated, spiked, two_steps
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.spectroscopy import Loop, SpectroscopyConfig
from simulators.sample.domains import WALL_TYPES, WallType
from simulators.tiers import tier

pytestmark = pytest.mark.slow

PLAIN = {"families": ["polar"], "windows_px": [15], "seeds": 1, "workers": 0}


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample.grown("clean", 0, cap=60)


@pytest.fixture(scope="module")
def bench(sample: Sample) -> Bench:
    return Bench(sample)


def test_the_count_ends_with_the_loop_that_completes_the_last_type() -> None:
    hits = [1, 1, 0, 2, 2, 1, 6, 2]
    assert loops_needed(hits, (1, 2), least=3) == 8
    assert loops_needed(hits, (1, 2), least=2) == 5
    assert loops_needed(hits, (1, 2, 6), least=2) is None
    assert loops_needed(hits, (1,), least=3) == 6


def test_the_sample_is_the_tiers_world_bit_for_bit_and_its_loops_take_twelve_seconds(sample: Sample, bench: Bench) -> None:
    scan = SimulatedMFP3D(tier("clean", 0)).scan()
    for name, image in scan.channels.items():
        np.testing.assert_array_equal(image, bench.first[0].channels[name])
    loops = Bench(sample)
    before, places = loops.instrument.clock.elapsed_s, loop_orders.grid(loops, np.random.default_rng(0))
    for _ in range(20):
        assert loops.measure(*next(places))
    assert loops.instrument.clock.elapsed_s - before == pytest.approx(240, abs=6)


def test_types_that_can_be_hit_have_five_places_that_are_far_enough_apart(sample: Sample) -> None:
    assert set(sample.types) == set(WALL_TYPES)
    one_wall = Sample(sample.config, sample.surface)
    vars(one_wall)["wall_xy"] = {1: sample.wall_xy[1], 2: sample.wall_xy[2][:1], 3: np.empty((0, 2))}
    assert one_wall.types == (1,)


def test_a_place_that_the_instrument_refuses_is_no_loop(sample: Sample) -> None:
    loops = Bench(sample)
    x_m, y_m = sample.config.frame.x_offset_m, sample.config.frame.y_offset_m
    assert loops.measure(x_m, y_m)
    assert not loops.measure(x_m + 50e-9, y_m)
    assert len(loops.visits) == 1


def test_a_hit_is_a_wall_within_15_nm_of_where_the_tip_truly_was_and_not_an_earlier_spot(sample: Sample) -> None:
    loops = Bench(sample)
    walls = sample.wall_xy[WallType.HERRINGBONE]
    others = np.concatenate([xy for wall, xy in sample.wall_xy.items() if wall != WallType.HERRINGBONE])
    alone = walls[cKDTree(others).query(walls)[0] > 40e-9]
    for place in alone[[0, -1]]:
        assert loops.measure(*(2 * place - loops.instrument.true_position(place[None])[0]))
    assert [one.hit for one in loops.visits] == [WallType.HERRINGBONE] * 2
    truth = sample.surface.truth_at(np.array([one.true_m for one in loops.visits]))
    assert truth.distance_m.max() <= NEAR_M
    assert loops._hit(loops.visits[0].true_m) == WallType.NONE  # the spot of the first loop


def test_the_oracle_needs_hardly_more_loops_than_there_are_to_be_hits(sample: Sample) -> None:
    done = loop.follow(lambda b: loop_orders.oracle(b, np.random.default_rng(0)), sample, cap=60, least=0)
    needed = loops_needed([one.hit for one in done.visits], sample.types)
    assert needed is not None
    assert HITS * len(sample.types) <= needed <= HITS * len(sample.types) + 5


def test_a_grid_is_visited_coarse_to_fine_and_each_node_once(bench: Bench) -> None:
    xy = np.array(list(loop_orders.grid(bench, np.random.default_rng(0))))
    assert len(np.unique(xy.round(12), axis=0)) == loop_orders.GRID_LINES**2
    assert bench.scan.frame.contains(xy).all()
    quadrants = (xy[:8] > xy.mean(axis=0)) @ [1, 2]
    assert len(set(quadrants.tolist())) == 4


def test_what_follows_from_patch_and_place_is_predicted_and_noise_is_not(sample: Sample, bench: Bench) -> None:
    judge = Judge(sample, *bench.first)
    rng = np.random.default_rng(0)
    rows = rng.choice(256**2, 300, replace=False)
    rc = np.stack(np.divmod(rows, 256), axis=1)
    of_place = np.sin(rc / 60.0)
    predicted = judge.predict(rows, of_place)
    truth = np.sin(np.stack(np.divmod(judge._held_out, 256), axis=1) / 60.0)
    assert ((predicted - truth) ** 2).mean() < 0.1 * truth.var()
    noise = judge.predict(rows, rng.standard_normal((300, 2)))
    assert noise.std() < 0.3
    assert judge.r2([]) == 0


def run_of(n5: int | None, r2: float) -> dict[str, Any]:
    missing = [] if n5 else ["STRIPE"]
    return {
        "n5": n5,
        "hours": 1.0,
        "loops": 300,
        "on_wall": 0.5,
        "failed": 0.1,
        "missing": missing,
        "hits": {"STRIPE": 7},
        "r2": [r2] * 4,
    }


def world_of(seed: int, **n5: int | None) -> dict[str, Any]:
    runs = {name: run_of(100, 0.1) for name in loop_orders.POLICIES}
    runs |= {getattr(loop_orders, name.upper()): run_of(count, 0.3) for name, count in n5.items()}
    return {"seed": seed, "types": ["STRIPE"] * 6, "outcome": "types_found", "chosen": "x", "policies": runs, "cpu_s": 1.0}


def test_a_censored_run_counts_as_more_than_any_other_in_a_median() -> None:
    assert loop.median(np.array([10.0, math.inf, 30.0])) == 30
    assert loop.median(np.array([10.0, math.inf, math.inf])) is None
    assert loop.median(np.array([10.0, 20.0])) == 15
    assert loop.median_interval(np.array([10.0, 10.0])) == "10 - 10"
    assert "> 300" in loop.median_interval(np.array([10.0, math.inf, math.inf]))


def test_figures_follow_from_the_worlds() -> None:
    worlds = [world_of(1, agent=80, random=200, grid=90), world_of(2, agent=120, random=None, grid=90), world_of(3, agent=90)]
    outcome = loop.report({"easy": worlds}, quick=True)
    figures = outcome.figures
    assert (figures["n5_easy"], figures["n5_random_easy"], figures["n5_oracle_easy"], figures["n5_grid_easy"]) == (
        90,
        200,
        100,
        90,
    )
    assert figures["loops_saved_over_random_easy"] == pytest.approx((120 + 180 + 10) / 3)
    assert figures["loops_saved_over_grid_easy"] == pytest.approx((10 - 30 + 10) / 3)
    assert figures["r2_50_easy"] == pytest.approx(0.3)
    assert figures["r2_50_random_easy"] == pytest.approx((0.3 + 0.3 + 0.1) / 3)
    assert outcome.tables["easy: hits of the first 100 loops, mean"][0]["STRIPE"] == 7
    row = next(row for row in outcome.tables["easy: loops needed"] if row["policy"] == loop_orders.RANDOM)
    assert (row["not reached"], row["types missing"]) == (1, "STRIPE 1")


def test_a_median_beyond_the_cap_is_missing_with_the_reason() -> None:
    outcome = loop.report({"easy": [world_of(1, agent=None), world_of(2, agent=None)]}, quick=False)
    assert outcome.figures["n5_easy"] is None
    assert "within 300 loops" in outcome.missing["n5_easy"]


def test_one_world_from_end_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_orders, "BATCH", 10)
    config = Config.model_validate({"search": PLAIN, "recommend": {"points": 12}})
    found = loop.world("clean", 0, config, cap=12, counts=(10,))
    assert len(found["types"]) == 6
    runs = found["policies"]
    assert set(runs) == set(loop_orders.POLICIES)
    assert {run["loops"] for run in runs.values()} == {12}
    assert runs[loop_orders.ORACLE]["on_wall"] > 0.9
    assert all(run["n5"] is None and run["missing"] and run["r2"][0] <= 1 for run in runs.values())


def test_later_searches_keep_the_kind_and_the_window_of_the_first(bench: Bench) -> None:
    config = Config.model_validate({"search": PLAIN})
    first = loop_orders.decide(config, bench)
    later = loop_orders.narrowed(Config(), first)
    assert (later.search.families, later.search.windows_px) == (("polar",), (15,))
    assert later.recommend.points == loop_orders.BATCH


def test_the_statistics_of_loops_find_what_was_put_in() -> None:
    """With 200 loops each, all shares differ by more than five standard errors."""
    quiet = SpectroscopyConfig(failure_rate=0, spike_rate=0, noise=0.02)
    quiet = quiet.model_copy(update={"loop": quiet.loop.model_copy(update={"two_step_share": 0.0})})
    spiky = quiet.model_copy(update={"spike_rate": 1.0})
    stepped = quiet.model_copy(update={"loop": quiet.loop.model_copy(update={"two_step_share": 1.0})})
    rng = np.random.default_rng(0)
    few, many = (np.mean([spiked(one) for one in simulated(config, 200, rng)]) for config in (quiet, spiky))
    assert few < 0.05 < 0.3 < many
    few, many = (np.mean([two_steps(one, rising=True) for one in simulated(config, 200, rng)]) for config in (quiet, stepped))
    assert few < 0.1 < 0.4 < many
    assert describe(simulated(quiet.model_copy(update={"failure_rate": 0.5}), 200, rng))["failed"] == pytest.approx(0.5, abs=0.15)


def test_noise_of_a_loop_is_its_standard_deviation() -> None:
    """4,000 steps: the estimate's standard error is 2 %; 10 % fails once in a million seeds."""
    noise = 3.0 * np.random.default_rng(0).standard_normal(4000)
    assert noise_of(Loop(np.linspace(-1, 1, 4000), noise)) == pytest.approx(3.0, rel=0.1)


def test_failed_loops_are_not_used_for_prediction(sample: Sample, bench: Bench) -> None:
    x_m, y_m = sample.config.frame.x_offset_m, sample.config.frame.y_offset_m
    failed = Visit((x_m, y_m), (x_m, y_m), 0.0, 0, {})
    assert Judge(sample, *bench.first).r2([failed] * 20) == 0
