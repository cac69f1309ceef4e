import numpy as np

from agent.workflow.lines import find_glitches, level_lines
from agent.workflow.normalise import normalise
from tests.agent.workflow.images import stripes


def test_stripes_along_the_fast_axis_survive() -> None:
    image = stripes(128, 128, period=16, noise=0.0).T.copy()
    assert np.array_equal(level_lines(image), image)


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
