import re
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from instrument_adapters.errors import InstrumentFaultError
from simulators.errors import FailedLoopError
from simulators.physics.failed_loops import FailureConfig
from simulators.physics.hysteresis import LoopConfig, LoopShape, draw_shape, latent_parameters
from simulators.physics.spectroscopy import Loop, SpectroscopyConfig, loop_parameters, record_loop, triangle
from simulators.sample.domains import WALL_TYPES, Truth

CLEAN = SpectroscopyConfig(noise=0, noise_floor_pm=0, spike_rate=0, failure_rate=0)
SHAPE = LoopShape(-20.0, 40.0, 4.0, -2.5, 0.0, (0.8, 0.8, 0.8, 0.8))


def truths(walls: np.ndarray, distance_m: float = 0.0) -> Truth:
    count = len(walls)
    return Truth(np.zeros(count, np.int8), walls.astype(np.int8), np.full(count, distance_m), np.ones(count, np.int8))


def loop_of(shape: LoopShape, config: SpectroscopyConfig = CLEAN) -> Loop:
    bias_V, rising = triangle(config)
    return Loop(bias_V, shape.respond(bias_V, rising))


def explained(values: np.ndarray, groups: np.ndarray) -> float:
    """Between-group over total sum of squares."""
    means = {group: values[groups == group].mean() for group in np.unique(groups)}
    between = sum((groups == group).sum() * (mean - values.mean()) ** 2 for group, mean in means.items())
    return float(between / ((values - values.mean()) ** 2).sum())


def parameters_at(wall: int, config: SpectroscopyConfig, rng: np.random.Generator) -> dict[str, float] | None:
    """What one loop on a wall gives; None if it failed."""
    try:
        return loop_parameters(record_loop(truths(np.array([wall])), config, rng))
    except FailedLoopError:
        return None


def test_the_bias_starts_at_zero_and_goes_through_both_extremes_once() -> None:
    bias_V, rising = triangle(SpectroscopyConfig(steps=64))
    assert bias_V[0] == 0
    assert bias_V[16] == bias_V.max() == 8.5
    assert bias_V[48] == bias_V.min() == -8.5
    assert rising.sum() == 32


def test_the_parameters_of_a_clean_loop_are_those_it_was_made_from() -> None:
    found = loop_parameters(loop_of(SHAPE))
    assert found["coercive_plus_V"] == pytest.approx(4.0, abs=0.05)
    assert found["coercive_minus_V"] == pytest.approx(-2.5, abs=0.05)
    assert found["imprint_V"] == pytest.approx(0.75, abs=0.05)
    assert found["width_V"] == pytest.approx(6.5, abs=0.1)
    assert found["remanent_plus_pm"] == pytest.approx(20.0, abs=0.1)
    assert found["remanent_minus_pm"] == pytest.approx(-20.0, abs=0.1)
    assert found["area_pmV"] == pytest.approx(6.5 * 40, rel=0.02)


def test_single_spikes_do_not_move_the_coercive_biases() -> None:
    loop = loop_of(SHAPE)
    for step in (5, 30, 55):
        loop.response_pm[step] += 200.0
    found = loop_parameters(loop)
    assert found["coercive_plus_V"] == pytest.approx(4.0, abs=0.3)
    assert found["coercive_minus_V"] == pytest.approx(-2.5, abs=0.3)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (LoopShape(0.0, 0.0, 4.0, -2.5, 0.0, (1.0,) * 4), "no hysteresis|never crosses"),
        (LoopShape(-20.0, 40.0, 20.0, -2.5, 0.0, (1.0,) * 4), "never crosses|no hysteresis"),
        (LoopShape(-20.0, 40.0, -2.0, 3.0, 0.0, (1.0,) * 4), "closed"),
    ],
    ids=["flat", "unswitched", "reversed"],
)
def test_a_loop_that_says_nothing_is_a_fault_with_a_reason(shape: LoopShape, says: str) -> None:
    with pytest.raises(FailedLoopError, match=says) as caught:
        loop_parameters(loop_of(shape))
    assert isinstance(caught.value, InstrumentFaultError)


