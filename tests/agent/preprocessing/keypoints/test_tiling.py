import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, maximum_filter
from scipy.spatial import cKDTree

from agent.preprocessing.keypoints import METHODS
from agent.preprocessing.keypoints.tiling import detect_in_tiles, filter_in_strips


def blobs(rows: int = 300, cols: int = 340) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(0).standard_normal((rows, cols)), 2.5)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def peaks(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = np.argwhere(maximum_filter(part, 9) == part)
    return found.astype(np.float64), part[found[:, 0], found[:, 1]].astype(np.float64)


@pytest.mark.parametrize("tile_px", [32, 100, 299, 1000])
def test_points_do_not_depend_on_the_tiles_if_the_margin_is_wide_enough(tile_px: int) -> None:
    whole, values = peaks(blobs())
    points, ranks = detect_in_tiles(blobs(), peaks, tile_px, halo_px=4)
    order = np.lexsort(points.T[::-1])
    assert np.array_equal(points[order], whole)
    assert np.array_equal(ranks[order], values)


def test_points_between_two_pixels_belong_to_one_tile() -> None:
    def at_the_seam(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.argwhere(part == 1)[:, :1]
        return np.concatenate([rows + 0.4, rows + 0.5, rows + 0.6]) * [1, 0], np.zeros(3 * len(rows))

    image = np.zeros((64, 32), dtype=np.float32)
    image[31, 5] = 1
    points, _ = detect_in_tiles(image, at_the_seam, 32, halo_px=8)
    assert sorted(points[:, 0].tolist()) == [31.4, 31.5, 31.6]


def test_filtering_in_strips_equals_filtering_the_whole_image() -> None:
    image = blobs().astype(np.float64)
    in_strips = filter_in_strips(image, lambda part: gaussian_filter(part, 2.0, truncate=4), 50, 8)
    assert np.array_equal(in_strips, gaussian_filter(image, 2.0, truncate=4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "size", "tile_px", "least_common"),
    [("sato_ridges", "_STRIP_PX", 96, 1.0), ("sift", "_TILE_PX", 128, 0.98), ("orb", "_TILE_PX", 128, 0.8)],
)
def test_a_search_in_tiles_finds_the_points_of_a_search_of_the_whole_image(
    method: str, size: str, tile_px: int, least_common: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = METHODS[method]
    whole = find(blobs(), rng=np.random.default_rng(0))
    monkeypatch.setattr(sys.modules[find.__module__], size, tile_px)
    tiled = find(blobs(), rng=np.random.default_rng(0))
    assert len(whole) > 300
    for one, other in ((whole, tiled), (tiled, whole)):
        near = cKDTree(one).query(other)[0] <= 1.5
        assert near.mean() >= least_common
