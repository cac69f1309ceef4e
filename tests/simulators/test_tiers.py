import numpy as np
import pytest

from simulators.errors import UnknownTierError
from simulators.sample.domains import DomainState, WallType
from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface
from simulators.tiers import GRADED, HARD, INTERSPERSED, LOOPS_ALIKE, SHUFFLED, SINGLE_TYPE, TIERS, tier

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


@pytest.mark.parametrize("name", [*GRADED, HARD, *INTERSPERSED])
def test_worlds_with_types_hold_every_type(name: str) -> None:
    assert set(np.unique(grown(name).walls)) == set(WallType)


@pytest.mark.parametrize("name", INTERSPERSED)
def test_interspersed_kinds_share_superdomains_and_other_worlds_keep_one_kind_in_each(name: str) -> None:
    mixed, apart = grown(name), grown(name.removesuffix("-interspersed"))
    np.testing.assert_array_equal(mixed.superdomain, apart.superdomain)
    large = np.bincount(mixed.superdomain.ravel()).argmax()
    assert len(np.unique(mixed.kind[mixed.superdomain == large])) > 1
    assert all(len(np.unique(apart.kind[apart.superdomain == n])) == 1 for n in np.unique(apart.superdomain))
    for kind in np.unique(apart.kind):
        assert (mixed.kind == kind).mean() == pytest.approx((apart.kind == kind).mean(), abs=0.15)


def test_lamellae_go_on_from_one_cell_to_the_next_of_the_same_kind() -> None:
    """With one kind only, cells divide nothing: the surface is the same with and without them."""
    config = tier("stripes", 0).surface.model_copy(update={"pixels": COARSE})
    whole, divided = (
        grow_surface(config.model_copy(update={"interspersed_m": cell_m}), np.random.default_rng(0)) for cell_m in (0.0, 300e-9)
    )
    np.testing.assert_array_equal(whole.state, divided.state)
    np.testing.assert_array_equal(whole.response, divided.response)


def test_a_shuffled_world_has_the_values_and_the_spectrum_of_easy_and_180_degree_walls_only() -> None:
    easy, shuffled = grown("easy"), grown(SHUFFLED)
    np.testing.assert_array_equal(np.sort(shuffled.response, axis=None), np.sort(easy.response, axis=None))
    power = [np.abs(np.fft.rfft2(one.response)) for one in (easy, shuffled)]
    assert np.corrcoef(np.log(power[0][1:, 1:].ravel()), np.log(power[1][1:, 1:].ravel()))[0, 1] > 0.9
    assert abs(np.corrcoef(easy.response.ravel(), shuffled.response.ravel())[0, 1]) < 0.2
    assert set(np.unique(shuffled.walls)) == {WallType.NONE, WallType.C_C_180}
    np.testing.assert_array_equal(shuffled.state == DomainState.C_MINUS, shuffled.response < 0)


def test_loops_depend_on_the_type_less_in_hard_worlds_and_not_at_all_in_loops_alike() -> None:
    eta2 = [tier(name, 0).spectroscopy.loop.eta2 for name in ("easy", HARD, LOOPS_ALIKE)]
    assert eta2 == [0.35, 0.15, 0.0]
    alike = tier(LOOPS_ALIKE, 5)
    assert alike.model_copy(update={"spectroscopy": tier("easy", 5).spectroscopy}) == tier("easy", 5)


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
    with pytest.raises(UnknownTierError, match="no tier 'impossible'; give one of clean, easy, medium, hard, clean-interspersed"):
        tier("impossible", 0)
