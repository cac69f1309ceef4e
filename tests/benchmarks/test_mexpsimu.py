"""The benchmark on real loops: loop parameters, prediction, policies and report."""

from pathlib import Path

import numpy as np
import pytest

from agent.config.recommendation import RecommendSettings
from benchmarks.harness.commandline import CannotRunError
from benchmarks.harness.real_loops import NAMES, loop_classes, loop_parameters, read_real_loops
from benchmarks.loop import mexpsimu
from benchmarks.loop import mexpsimu_report as reporting
from benchmarks.loop import policies as loop_policies
from benchmarks.loop.feedback import closed_loop_places
from benchmarks.loop.oracle import BLOCKS_PER_SIDE, FOLDS, blocked_folds, forest_r2, oracle_places
from benchmarks.loop.prediction import Predictor, pixel_features
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.replay.mexpsimu import loop_numbers, mean_loops
from tests.support.samples import decision

STEPS = np.arange(32)
BIAS_V = 12 * np.interp(STEPS % 16, [0, 4, 12, 16], [0, 1, -1, 0])  # two cycles of 16 steps, from 0 up


def films(side: int = 24) -> np.ndarray:
    """Loops (side, side, 32) of two cycles, whose height is a wave over the film; the first cycle is ten times larger."""
    wave = np.sin(np.arange(side) / 3)[:, None] + np.cos(np.arange(side) / 4)
    loop = np.where(np.diff(BIAS_V, append=0.0) > 0, -1.0, 1.0)
    return (wave[..., None] + 3) * loop * np.where(STEPS < 16, 10.0, 1.0) + 0.01 * np.sin(STEPS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        np.savez(tmp_path / f"PTO_BEPS_{name}.npz", spectra=films(), vstep=BIAS_V, image=np.zeros((24, 24)))
    return tmp_path


def test_the_image_is_the_first_point_and_the_loop_is_of_the_later_cycles(folder: Path) -> None:
    data = read_real_loops("3um", folder)
    assert np.array_equal(data.image, np.abs(films()[:, :, 0]))
    loops, bias_V = mean_loops(films().reshape(-1, 32), BIAS_V)
    assert np.array_equal(loops, films().reshape(-1, 32)[:, 16:])
    assert np.array_equal(bias_V, BIAS_V[:16])
    assert data.loops.var(axis=0).sum() == pytest.approx(data.kept * loops.var(axis=0).sum())


def test_data_that_are_missing_are_named_with_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(CannotRunError, match="make reference"):
        read_real_loops("3um", tmp_path)


def test_area_and_span_of_a_loop_follow_its_height_and_the_biases_of_switching_its_shift() -> None:
    bias_V = BIAS_V[:16]
    falling = np.arange(16)[4:13]
    heights = np.array([1.0, 2.0, 4.0])
    square = np.ones(16)
    square[falling[5:]] = -1  # switches down at -1.5 V to -3 V ...
    square[13:] = -1
    square[:2] = -1  # ... and up between 3 V and 6 V
    loops = heights[:, None] * square
    noise = np.random.default_rng(0).normal(scale=1e-6, size=(3, 16))
    found = loop_parameters(loop_numbers(loops + noise, bias_V), np.random.default_rng(1).normal(size=(3, 4)))
    area, span = found[:, 4], found[:, 5]
    assert np.corrcoef(np.abs(area), heights)[0, 1] == pytest.approx(1) or np.corrcoef(area, heights)[0, 1] == pytest.approx(-1)
    assert np.corrcoef(span, heights)[0, 1] == pytest.approx(1)


def smooth(side: int = 24) -> tuple[Predictor, np.ndarray]:
    row, col = np.divmod(np.arange(side**2), side)
    image = np.sin(row / 2).reshape(side, side) + np.random.default_rng(0).normal(scale=0.01, size=(side, side))
    values = np.stack([np.sin(row / 2), np.cos(col / 6)], axis=1)  # one follows the patch, the other the position
    return Predictor(pixel_features(image), np.stack([row, col], axis=1).astype(float)), values


def test_what_follows_the_patch_is_predicted_from_it_and_what_follows_the_position_needs_the_position() -> None:
    predictor, values = smooth()
    measured = np.random.default_rng(1).choice(576, 80, replace=False)
    held_out = np.setdiff1d(np.arange(576), measured)
    both = predictor.r2(measured, held_out, values)
    patch = predictor.r2(measured, held_out, values[:, [0]], patch_only=True)
    assert (both > 0.8).all()
    assert patch[0] > 0.9
    assert predictor.r2(measured, held_out, values[:, [1]], patch_only=True)[0] < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 10, 20, 50, 100, 200])
