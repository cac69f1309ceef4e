"""The benchmark on real loops: what it makes of loops, how it predicts them, and what its report says."""

from pathlib import Path

import numpy as np
import pytest

from agent.ordering.settings import RecommendSettings
from benchmarks import loop_policies, mexpsimu
from benchmarks.commandline import CannotRunError
from benchmarks.loop_prediction import Predictor, pixel_features
from benchmarks.real_loops import NAMES, loop_parameters, mean_loops, read_real_loops

STEPS = np.arange(32)
BIAS_V = 12 * np.interp(STEPS % 16, [0, 4, 12, 16], [0, 1, -1, 0])  # two cycles of 16 steps, from 0 up


def films(side: int = 24) -> np.ndarray:
    """Loops (side, side, 32) of two cycles: their height follows a wave over the film, the first cycle is ten times larger."""
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
    found = loop_parameters(loops + noise, np.random.default_rng(1).normal(size=(3, 4)), bias_V)
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


def test_the_interval_of_a_difference_is_paired() -> None:
    theirs = np.random.default_rng(0).normal(size=(3, 30))
    assert mexpsimu.difference(theirs + 0.5, theirs) == pytest.approx((0.5, 0.5, 0.5))
    gain, low, high = mexpsimu.difference(theirs, np.zeros((3, 30)))
    assert low < gain < high


def test_the_report_has_its_figures_and_names_the_best_baseline() -> None:
    def one(name: str, seed: int) -> dict:
        r2 = {policy: [0.1, 0.2 + 0.1 * (policy == "grid") + 0.2 * (policy == mexpsimu.AGENT)] for policy in mexpsimu.POLICIES}
        parameters = dict.fromkeys(mexpsimu.POLICIES, 0.1)
        return {"name": name, "seed": seed, "r2": r2, "patch_only": r2, "parameters": parameters, "types": seed}

    outcome = mexpsimu.report([one(name, seed) for seed in (1, 2) for name in NAMES], (20, 50), quick=True)
    assert {key: round(value, 6) for key, value in outcome.figures.items() if key.startswith("r2_50") and value} == {
        "r2_50_agent": 0.4,
        "r2_50_random": 0.2,
        "r2_50_grid": 0.3,
        "r2_50_best_baseline": 0.3,
        "r2_50_agent_minus_grid": 0.1,
        "r2_50_agent_minus_grid_low": 0.1,
        "r2_50_agent_minus_grid_high": 0.1,
    }
    assert outcome.notes[0] == "Best baseline after 50 loops: grid."
    assert outcome.notes[1] == "Types that the agent's search found: 1 in 3 of 6, 2 in 3 of 6 repeats."
