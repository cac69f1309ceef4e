import numpy as np
import pytest

from simulators.domains import WallType
from simulators.errors import UnknownTierError
from simulators.growth import grow_surface
from simulators.surface import Surface
from simulators.tiers import GRADED, SINGLE_TYPE, TIERS, tier

ONLY = {"needles": WallType.NEEDLE_PLUS, "stripes": WallType.STRIPE, "herringbone": WallType.HERRINGBONE}
COARSE = 256  # grid points a side: enough to count walls


def grown(name: str, seed: int = 0) -> Surface:
    config = tier(name, seed).surface.model_copy(update={"pixels": COARSE})
    return grow_surface(config, np.random.default_rng(seed))


@pytest.mark.parametrize("name", TIERS)
def test_every_tier_is_an_instrument_that_can_be_built_again(name: str) -> None:
    assert tier(name, 7) == tier(name, 7)
    assert tier(name, 7).seed == 7
    np.testing.assert_array_equal(grown(name, 7).response, grown(name, 7).response)


def test_the_easy_tier_is_what_an_instrument_has_by_default() -> None:
    assert tier("easy", 0) == type(tier("easy", 0))()


@pytest.mark.parametrize("name", GRADED)
def test_graded_worlds_hold_every_type(name: str) -> None:
    assert set(np.unique(grown(name).walls)) == set(WallType)


@pytest.mark.parametrize("name", SINGLE_TYPE)
def test_a_world_of_a_single_type_has_walls_of_that_type_only(name: str) -> None:
    walls = grown(name).walls
    assert set(np.unique(walls)) == {WallType.NONE, ONLY[name]}
    assert (walls == ONLY[name]).mean() > 0.02


@pytest.mark.parametrize("name", SINGLE_TYPE)
def test_a_turned_world_adds_nothing_but_a_few_boundaries(name: str) -> None:
    walls = np.concatenate([grown(f"{name}-turned", seed).walls.ravel() for seed in range(3)])
    assert set(np.unique(walls)) == {WallType.NONE, WallType.GRAIN_BOUNDARY, ONLY[name]}
    assert 0 < (walls == WallType.GRAIN_BOUNDARY).sum() < 0.15 * (walls == ONLY[name]).sum()


def test_a_tier_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UnknownTierError, match="no tier 'impossible'; use one of clean, easy, medium, needles"):
        tier("impossible", 0)
