"""Walls of a response: found on the wall, once, and above the noise only."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from agent.preprocessing.channels import Response
from agent.preprocessing.walls.background import background_level
from agent.preprocessing.walls.detection import find_walls
from agent.preprocessing.walls.local_energy import edge_and_valley_energy, vector_gradient

SIDE = 96
TIP_PX = 1.0


def two_domains(at_px: float, *, turned_deg: float = 180.0, noise: float = 0.01, second: float = 1.0) -> Response:
    """Two domains beside each other, with a wall at the column `at_px`."""
    fine = 10 * SIDE
    step = (np.arange(fine) / 10 < at_px + 0.5).astype(float)
    share = gaussian_filter1d(step, 10 * TIP_PX, mode="nearest").reshape(SIDE, 10).mean(axis=1)
    line = share + second * (1 - share) * np.exp(1j * np.deg2rad(turned_deg))
    rng = np.random.default_rng(0)
    vector = np.tile(line, (SIDE, 1)) + noise * (rng.normal(size=(SIDE, SIDE)) + 1j * rng.normal(size=(SIDE, SIDE)))
    return Response(
        np.stack([vector.real, vector.imag]).astype(np.float32), np.abs(vector).astype(np.float32), np.ones((SIDE, SIDE), bool)
    )


def of_amplitude(response: Response) -> Response:
    return Response(response.size[None], response.size, response.valid)


def inner(rows_cols: np.ndarray) -> np.ndarray:
    """The points that are not beside the border, where the wall ends."""
    return rows_cols[(rows_cols[:, 0] > 4) & (rows_cols[:, 0] < SIDE - 5)]


@pytest.mark.parametrize("at_px", [40.0, 40.3, 40.5, 47.8])
@pytest.mark.parametrize(
    "response",
    [
        pytest.param(lambda at: two_domains(at), id="vector, 180 degrees"),
        pytest.param(lambda at: two_domains(at, turned_deg=0.0, second=0.3), id="vector, amplitude only"),
        pytest.param(lambda at: two_domains(at, turned_deg=90.0), id="vector, 90 degrees"),
        pytest.param(lambda at: of_amplitude(two_domains(at)), id="amplitude alone, a dip"),
        pytest.param(lambda at: of_amplitude(two_domains(at, turned_deg=0.0, second=0.3)), id="amplitude alone, a step"),
    ],
)
def test_a_wall_is_found_once_and_where_it_is(response, at_px):
    walls = find_walls(response(at_px))
    pixels, positions = inner(walls.pixels_rc), inner(walls.positions_rc)
    near = np.abs(pixels[:, 1] - at_px) <= 1.5  # both flanks of a dip would be 1.7 px away and more
    assert near.sum() == pytest.approx(SIDE - 9, abs=6)  # one pixel in each row
    assert (~near).sum() <= 0.003 * SIDE**2
    assert np.abs(np.median(positions[:, 1]) - at_px) < 0.2


def test_positions_are_closer_to_the_wall_than_pixels():
    walls = find_walls(two_domains(40.45))
    off_pixels, off_positions = (np.abs(inner(p)[:, 1] - 40.45) for p in (walls.pixels_rc, walls.positions_rc))
    assert off_positions.mean() < 0.5 * off_pixels.mean()


def test_noise_alone_has_no_walls():
    rng = np.random.default_rng(1)
    parts = 0.5 + 0.1 * rng.normal(size=(2, SIDE, SIDE))
    response = Response(parts.astype(np.float32), np.hypot(*parts).astype(np.float32), np.ones((SIDE, SIDE), bool))
    assert len(find_walls(response).pixels_rc) < 0.005 * SIDE**2


def test_noise_that_grows_with_the_response_does_not_hide_the_walls_of_a_dark_region_nor_scatter_points_over_a_bright_one():
    rng = np.random.default_rng(2)
    bright = np.full((SIDE, SIDE), 1.0)
    dark = np.cumprod(np.where(np.arange(SIDE) % 12 == 0, -1, 1)) * 0.1 * np.ones((SIDE, 1))
    vector = np.concatenate([bright, dark], axis=1)
    spread = 0.1 * np.abs(vector) + 0.003
    parts = np.stack([vector, np.zeros_like(vector)]) + spread * rng.normal(size=(2, *vector.shape))
    walls = find_walls(Response(parts.astype(np.float32), np.abs(vector).astype(np.float32), np.ones(vector.shape, bool)))
    _, cols = walls.pixels_rc.T
    on_bright = (cols < SIDE - 6).sum()
    on_dark = ((cols > SIDE + 6) & (np.abs((cols - SIDE + 6) % 12 - 6) <= 1.5)).sum()
    assert on_bright < 0.01 * SIDE**2
    assert on_dark > 0.9 * 7 * (SIDE - 8)


def test_the_threshold_does_not_depend_on_how_much_wall_there_is():
    """A percentile of the change would find four times as many weak walls if three quarters of the frame were cut off."""
    few = two_domains(20.0, turned_deg=0.0, second=0.85, noise=0.02)
    levels = [
        background_level(vector_gradient(parts, 1.2).size, size, np.ones(size.shape, bool)).mean()
        for parts, size in ((few.channels, few.size), (few.channels[:, :, :40], few.size[:, :40]))
    ]
    assert levels[1] == pytest.approx(levels[0], rel=0.2)


def test_no_wall_is_found_beside_values_that_were_filled_in():
    response = two_domains(40.0)
    parts, valid = response.channels.copy(), response.valid.copy()
    parts[:, 60:62] *= 0.2
    valid[60:62] = False
    walls = find_walls(Response(parts, response.size, valid))
    assert not ((walls.pixels_rc[:, 0] >= 58) & (walls.pixels_rc[:, 0] <= 63)).any()


def test_an_image_without_any_change_has_no_walls():
    flat = np.zeros((SIDE, SIDE), np.float32)
    assert len(find_walls(Response(flat[None], flat, np.ones((SIDE, SIDE), bool))).pixels_rc) == 0
    assert not background_level(flat, flat, np.ones((SIDE, SIDE), bool)).any()


def test_energy_has_one_maximum_at_a_step_and_at_a_dip():
    column = np.arange(60) - 30.0
    for profile in (np.tanh(column), 1 - np.exp(-0.5 * column**2)):
        change = edge_and_valley_energy(np.tile(profile, (40, 1)), 1.2)
        energy = change.size
        assert energy[20].argmax() in (29, 30)
        beyond = energy[20, 32:45]
        assert (np.diff(beyond) <= 1e-12).all()  # no second maximum beside it
        assert abs(np.cos(change.direction[20, 30])) == pytest.approx(1.0)
