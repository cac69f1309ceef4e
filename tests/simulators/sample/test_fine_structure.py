"""What makes a surface look real and is no wall in the truth, and what an earlier experiment wrote, which is one."""

import numpy as np
import pytest

from simulators.sample.domains import DomainState, WallType
from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface
from tests.simulators.conftest import SMALL

COARSE = SMALL.model_copy(update={"pixels": 192})


def grown(**knobs: float) -> Surface:
    return grow_surface(COARSE.model_copy(update=knobs), np.random.default_rng(0))


@pytest.fixture(scope="module")
def plain() -> Surface:
    return grown()


@pytest.mark.parametrize("knob", ["wall_shading", "fine_texture", "bright_spots", "nested_depth"])
def test_fine_structure_changes_the_response_and_not_the_truth(plain: Surface, knob: str) -> None:
    fine = grown(**{knob: 0.3})
    np.testing.assert_array_equal(fine.state, plain.state)
    np.testing.assert_array_equal(fine.walls, plain.walls)
    ratio = fine.response / plain.response
    assert (ratio > 0).all(), "a gain, so no domain turns"
    assert 0.02 < np.log(ratio).std() < 0.5


def test_bright_spots_are_rare_and_only_brighten(plain: Surface) -> None:
    ratio = grown(bright_spots=0.5).response / plain.response
    assert ratio.min() == 1
    assert 0.01 < (ratio > 1).mean() < 0.2


def test_inclined_walls_brighten_one_side_of_a_lamella_as_they_darken_the_other(plain: Surface) -> None:
    log_ratio = np.log(grown(wall_shading=0.2).response / plain.response)
    assert log_ratio.std() == pytest.approx(0.2, rel=0.01)
    assert abs(log_ratio.mean()) < 0.01


def test_relief_leaves_everything_but_the_height_alone(plain: Surface) -> None:
    hilly = grown(relief_m=20e-9)
    for name in ("state", "response", "resonance_shift_Hz"):
        np.testing.assert_array_equal(getattr(hilly, name), getattr(plain, name))
    assert (hilly.height_m - plain.height_m).std() == pytest.approx(20e-9, rel=0.01)


def test_a_written_rectangle_turns_domains_and_has_180_degree_walls_at_its_edges(plain: Surface) -> None:
    """Mean of 5: none at all has a chance of e^-5 at other seeds."""
    written = grown(written_boxes=5.0, written_box_m=0.4e-6)
    turned = written.state != plain.state
    assert turned.any()
    assert set(np.unique(plain.state[turned])) <= {DomainState.C_PLUS, DomainState.C_MINUS}
    both_c = (plain.state[:, 1:] < DomainState.A_FIRST) & (plain.state[:, 1:] == plain.state[:, :-1])
    edges = (turned[:, 1:] != turned[:, :-1]) & both_c
    assert edges.sum() > 10
    assert np.isin(written.walls[:, :-1][edges], [WallType.C_C_180, WallType.GRAIN_BOUNDARY]).mean() > 0.9


def test_domains_that_point_down_respond_as_weakly_as_they_are_said_to() -> None:
    quiet = {"contrast_spread": 0.0, "gain_spread": 0.0, "texture": 0.0, "boundary_width_m": 0.0}
    surface = grown(c_minus_response=0.45, **quiet)
    for state, expected in ((DomainState.C_PLUS, 1.0), (DomainState.C_MINUS, -0.45)):
        assert np.median(surface.response[surface.state == state]) == pytest.approx(expected, abs=1e-6)