@pytest.mark.parametrize("shape", [(65, 65), (100, 100), (40, 80)])
def test_a_grid_has_exactly_its_nodes_spread_over_all_of_the_image(shape: tuple[int, int], count: int) -> None:
    rows = loop_policies.grid_places(shape, count, np.random.default_rng(0))
    assert len(np.unique(rows)) == count
    rc = np.stack(np.unravel_index(rows, shape), axis=1)
    cell = np.sqrt(shape[0] * shape[1] / count)
    if count >= 10:
        assert (rc.min(axis=0) < cell).all()
        assert (np.array(shape) - rc.max(axis=0) < cell + 1).all()


@pytest.mark.parametrize("policy", [loop_policies.random_places, loop_policies.blue_noise_places])
def test_places_are_different_pixels_of_the_image(policy) -> None:
    rows = policy((30, 20), 100, np.random.default_rng(0))
    assert len(np.unique(rows)) == 100
    assert rows.min() >= 0
    assert rows.max() < 600


def test_clusters_take_turns_in_the_core_policies() -> None:
    centres = np.array([[0.0, 0], [9, 0], [0, 9], [9, 9], [20, 0], [0, 20]])
    rng = np.random.default_rng(0)
    patches = np.repeat(centres, 20, axis=0) + rng.normal(scale=0.1, size=(120, 2))
    for policy in (loop_policies.kmeans_places, loop_policies.gmm_places):
        rows = policy(patches, 12, RecommendSettings(), np.random.default_rng(0))
        assert np.bincount(rows // 20, minlength=6).tolist() == [2] * 6


def test_classes_are_groups_of_loops_and_the_same_for_everyone() -> None:
    rng = np.random.default_rng(0)
    true = rng.permutation(np.repeat(np.arange(6), 30))
    loops = 10 * np.eye(6)[true] + rng.normal(scale=0.1, size=(180, 6))
    found = loop_classes(loops, 6, 0)
    assert len(set(zip(true, found, strict=True))) == 6
    assert np.array_equal(found, loop_classes(loops, 6, 0))


def test_loops_are_counted_until_every_class_was_seen_three_times() -> None:
    classes = np.repeat(np.arange(6), 20)
    in_turn = np.arange(120).reshape(6, 20).T.ravel()
    assert mexpsimu.loops_until_seen(lambda n: in_turn[:n], classes) == 18
    late = np.concatenate([np.arange(100), in_turn[in_turn >= 100]])  # the last class comes after 100 others
    assert mexpsimu.loops_until_seen(lambda n: late[:n], classes) == 103
    assert mexpsimu.loops_until_seen(lambda n: late[:n], classes, most=102) is None
    assert mexpsimu.loops_until_seen(lambda n: late[: min(n, 50)], classes) is None


@pytest.mark.slow
def test_the_oracle_lowers_the_error_faster_than_chance_in_each_of_three_draws() -> None:
    predictor, values = smooth()
    held_out = np.arange(0, 576, 2)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        rows = oracle_places(predictor, values, held_out, 12, rng)
        assert len(np.unique(rows)) == 12
        ours, chance = (
            predictor.errors(measured, held_out, values)[0].sum() for measured in (rows, rng.choice(576, 12, replace=False))
        )
        assert ours < chance


@pytest.mark.slow
def test_the_ceiling_predicts_what_follows_the_patch_and_not_what_follows_the_place() -> None:
    row = np.arange(900) // 30
    image = np.sin(row / 2).reshape(30, 30)
    values = np.stack([np.sin(row / 2), np.random.default_rng(0).normal(size=900)], axis=1)
    error, variance = forest_r2(image, values, 0)
    assert error[0] < 0.1 * variance[0]
    assert error[1] > 0.9 * variance[1]


def test_folds_are_square_blocks_equally_many_each() -> None:
    folds = blocked_folds((50, 100), 0).reshape(50, 100)
    blocks = folds.reshape(BLOCKS_PER_SIDE, 10, BLOCKS_PER_SIDE, 20)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert np.bincount(folds.ravel()).tolist() == [1000] * FOLDS


def test_with_results_the_agent_receives_measured_positions_and_results_only(folder: Path) -> None:
    data = read_real_loops("3um", folder)
    calls = []

    class Agent:
        def decide(self, inputs):
            calls.append((inputs.scan.scan_id, inputs.measured_xy, inputs.results, inputs.previous))
            return places(100 * len(calls))

    def places(first: int):
        base = decision("any")
        requests = [base.record.requests[0].model_copy(update={"row": i // 24, "col": i % 24}) for i in range(first, first + 30)]
        return type(base)(base.record.model_copy(update={"requests": requests}), {})

    rows, decisions = closed_loop_places(Agent(), data, places(0), (20, 50), Limits())
    assert rows.tolist() == [*range(20), *range(100, 130), *range(200, 230)]
    assert len(decisions) == 3
    assert [len(measured_xy) for _, measured_xy, *_ in calls] == [20, 50]
    assert calls[0][0] != calls[1][0]
    _, xy, results, previous = calls[1]
    assert previous is decisions[1]
    assert np.allclose(results.xy_m, xy)
    assert np.allclose(xy, data.scan().frame.to_metres(data.pixels[rows[:50]].astype(float)))
    order = [data.number_names.index(name) for name in results.names]
    assert np.allclose(results.values, data.numbers[rows[:50]][:, order])


def test_the_interval_of_a_difference_is_paired() -> None:
    theirs = np.random.default_rng(0).normal(size=(3, 30))
    assert reporting.difference(theirs + 0.5, theirs) == pytest.approx((0.5, 0.5, 0.5))
    gain, low, high = reporting.difference(theirs, np.zeros((3, 30)))
    assert low < gain < high


def test_the_interval_of_a_ratio_is_paired() -> None:
    theirs = np.random.default_rng(0).uniform(50, 100, size=(3, 30))
    assert reporting.ratio_of_means(0.9 * theirs, theirs) == pytest.approx((0.9, 0.9, 0.9))


def test_a_curve_reaches_a_level_between_its_points_or_not_at_all() -> None:
    curve = np.linspace(0.3, 1.0, len(reporting.DENSE))  # 0.3 at 30 loops, 1.0 at 100
    assert reporting.crossing(curve, 0.62) == pytest.approx(62)
    assert reporting.crossing(curve, 0.1) == 30
    assert reporting.crossing(curve, 1.1) == np.inf


def one_repeat(name: str, seed: int) -> dict:
    gain = {"grid": 0.1, reporting.AGENT: 0.2, reporting.FEEDBACK: 0.25, reporting.ORACLE: 0.4}
    r2 = {policy: [0.1, 0.2 + gain.get(policy, 0.0), 0.5] for policy in reporting.POLICIES}
    dense = {
        reporting.AGENT: np.linspace(0.3, 1.0, len(reporting.DENSE)).tolist(),
        reporting.FEEDBACK: [0.4] * len(reporting.DENSE),
    }
    seen = dict.fromkeys(reporting.POLICIES, 40) | {reporting.AGENT: 30, reporting.FEEDBACK: None}
    parameters = dict.fromkeys(reporting.POLICIES, 0.1)
    facts = {"name": name, "seed": seed, "types": seed}
    return facts | {"r2": r2, "patch_only": r2, "parameters": parameters, "dense": dense, "seen": seen}


def test_the_report_has_its_figures_and_names_the_best_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "BOOTSTRAPS", 100)
    repeats = [one_repeat(name, seed) for seed in (1, 2) for name in NAMES]
    ceilings = [{"name": name, "r2": 0.6, "parameters": 0.3} for name in NAMES]
    outcome = reporting.report(repeats, ceilings, (20, 50, 100), quick=True, config={})
    figures = outcome.figures
    assert {
        key: round(figures[key], 6) for key in figures if figures[key] is not None and not key.endswith(("_low", "_high"))
    } == {
        "r2_50_agent": 0.4,
        "r2_50_agent_feedback": 0.45,
        "r2_50_random": 0.2,
        "r2_50_grid": 0.3,
        "r2_50_best_baseline": 0.3,
        "r2_50_oracle": 0.6,
        "r2_ceiling_patch": 0.6,
        "r2_50_agent_minus_grid": 0.1,
        "r2_50_agent_feedback_minus_grid": 0.15,
        "classes_agent_over_random": 0.75,
        "classes_agent_feedback_over_random": 5.0,
        "agent_loops_to_random_100": 50.0,
    }
    assert set(outcome.missing) == {f"agent_feedback_loops_to_random_100{end}" for end in ("", "_low", "_high")}
    assert outcome.notes[0] == "Best baseline after 50 loops: grid."
    assert outcome.notes[1] == "Types found by the agent's search: 1 in 3 of 6, 2 in 3 of 6 repeats."
    rows = outcome.tables["R² of held-out loops, patch and position"]
    assert [row["policy"] for row in rows] == [*reporting.POLICIES, reporting.CEILING]
    (feedback,) = (row for row in outcome.tables["Loops until every class was seen"] if row["policy"] == reporting.FEEDBACK)
    assert feedback["not within 200"] == "6 of 6"
