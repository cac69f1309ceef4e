"""Planted corners and blobs are found by the methods made for them."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from agent.preprocessing.keypoints import METHODS, find_keypoints
from agent.preprocessing.normalise import normalise

HALF = 4


def centres(side: int, pitch: int) -> np.ndarray:
    along = np.arange(24, side - 16, pitch)
    return np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)


def noisy(image: np.ndarray, sigma: float) -> np.ndarray:
    return (image + sigma * np.random.default_rng(0).standard_normal(image.shape)).astype(np.float32)


def squares() -> tuple[np.ndarray, np.ndarray]:
    """An image of bright squares, and their corners."""
    image, places = np.zeros((256, 256)), centres(256, 16)
    for row, col in places:
        image[row - HALF : row + HALF + 1, col - HALF : col + HALF + 1] = 1.0
    steps = HALF * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    return noisy(image, 0.01), (places[:, None] + steps).reshape(-1, 2)


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """An image of Gaussian spots, alternately bright and dark, and their centres."""
    places = centres(272, 16)
    distance, nearest = cKDTree(places).query(np.moveaxis(np.mgrid[:272, :272], 0, -1))
    sign = np.where(places.sum(axis=1) % 32 == 16, 1, -1)[nearest]
    return noisy(sign * np.exp(-(distance**2) / (2 * 3.0**2)), 0.02), places


@pytest.mark.parametrize(("name", "planted"), [("orb", squares()), ("sift", blobs())], ids=["corners by orb", "blobs by sift"])
def test_planted_points_are_found_and_little_else(name: str, planted: tuple[np.ndarray, np.ndarray]) -> None:
    image, places = planted
    found = find_keypoints(normalise(image), METHODS[name], spacing_px=4, largest_window_px=9, rng=np.random.default_rng(0))
    recalled = cKDTree(found.points_rc).query(places)[0] <= 2
    precise = cKDTree(places).query(found.points_rc)[0] <= 2
    assert recalled.mean() > 0.95
    assert precise.mean() > 0.85
    assert found.found == len(found.points_rc) + sum(found.dropped.values())
