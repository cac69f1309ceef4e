import numpy as np
import pytest

from agent.preprocessing.patches import cut_patches


def numbered(channels: int = 2, rows: int = 20, cols: int = 30) -> np.ndarray:
    return np.arange(channels * rows * cols, dtype=np.float32).reshape(channels, rows, cols)


@pytest.mark.parametrize("window", range(3, 32))
def test_a_patch_is_the_window_around_its_point(window: int) -> None:
    image = numbered(rows=40, cols=50)
    before, after = window // 2, window - window // 2
    points = np.array([[18, 19], [before, before], [40 - after, 50 - after]])
    patches = cut_patches(image, points, window)
    assert patches.shape == (3, 2, window, window)
    for patch, (row, col) in zip(patches, points, strict=True):
        low_row, low_col = row - window // 2, col - window // 2
        assert np.array_equal(patch, image[:, low_row : low_row + window, low_col : low_col + window])


def test_the_centre_of_an_odd_patch_is_its_point() -> None:
    image = numbered(1)
    (patch,) = cut_patches(image, np.array([[5, 17]]), 5)
    assert patch[0, 2, 2] == image[0, 5, 17]


@pytest.mark.parametrize("point", [[1, 10], [10, 1], [18, 10], [10, 28]])
def test_a_window_beyond_the_image_is_refused(point: list[int]) -> None:
    with pytest.raises(IndexError, match="extends beyond the image"):
        cut_patches(numbered(), np.array([point]), 5)
