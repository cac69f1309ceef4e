"""Realism: its statistics on images whose values are known, and a classifier that finds what differs and nothing else."""

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.realism import classifier
from benchmarks.realism.statistics import STATISTICS, amplitude_statistics, dart_statistics, inside
from benchmarks.realism.study import PLACES, Frame, report
from simulators.physics.oscillator import respond
from simulators.sample.fields import power_law_field


def frame_of(rng: np.random.Generator, blur_px: float) -> np.ndarray:
    return 5 + ndimage.gaussian_filter(rng.normal(size=(128, 128)), blur_px)


def tiles_of(images: list[np.ndarray], positive: int) -> classifier.Tiles:
    """The first `positive` images are one class; each is a group."""
    features = [[list(classifier.describe(tile).values()) for tile in classifier.cut(image)] for image in images]
    count = len(features[0])
    groups = np.repeat(np.arange(len(images)), count)
    return classifier.Tiles(np.concatenate([np.array(f) for f in features]), groups, groups < positive)


def test_statistics_of_white_noise_are_those_that_were_put_in() -> None:
    """Of 65,536 values; 5 % is more than five standard errors of each."""
    found = amplitude_statistics(np.random.default_rng(0).normal(1.0, 0.05, (256, 256)))
    assert found["cv"] == pytest.approx(0.05, rel=0.05)
    assert found["noise_fast"] == pytest.approx(0.05, rel=0.05)
    assert found["noise_slow"] == pytest.approx(0.05, rel=0.05)
    assert abs(found["skew"]) < 0.05
    assert abs(found["psd_slope_high"]) < 0.2


def test_the_slope_of_a_power_law_is_found() -> None:
    field = power_law_field(np.random.default_rng(0), 256, 2.8)
    found = amplitude_statistics(10.0 + field)
    assert found["psd_slope_high"] == pytest.approx(-2.8, abs=0.15)
    assert found["psd_slope_low"] == pytest.approx(-2.8, abs=0.5)


def test_offsets_of_lines_are_found_whatever_runs_down_the_columns() -> None:
    rng = np.random.default_rng(0)
    columns = 0.3 * np.sin(np.arange(256) / 9)
    found = amplitude_statistics(1 + columns + 0.02 * rng.normal(size=256)[:, None] + 0.001 * rng.normal(size=(256, 256)))
    assert found["line_offset_sd"] == pytest.approx(0.02, rel=0.2)


def test_every_dark_line_is_a_wall_one_pixel_wide() -> None:
    image = np.ones((128, 128))
    image[:, 20::32] = image[:, 21::32] = 0.3
    assert amplitude_statistics(image)["wall_density"] == pytest.approx(1 / 32, rel=0.1)


def test_the_quality_factor_and_the_detuning_are_those_of_the_oscillator() -> None:
    f0 = 371e3 + np.linspace(-500, 500, 400).reshape(20, 20)
    z1, z2 = (20e-12 * respond(np.array(f), f0, np.array(56.0)) for f in (366e3, 376e3))
    phases = (-np.angle(z, deg=True) for z in (z1, z2))
    found = dart_statistics(np.abs(z1), np.abs(z2), *phases, np.full((20, 20), 371e3))
    assert found["Q"] == pytest.approx(56.0)
    assert 0.04 < found["detuning_rms"] < 0.07, "500 Hz off, amplitudes differ by a tenth of their sum"


def test_a_pair_is_inside_only_if_both_of_it_are() -> None:
    real = {part: [0.0, 1.0] for parts in STATISTICS.values() for part in parts}
    simulated = {part: [0.4, 0.5, 9.0] for part in real} | {"noise_slow": [1.1], "Q": [2.0]}
    verdicts = inside(real, simulated)
    assert [name for name, verdict in verdicts.items() if not verdict] == ["noise", "Q"]


def test_tiles_have_no_mean_and_no_scale() -> None:
    image = frame_of(np.random.default_rng(0), 1.0)
    tiles = classifier.cut(image)
    assert tiles.shape == (9, 64, 64)
    np.testing.assert_allclose(tiles.mean(axis=(1, 2)), 0, atol=1e-9)
    np.testing.assert_allclose(tiles, classifier.cut(3e-10 * image), atol=1e-9)
    assert list(classifier.halves(9)) == [0, -1, 1] * 3


def test_no_group_is_learnt_from_and_judged_and_all_are_judged_once() -> None:
    groups = np.repeat(np.arange(13), 5)
    tiles = classifier.Tiles(np.zeros((65, 1)), groups, groups < 4)
    splits = classifier.folds(tiles, np.random.default_rng(0))
    assert len(splits) == 4
    for test, train in splits:
        assert not set(groups[test]) & set(groups[train])
        assert len(set(groups[test][groups[test] < 4])) == 1
    np.testing.assert_array_equal(np.sort(np.concatenate([test for test, _ in splits])), np.arange(65))


@pytest.fixture(scope="module")
def textures() -> dict[float, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    return {blur: [frame_of(rng, blur) for _ in range(8)] for blur in (1.0, 1.15)}


@pytest.mark.slow
def test_a_texture_that_is_a_little_coarser_is_told_apart(textures: dict[float, list[np.ndarray]]) -> None:
    areas = classifier.areas(tiles_of(textures[1.0][:4] + textures[1.15][:4], 4), np.random.default_rng(1), repeats=1)
    assert {name for name, values in areas.items() if np.mean(values) > 0.95} == {"trees", "logistic"}


@pytest.mark.slow
def test_frames_of_one_kind_cannot_be_told_apart(textures: dict[float, list[np.ndarray]]) -> None:
    """Tiles of eight frames: far from 0.5 +- 0.25 unless a group stands on both sides, which gives 0.9 and more."""
    areas = classifier.areas(tiles_of(textures[1.0], 4), np.random.default_rng(1), repeats=1)
    assert all(0.2 < np.mean(values) < 0.8 for values in areas.values())


@pytest.mark.slow
def test_the_report_has_its_figures_and_says_what_is_outside() -> None:
    rng = np.random.default_rng(0)
    parts = [part for both in STATISTICS.values() for part in both]

    def frame(level: float) -> Frame:
        tiles = [{"first": rng.normal(level), "second": rng.normal()} for _ in range(9)]
        return Frame(tiles, {part: level + 0.01 * rng.normal() for part in parts})

    real = [frame(1.0) for _ in PLACES]
    worlds = {"medium": [frame(1.0) for _ in range(4)], "clean": [frame(9.0) for _ in range(4)]}
    outcome = report(real, [{"Q": 5.0, "detuning_rms": v} for v in (0.0, 2.0)], worlds, quick=True)
    assert outcome.figures["classifier_auc_clean"] == 1.0
    assert outcome.details["inside"]["detuning_rms"]
    assert not outcome.details["inside"]["Q"]
    assert outcome.figures["statistics_inside_of_8"] == sum(outcome.details["inside"].values())
    assert next(iter(outcome.details["importances"])) in ("first", "second")
