import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.preprocessing.keypoints.thinning import thin
from tests.support.cpu import scaled


def thin_by_loop(points: np.ndarray, spacing: float) -> list[int]:
    kept: list[int] = []
    for i, point in enumerate(points):
        if all(((point - points[j]) ** 2).sum() >= spacing**2 and (point != points[j]).any() for j in kept):
            kept.append(i)
    return kept


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 300), st.floats(1, 15))
def test_the_selection_is_that_of_the_loop_over_all_pairs(seed: int, n: int, spacing: float) -> None:
    points = np.random.default_rng(seed).integers(0, [40, 70], size=(n, 2))
    assert thin(points, spacing).tolist() == thin_by_loop(points, spacing)


@pytest.mark.parametrize("spacing", [1.0, 5.0])
def test_points_exactly_at_the_spacing_are_both_kept(spacing: float) -> None:
    assert len(thin(np.array([[3, 3], [3, 3 + int(spacing)]]), spacing)) == 2


def test_a_million_points_take_seconds() -> None:
    points = np.argwhere(np.ones((1000, 1000), dtype=bool))
    start = time.process_time()
    thin(points, 5.0)
    assert time.process_time() - start < scaled(5)
