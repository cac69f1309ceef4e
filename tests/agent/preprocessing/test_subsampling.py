import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.preprocessing.subsampling import stratified_subset


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 500), st.integers(1, 600), st.integers(1, 300))
def test_the_subset_has_exactly_the_size_and_no_row_twice(seed: int, n: int, size: int, extent: int) -> None:
    points = rng(seed).integers(0, extent, size=(n, 2))
    rows = stratified_subset(points, size, rng(seed))
    assert len(rows) == min(n, size)
    assert (np.diff(rows) > 0).all()
    assert np.array_equal(rows, stratified_subset(points, size, rng(seed)))


def test_every_region_keeps_its_share_and_dense_regions_stay_dense() -> None:
    sparse = rng(0).integers(0, 512, size=(20_000, 2))
    dense = rng(1).integers(0, 128, size=(20_000, 2))
    points = np.concatenate([sparse, dense])
    chosen = points[stratified_subset(points, 2000, rng(2))]
    quarter = 512 // 8
    shares = [np.histogram2d(*p.T, bins=np.arange(0, 513, quarter))[0] / len(p) for p in (points, chosen)]
    # A simple random subset of 2,000 would scatter by sqrt(200) = 14 in a dense cell. Here less than one point per cell is lost
    # at each border between cells.
    assert np.abs(shares[0] - shares[1]).max() * 2000 < 8


def test_each_point_is_as_likely_as_any_other() -> None:
    points = rng().integers(0, 100, size=(300, 2))
    draws = 2000
    times = np.bincount(np.concatenate([stratified_subset(points, 60, rng(s)) for s in range(draws)]), minlength=300)
    sigma = np.sqrt(draws * 0.2 * 0.8)
    assert np.abs(times - draws * 0.2).max() < 5 * sigma  # fails by chance for one in 6,000 choices of seeds


def test_no_region_of_a_large_scan_is_missed() -> None:
    points = rng().integers(0, 4096, size=(100_000, 2))
    rows = stratified_subset(points, 3000, rng())
    counts = np.histogram2d(*points[rows].T, bins=np.arange(0, 4097, 512))[0]
    assert counts.min() > 35  # 47 expected in each of 64 regions
    assert counts.max() < 60


def test_an_empty_subset_is_refused() -> None:
    with pytest.raises(ValueError, match="a subset of 0 points"):
        stratified_subset(np.zeros((5, 2), dtype=np.int64), 0, rng())
