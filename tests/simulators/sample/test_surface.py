from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import ndimage

from simulators.sample.domains import WALL_TYPES, DomainState, Microstructure, SuperdomainKind, WallType, coarse
from simulators.sample.fields import power_law_field, smooth_field
from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface, SurfaceConfig
from tests.simulators.conftest import SMALL


def centre_of(surface: Surface) -> np.ndarray:
    return np.array([[surface.config.centre_x_m, surface.config.centre_y_m]])


def test_the_same_seed_grows_the_same_surface_and_another_seed_another_one(small_surface: Surface) -> None:
    again, other = (grow_surface(SMALL, np.random.default_rng(seed)) for seed in (0, 1))
    for name in ("state", "kind", "superdomain", "response", "height_m", "resonance_shift_Hz"):
        np.testing.assert_array_equal(getattr(again, name), getattr(small_surface, name))
    assert (other.state != small_surface.state).mean() > 0.2


def test_every_kind_of_superdomain_and_of_wall_is_present(small_surface: Surface) -> None:
    assert set(np.unique(small_surface.kind)) == {
        SuperdomainKind.NEEDLES,
        SuperdomainKind.STRIPES,
        SuperdomainKind.HERRINGBONE,
    }
    assert set(np.unique(small_surface.walls)) == set(WallType)
    assert set(np.unique(small_surface.state)) == set(DomainState)


@pytest.mark.slow
def test_kinds_share_the_area_about_as_asked_for() -> None:
    config = SurfaceConfig(size_m=3e-6, pixels=128, superdomain_m=0.3e-6, sparse_share=0.5)
    kind = grow_surface(config, np.random.default_rng(0)).kind
    total = sum(config.shares.values())
    for asked, share in config.shares.items():
        assert (kind == asked).mean() == pytest.approx(share / total, abs=0.03)


def test_the_truth_at_a_grid_point_is_what_the_grid_says(small_surface: Surface) -> None:
    rc = np.array([[10, 300], [200, 55], [383, 0]])
    truth = small_surface.truth_at(small_surface.config.square.to_metres(rc.astype(float)))
    np.testing.assert_array_equal(truth.state, small_surface.state[tuple(rc.T)])
    np.testing.assert_array_equal(truth.kind, small_surface.kind[tuple(rc.T)])


def test_the_nearest_wall_is_at_distance_zero_on_it_and_at_its_distance_beside_it(small_surface: Surface) -> None:
    walls = np.argwhere(small_surface.walls != WallType.NONE)
    on_wall = small_surface.truth_at(small_surface.config.square.to_metres(walls[::50].astype(float)))
    assert on_wall.distance_m.max() < 1e-15
    np.testing.assert_array_equal(on_wall.wall, small_surface.walls[tuple(walls[::50].T)])
    point = np.array([[190.0, 190.0]])
    pitch = small_surface.config.pitch_m
    beside = small_surface.truth_at(small_surface.config.square.to_metres(point))
    assert beside.distance_m[0] == pytest.approx(np.hypot(*(walls - point).T).min() * pitch, abs=1e-13)


def test_a_surface_without_walls_says_so() -> None:
    config = SMALL.model_copy(update={"superdomain_m": 3e-6, "needle_share": 1.0, "stripe_share": 0.0, "herringbone_share": 0.0})
    bare = config.model_copy(
        update={"c_minus_share": 0.0, "needles": config.needles.model_copy(update={"width_m": 1e-12}), "pixels": 64}
    )
    surface = grow_surface(bare, np.random.default_rng(0))
    truth = surface.truth_at(centre_of(surface))
    assert truth.wall[0] == WallType.NONE
    assert np.isinf(truth.distance_m[0])


def test_beyond_its_border_the_surface_is_its_mirror_image(small_surface: Surface) -> None:
    half = small_surface.config.size_m / 2
    inside = centre_of(small_surface) + np.array([half - 50e-9, 10e-9])
    outside = centre_of(small_surface) + np.array([half + 50e-9, 10e-9])
    np.testing.assert_allclose(small_surface.grid(outside), small_surface.grid(inside))


def test_the_composition_of_a_window_counts_its_wall_pixels(small_surface: Surface) -> None:
    shares = small_surface.composition_at(centre_of(small_surface), small_surface.config.size_m)
    counts = np.array([(small_surface.walls == wall).sum() for wall in WALL_TYPES])
    np.testing.assert_allclose(shares[0], counts / counts.sum(), atol=0.01)
    assert shares.sum() == pytest.approx(1.0)


def test_a_written_spot_changes_state_response_and_walls_there_and_leaves_the_old_surface_alone(small_surface: Surface) -> None:
    x_m, y_m = centre_of(small_surface)[0] + [120e-9, -300e-9]
    before = small_surface.state.copy()
    written = small_surface.with_spot(x_m, y_m, 45e-9, DomainState.C_MINUS)
    np.testing.assert_array_equal(small_surface.state, before)
    row, col = written.grid(np.array([[x_m, y_m]]))[0]
    axis = np.arange(written.config.pixels)
    distance = np.hypot(axis[:, None] - row, axis[None, :] - col) * written.config.pitch_m
    assert (written.state[distance < 45e-9] == DomainState.C_MINUS).all()
    assert (written.response[distance < 45e-9] < 0).all()
    np.testing.assert_array_equal(written.state[distance > 46e-9], before[distance > 46e-9])
    assert written.truth_at(np.array([[x_m + 45e-9, y_m]])).distance_m[0] < 2 * written.config.pitch_m


