"""Key points stay on the walls of a disturbed scan; the points that are lost are counted."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from agent.preprocessing.keypoints import METHODS, Keypoints, find_keypoints
from agent.preprocessing.normalise import NormalisedImage, normalise

SIDE = 256
ROW, COL = np.mgrid[:SIDE, :SIDE]
DOMAIN = np.sin(2 * np.pi * (COL + 8 * np.sin(ROW / 20)) / 48) > 0
TO_WALL_PX = np.maximum(distance_transform_edt(DOMAIN), distance_transform_edt(~DOMAIN)) - 0.5
Disturb = Callable[[np.ndarray], None]


def clean(method: str) -> np.ndarray:
    """Domains of two amplitudes for Canny; domains of equal amplitude with dark walls between them for Sato."""
    noise = 0.02 * np.random.default_rng(0).standard_normal((SIDE, SIDE))
    texture = 0.2 * gaussian_filter(np.random.default_rng(1).standard_normal((SIDE, SIDE)), 6)
    levels = gaussian_filter(np.where(DOMAIN, 0.8, 0.4), 0.7)
    walls = 0.7 - 0.5 * np.exp(-(TO_WALL_PX**2) / 4)
    return ((levels if method == "canny_walls" else walls) + noise + texture).astype(np.float32)


def offset_lines(image: np.ndarray) -> None:
    image += 0.03 * np.random.default_rng(2).standard_normal((SIDE, 1)).astype(np.float32)


def lose_contact(image: np.ndarray) -> None:
    image[100:112] = 0.5 + 0.001 * image[100:112]


def lose_gain(image: np.ndarray) -> None:
    image[60:75] *= 0.5


def spikes(image: np.ndarray) -> None:
    rows, cols = np.random.default_rng(3).integers(20, SIDE - 20, size=(2, 40))
    image[rows, cols] = 5.0


def lines_not_recorded(image: np.ndarray) -> None:
    image[150:153] = np.nan


ALL = (offset_lines, lose_contact, lose_gain, spikes, lines_not_recorded)


def found_in(method: str, disturbances: tuple[Disturb, ...] = ()) -> tuple[NormalisedImage, Keypoints]:
    image = clean(method)
    for disturb in disturbances:
        disturb(image)
    scaled = normalise(image)
    rng = np.random.default_rng(0)
    return scaled, find_keypoints(scaled, METHODS[method], spacing_px=4, largest_window_px=9, rng=rng)


def share_on_walls(found: Keypoints) -> float:
    """Share of the points within 2 px of a wall."""
    return float((TO_WALL_PX[tuple(found.points_rc.T)] <= 2).mean())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["canny_walls", "sato_ridges"])
@pytest.mark.parametrize("disturbances", [*[(one,) for one in ALL], ALL], ids=[*[one.__name__ for one in ALL], "all"])
def test_points_of_a_disturbed_scan_lie_on_the_walls_like_those_of_a_clean_one(
    method: str, disturbances: tuple[Disturb, ...]
) -> None:
    _, before = found_in(method)
    _, after = found_in(method, disturbances)
    assert share_on_walls(before) > 0.97
    assert share_on_walls(after) > 0.95


@pytest.mark.parametrize("method", ["canny_walls", "sato_ridges"])
def test_every_disturbance_and_every_point_lost_to_it_is_counted(method: str) -> None:
    scaled, found = found_in(method, ALL)
    assert set(scaled.masked) == {
        "pixels not recorded",
        "flat lines (contact lost)",
        "lines at a step of the gain",
        "spikes",
    }
    assert scaled.masked["pixels not recorded"] == 3 * SIDE
    assert scaled.masked["flat lines (contact lost)"] == 12
    assert scaled.masked["lines at a step of the gain"] == 4
    assert found.dropped["invalid pixels in the window"] > 0
    assert found.found == len(found.points_rc) + sum(found.dropped.values())
    assert not found_in(method)[0].masked