def test_pure_noise_is_not_taken_for_a_loop() -> None:
    """One failure in 2,000 noise loops is allowed; none was seen in 1,000."""
    rng = np.random.default_rng(0)
    lost = SpectroscopyConfig(failure_rate=1.0, failures=FailureConfig(lost_contact=1, noisy=0, closed=0, unswitched=0))
    assert [p for _ in range(300) if (p := parameters_at(1, lost, rng)) is not None] == []


@pytest.mark.parametrize(
    ("way", "says"),
    [("lost_contact", "no hysteresis"), ("noisy", "no hysteresis"), ("closed", "closed"), ("unswitched", "no hysteresis|closed")],
)
def test_a_loop_that_fails_is_found_out_and_the_reason_fits(way: str, says: str) -> None:
    """300 loops each, of which 7 % (unswitched), 2 % or less (the others) pass by chance: 14 % pass once in 100,000 seeds."""
    rng = np.random.default_rng(0)
    ways = FailureConfig.model_validate(dict.fromkeys(FailureConfig.model_fields, 0.0) | {way: 1.0, "louder": 8.0})
    config = SpectroscopyConfig(failure_rate=1.0, failures=ways)
    reasons = []
    for _ in range(300):
        try:
            loop_parameters(record_loop(truths(np.array([1])), config, rng))
        except FailedLoopError as error:
            reasons.append(str(error))
    assert len(reasons) > 0.86 * 300
    assert sum(re.search(says, reason) is not None for reason in reasons) > 0.95 * len(reasons)


def test_a_loop_that_can_fail_in_no_way_is_refused() -> None:
    with pytest.raises(ValidationError, match="set failure_rate to 0"):
        FailureConfig(lost_contact=0, noisy=0, closed=0, unswitched=0)


def test_a_branch_in_two_steps_rests_between_them_and_keeps_its_coercive_bias() -> None:
    shape = replace(SHAPE, coercive_plus_V=3.0, steps_V=(3.0, 0.0))
    bias_V, rising = triangle(CLEAN)
    response = shape.respond(bias_V, rising)
    assert np.interp(3.0, bias_V[:16], response[:16]) == pytest.approx(0.0, abs=0.5)  # the middle, between the two
    slope = np.gradient(response[:16], bias_V[:16])
    middle, first, second = (np.interp(V, bias_V[:16], slope) for V in (3.0, 1.5, 4.5))
    assert middle < 0.1 * first
    assert middle < 0.1 * second
    np.testing.assert_array_equal(response[~rising], SHAPE.respond(bias_V, rising)[~rising])


def test_the_set_share_of_branches_switches_in_two_steps() -> None:
    """2,000 branches: 280 are expected with a standard deviation of 16; 80 fails once in a million seeds."""
    rng = np.random.default_rng(0)
    steps = [V for _ in range(1000) for V in draw_shape(truths(np.array([1])), LoopConfig(), rng).steps_V]
    assert sum(V > 0 for V in steps) == pytest.approx(280, abs=80)


def test_the_noise_of_a_loop_is_mostly_proportional_to_its_height() -> None:
    """Of 420 loops over a decade of heights; the exponent's standard error is below 0.02."""
    rng = np.random.default_rng(0)
    config = SpectroscopyConfig(failure_rate=0, spike_rate=0)
    loops = [record_loop(truths(np.array([wall])), config, rng) for wall in WALL_TYPES * 70]
    height = np.array([np.ptp(loop.response_pm) for loop in loops])
    noise = np.array([np.median(np.abs(np.diff(loop.response_pm, 2))) for loop in loops])
    assert np.quantile(height, 0.95) / np.quantile(height, 0.05) > 8
    assert np.polyfit(np.log(height), np.log(noise), 1)[0] > 0.7