def test_the_rim_of_a_written_spot_is_a_180_degree_wall_and_inside_it_no_wall_is_left(small_surface: Surface) -> None:
    pitch = small_surface.config.pitch_m
    row, col = np.argwhere(small_surface.walls[60:-60, 60:-60] == WallType.GRAIN_BOUNDARY)[0] + 60
    x_m, y_m = small_surface.config.square.to_metres(np.array([[float(row), float(col)]]))[0]
    written = small_surface
    for state in (DomainState.C_MINUS, DomainState.C_PLUS):  # one upon the other: the first is forgotten
        written = written.with_spot(x_m, y_m, 60e-9, state)
    axis = np.arange(written.config.pixels)
    distance_m = np.hypot(axis[:, None] - row, axis[None, :] - col) * pitch
    assert (written.walls[distance_m < 60e-9 - 2 * pitch] == WallType.NONE).all()
    inside = distance_m < 60e-9
    rim = (inside != np.roll(inside, -1, 1)) & (written.state != np.roll(written.state, -1, 1))
    assert rim.sum() > 5
    assert (written.walls[rim] == WallType.C_C_180).all()
    np.testing.assert_array_equal(
        written.walls[distance_m > 60e-9 + 2 * pitch], small_surface.walls[distance_m > 60e-9 + 2 * pitch]
    )


def test_a_spot_of_the_state_that_is_there_already_makes_no_wall(small_surface: Surface) -> None:
    rows, cols = np.nonzero(ndimage.distance_transform_edt(small_surface.state == DomainState.C_PLUS) > 12)
    inner = (rows > 40) & (rows < 340) & (cols > 40) & (cols < 340)
    at = small_surface.config.square.to_metres(np.array([[float(rows[inner][0]), float(cols[inner][0])]]))[0]
    again = small_surface.with_spot(*at, 10 * small_surface.config.pitch_m, DomainState.C_PLUS)
    other = small_surface.with_spot(*at, 10 * small_surface.config.pitch_m, DomainState.C_MINUS)
    np.testing.assert_array_equal(again.walls, small_surface.walls)
    assert other.truth_at(at[None]).microstructure[0] == Microstructure.C_C


def test_coarse_types_join_the_needles_and_keep_the_rest_apart(small_surface: Surface) -> None:
    assert coarse(np.array([WallType.NEEDLE_PLUS, WallType.NEEDLE_MINUS])).tolist() == [Microstructure.NEEDLE] * 2
    assert set(coarse(np.array(list(WallType))).tolist()) == set(Microstructure)
    xy_m = centre_of(small_surface) + np.linspace(-3e-7, 3e-7, 7)[:, None]
    fine, joined = small_surface.composition_at(xy_m, 200e-9), small_surface.microstructure_at(xy_m, 200e-9)
    needles = fine[:, WallType.NEEDLE_PLUS - 1] + fine[:, WallType.NEEDLE_MINUS - 1]
    np.testing.assert_allclose(joined[:, Microstructure.NEEDLE - 1], needles)
    np.testing.assert_allclose(joined[:, Microstructure.STRIPE - 1], fine[:, WallType.STRIPE - 1])
    np.testing.assert_allclose(joined.sum(axis=1), fine.sum(axis=1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"interspersed_m": 10e-9}, r"interspersed_m is 10 nm; 23.5 nm \(8 grid points\) to 1100 nm"),
        ({"interspersed_m": 2e-6}, "a superdomain"),
        ({"c_minus_kinds": ["needle"]}, "c_minus_kinds"),
        ({"pixels": 10}, "64 to 4096"),
        ({"needle_share": 0, "stripe_share": 0, "herringbone_share": 0}, "positive share"),
        ({"period": 1}, "Extra inputs"),
    ],
)
def test_a_surface_that_cannot_be_grown_is_refused_with_a_reason(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        SurfaceConfig.model_validate(changes)


def test_fields_have_unit_variance_and_the_correlation_asked_for() -> None:
    field = smooth_field(np.random.default_rng(0), 512, 6.0, stretch=3.0)
    assert field.std() == pytest.approx(1.0, abs=1e-5)
    across, along = (float((field * np.roll(field, 6, axis)).mean()) for axis in (0, 1))
    assert across == pytest.approx(np.exp(-0.5), abs=0.06)
    assert along == pytest.approx(np.exp(-0.5 / 9), abs=0.03)


def test_a_power_law_field_has_the_slope_asked_for() -> None:
    side = 256
    power = np.abs(np.fft.fft2(power_law_field(np.random.default_rng(0), side, 2.8))) ** 2
    cycles = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))) * side
    band = (cycles > 4) & (cycles < 100)
    slope, _ = np.polyfit(np.log(cycles[band]), np.log(power[band]), 1)
    assert slope == pytest.approx(-2.8, abs=0.1)
