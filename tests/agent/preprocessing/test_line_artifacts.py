from pathlib import Path

import numpy as np
import pytest

from agent.preprocessing.line_artifacts import find_glitches, level_lines
from agent.preprocessing.normalise import normalise
from instrument_adapters.formats.igor import read_ibw
from instrument_adapters.formats.nsid import read_nsid
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D
from tests.support.images import stripes, two_textures


def test_stripes_along_the_fast_axis_survive() -> None:
    image = stripes(128, 128, period=16, noise=0.0).T.copy()
    assert np.array_equal(level_lines(image), image)


def test_a_dark_wall_along_the_fast_axis_survives() -> None:
    image = np.full((128, 128), 0.7, dtype=np.float32)
    image[60:62] = 0.3
    assert np.array_equal(level_lines(image), image)


def test_of_offsets_of_all_lines_little_is_left() -> None:
    image = two_textures(128, noise=0.02)
    offsets = 0.05 * np.random.default_rng(0).standard_normal((128, 1)).astype(np.float32)
    before, after = (np.median(x - level_lines(image), axis=1).std() for x in (image + offsets, level_lines(image + offsets)))
    assert before > 0.04
    assert after < 0.5 * before


def test_a_line_offset_as_a_whole_is_put_back() -> None:
    image = stripes(128, 128, noise=0.01)
    offset = image.copy()
    offset[50] += 0.1
    assert abs(level_lines(offset)[50] - image[50]).mean() < 0.01


def test_lost_contact_and_spikes_are_masked_and_counted_and_nothing_else() -> None:
    image = stripes(128, 128)
    assert not normalise(image).masked
    image[40:60] = 0.01 * image[40:60]
    image[90, 30] = 9.0
    found = find_glitches(image)
    assert (found.lines, found.spikes) == (20, 1)
    scaled = normalise(image)
    assert not scaled.valid[40:60].any()
    assert not scaled.valid[90, 30]
    assert scaled.valid.sum() == 108 * 128 - 1
    assert scaled.masked == {"flat lines (contact lost)": 20, "spikes": 1}


@pytest.mark.parametrize("gain", [0.5, 1.8])
def test_both_lines_of_a_step_of_the_gain_are_masked_and_counted(gain: float) -> None:
    image = two_textures(128) + np.float32(0.5)
    image[50:70] *= gain
    found = find_glitches(image)
    assert np.flatnonzero(found.mask.all(axis=1)).tolist() == [49, 50, 69, 70]
    assert found.gain_lines == 4
    assert normalise(image).masked["lines at a step of the gain"] == 4


def test_a_small_step_of_the_gain_is_left_alone() -> None:
    image = two_textures(128) + np.float32(0.5)
    image[50:70] *= 0.85
    assert find_glitches(image).gain_lines == 0


def test_strong_offsets_of_all_lines_are_no_steps_of_the_gain() -> None:
    image = two_textures(128) + 0.3 * np.random.default_rng(0).standard_normal((128, 1)).astype(np.float32)
    assert find_glitches(image).gain_lines == 0


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_stripes_along_the_fast_axis_are_no_steps_of_the_gain(noise: float) -> None:
    assert find_glitches(stripes(128, 128, noise=noise).T.copy()).gain_lines == 0


def test_a_wall_along_the_fast_axis_between_two_textures_is_no_step_of_the_gain() -> None:
    image = two_textures(128).T + np.float32(0.5)  # stripes along the lines above, discs below
    image[64:] *= 0.5
    assert find_glitches(image).gain_lines == 0


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
def test_on_real_scans_only_disturbed_lines_are_steps_of_the_gain(shared_data: Path, file: str, before_steps: list[int]) -> None:
    scan = read_ibw(shared_data / file) if file.endswith("ibw") else read_nsid(shared_data / file)
    image = scan.channels[scan.find_channel()]
    found = find_glitches(image)
    assert np.flatnonzero(found.mask.all(axis=1)).tolist() == sorted({row for i in before_steps for row in (i, i + 1)})
    height = next(image for name, image in scan.channels.items() if name.startswith("Height"))
    assert find_glitches(height).gain_lines == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_on_simulated_scans_no_line_is_masked(seed: int) -> None:
    scan = SimulatedMFP3D(MFP3DConfig(seed=seed), clock=SimulatedClock(None)).scan()
    for name in ("Amplitude1Retrace", "Amplitude2Retrace", "HeightRetrace"):
        for image in (scan.channels[name], scan.channels[name].T.copy()):
            assert not find_glitches(image).mask.all(axis=1).any()