def test_noisy_loops_give_the_coercive_biases_without_bias_and_with_a_fair_error() -> None:
    rng = np.random.default_rng(0)
    bias_V, rising = triangle(CLEAN)
    clean = SHAPE.respond(bias_V, rising)
    found = [loop_parameters(Loop(bias_V, clean + 0.037 * 40 * rng.standard_normal(64)))["coercive_plus_V"] for _ in range(200)]
    assert np.mean(found) == pytest.approx(4.0, abs=0.06)
    assert np.std(found) < 0.2


@pytest.mark.parametrize("eta2", [0.0, 0.15, 0.35, 0.8])
def test_the_wall_type_explains_the_share_of_variance_that_was_set(eta2: float) -> None:
    """12,000 draws: the estimate's standard deviation is below 0.008, so 0.04 fails once in a million seeds."""
    walls = np.tile(np.array(WALL_TYPES), 2000)
    latent = latent_parameters(truths(walls), LoopConfig(eta2=eta2), np.random.default_rng(0))
    for column in latent.T:
        assert explained(column, walls) == pytest.approx(eta2, abs=0.04)


@pytest.mark.slow
def test_the_extracted_coercive_biases_keep_most_of_the_explained_variance() -> None:
    """1,200 loops: the estimate's standard deviation is 0.02; noise and failed loops may take 0.07 off; fails 1 in 1,000."""
    rng = np.random.default_rng(0)
    config = SpectroscopyConfig(failure_rate=0.05)
    found = [(wall, p) for wall in WALL_TYPES * 200 if (p := parameters_at(wall, config, rng)) is not None]
    assert len(found) > 1000
    walls = np.array([wall for wall, _ in found])
    for name in ("coercive_plus_V", "coercive_minus_V"):
        assert 0.22 < explained(np.array([p[name] for _, p in found]), walls) < 0.42


def test_the_influence_of_a_wall_decays_with_the_distance() -> None:
    walls = np.tile(np.array(WALL_TYPES), 1000)
    rng = np.random.default_rng(0)
    on, off, far = (
        explained(latent_parameters(truths(walls, distance_m), LoopConfig(eta2=0.8), rng)[:, 1], walls)
        for distance_m in (0.0, 25e-9, 250e-9)
    )
    assert on > off > far
    assert far < 0.01


REAL = {  # 5th percentile, median, 95th percentile of 2,500 loops of PbTiO3
    "coercive_plus_V": (1.9, 4.9, 8.2),
    "coercive_minus_V": (-5.8, -3.0, -0.9),
    "width_V": (4.1, 8.0, 11.4),
    "imprint_V": (-1.1, 0.96, 3.2),
}


@pytest.mark.slow
def test_loops_have_the_spread_of_real_ones() -> None:
    """720 loops: the standard error of a median is below 0.1 V, that of a 5th percentile below 0.2 V, so 0.5 V and 1.2 V fail
    for a change of the statistics and not by chance (4 standard errors and more above what the defaults leave).
    """
    rng = np.random.default_rng(0)
    config = SpectroscopyConfig(failure_rate=0)
    found = [p for wall in WALL_TYPES * 120 if (p := parameters_at(wall, config, rng)) is not None]
    assert len(found) > 0.95 * 120 * len(WALL_TYPES)
    for name, (low, middle, high) in REAL.items():
        seen = np.percentile([p[name] for p in found], [5, 50, 95])
        assert seen[1] == pytest.approx(middle, abs=0.5), name
        np.testing.assert_allclose(seen[[0, 2]], [low, high], atol=1.2, err_msg=name)


def test_about_the_set_share_of_loops_fails() -> None:
    """Of 400 loops 100 are expected with a standard deviation of 9; 35 fails once in 10,000 seeds."""
    rng = np.random.default_rng(1)
    config = SpectroscopyConfig(failure_rate=0.25)
    failed = sum(parameters_at(wall, config, rng) is None for wall in (WALL_TYPES * 67)[:400])
    assert failed == pytest.approx(100, abs=35)
