from pathlib import Path

import numpy as np
import pytest

from agent.preprocessing.line_artifacts import (
    find_line_artifacts,
    flat_lines,
    level_lines,
    lines_not_recorded,
    lines_without_contact,
    lines_without_lock,
)
from agent.preprocessing.normalise import normalise
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.formats.nsid import read_nsid
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D
from tests.support.data.images import stripes, two_textures


def test_stripes_along_the_fast_axis_survive() -> None:
    image = stripes(128, 128, period=16, noise=0.0).T.copy()
    assert np.array_equal(level_lines(image), image)


def test_a_dark_wall_along_the_fast_axis_survives() -> None:
    image = np.full((128, 128), 0.7, dtype=np.float32)
    image[60:62] = 0.3
    assert np.array_equal(level_lines(image), image)


def test_levelling_removes_most_of_the_offsets_of_all_lines() -> None:
    image = two_textures(128, noise=0.02)
    offsets = 0.05 * np.random.default_rng(0).standard_normal((128, 1)).astype(np.float32)
    before, after = (np.median(x - level_lines(image), axis=1).std() for x in (image + offsets, level_lines(image + offsets)))
    assert before > 0.04
    assert after < 0.5 * before


def test_the_offset_of_a_single_line_is_removed() -> None:
    image = stripes(128, 128, noise=0.01)
    offset = image.copy()
    offset[50] += 0.1
    assert abs(level_lines(offset)[50] - image[50]).mean() < 0.01


def test_lost_contact_and_spikes_are_masked_and_counted_and_nothing_else() -> None:
    image = stripes(128, 128)
    assert not normalise(image).masked
    image[40:60] = 0.01 * image[40:60]
    image[90, 30] = 9.0
    found = find_line_artifacts(image)
    assert (found.flat_lines, found.spikes) == (20, 1)
    scaled = normalise(image)
    assert not scaled.valid[40:60].any()
    assert not scaled.valid[90, 30]
    assert scaled.valid.sum() == 108 * 128 - 1
    assert scaled.masked == {"flat lines (contact lost)": 20, "spikes": 1}


@pytest.mark.parametrize("gain", [0.5, 1.8])
def test_both_lines_of_a_gain_step_are_masked_and_counted(gain: float) -> None:
    image = two_textures(128) + np.float32(0.5)
    image[50:70] *= gain
    found = find_line_artifacts(image)
    assert np.flatnonzero(found.mask.all(axis=1)).tolist() == [49, 50, 69, 70]
    assert found.gain_lines == 4
    assert normalise(image).masked["lines at a step of the gain"] == 4


def test_a_small_gain_step_is_not_masked() -> None:
    image = two_textures(128) + np.float32(0.5)
    image[50:70] *= 0.85
    assert find_line_artifacts(image).gain_lines == 0


def test_strong_offsets_of_all_lines_are_no_gain_steps() -> None:
    image = two_textures(128) + 0.3 * np.random.default_rng(0).standard_normal((128, 1)).astype(np.float32)
    assert find_line_artifacts(image).gain_lines == 0


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_stripes_along_the_fast_axis_are_no_gain_steps(noise: float) -> None:
    assert find_line_artifacts(stripes(128, 128, noise=noise).T.copy()).gain_lines == 0


def test_a_wall_along_the_fast_axis_between_two_textures_is_no_gain_step() -> None:
    image = two_textures(128).T + np.float32(0.5)  # stripes along the lines above, discs below
    image[64:] *= 0.5
    assert find_line_artifacts(image).gain_lines == 0


@pytest.mark.parametrize(
    ("file", "before_steps"),
    [
        ("scan_0001.ibw", []),
        ("PTO_Funakubo0001.h5", []),
        ("PTO_Funakubo0002.h5", [254]),  # the last line but one, where the image becomes half as bright
        ("PZT_final0001.h5", []),
        ("PZT_final0002.h5", [187, 190, 209, 215, 219]),  # the dark band and its bright borders
    ],
)
def test_on_real_scans_only_disturbed_lines_are_gain_steps(shared_data: Path, file: str, before_steps: list[int]) -> None:
    scan = read_ibw(shared_data / file) if file.endswith("ibw") else read_nsid(shared_data / file)
    image = scan.channels[scan.find_channel()]
    found = find_line_artifacts(image)
    assert np.flatnonzero(found.mask.all(axis=1)).tolist() == sorted({row for i in before_steps for row in (i, i + 1)})
    height = next(image for name, image in scan.channels.items() if name.startswith("Height"))
    assert find_line_artifacts(height).gain_lines == 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_on_simulated_scans_no_line_is_masked(seed: int) -> None:
    scan = SimulatedMFP3D(MFP3DConfig(seed=seed), clock=SimulatedClock(None)).scan()
    for name in ("Amplitude1Retrace", "Amplitude2Retrace", "HeightRetrace"):
        for image in (scan.channels[name], scan.channels[name].T.copy()):
            assert not find_line_artifacts(image).mask.all(axis=1).any()


def test_a_line_without_contact_is_flat_and_dark() -> None:
    image = stripes(128, 128) + np.float32(0.5)
    image[20:30] = 0.01 * image[20:30]
    image[60:70] = 0.9 + 0.001 * image[60:70]  # featureless, but bright
    image[80, 5] = np.nan
    assert flat_lines(image).nonzero()[0].tolist() == [*range(20, 30), *range(60, 70)]
    assert lines_without_contact(image).nonzero()[0].tolist() == list(range(20, 30))
    assert not lines_without_contact(image[:, :15]).any()


def test_a_line_without_lock_has_a_constant_frequency() -> None:
    frequency = 3e5 + 100 * stripes(64, 64)
    frequency[10:14] = frequency[9, 0]
    frequency[20, 3] = np.nan
    assert lines_without_lock(frequency).nonzero()[0].tolist() == list(range(10, 14))
    assert not lines_without_lock(np.full((64, 64), 3e5, np.float32)).any()
    assert not lines_without_lock(np.full((64, 64), np.nan, np.float32)).any()


def test_a_line_with_missing_pixels_or_zeros_only_was_not_recorded() -> None:
    image = stripes(64, 64) + np.float32(0.5)
    image[3, 7], image[5] = np.nan, 0.0
    assert lines_not_recorded(image).nonzero()[0].tolist() == [3, 5]
