import numpy as np
import pytest

from simulators.physics.probe import Probe
from simulators.physics.wear import WearConfig, draw_wear, initial_probe

LINES = 256


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_probe_does_not_wear_by_default() -> None:
    worn = Probe(gain=0.7, blunting=1.2, resonance_shift_Hz=300.0)
    states = draw_wear(worn, LINES, WearConfig(), rng())
    assert initial_probe(WearConfig(), rng()) == Probe()
    assert states.last() == worn
    assert (states.gain == 0.7).all()
    assert states.locked.all()
    assert not states.contamination.any()


def test_steps_of_the_gain_last_and_stay_in_their_range() -> None:
    """Mean of 20 steps a frame: none in 10 frames has a chance of e^-200."""
    config = WearConfig(gain_steps=20.0)
    probe = Probe()
    for seed in range(10):
        states = draw_wear(probe, LINES, config, rng(seed))
        assert np.isin(states.gain, probe.gain).sum() < LINES
        assert ((states.gain >= config.gain_min) & (states.gain <= config.gain_max) | (states.gain == probe.gain)).all()
        probe = states.last()
        assert probe.gain == states.gain[-1]


def test_a_frame_has_as_many_steps_as_the_rate_says() -> None:
    """200 frames of 1.5 steps on average: outside 1.2-1.8 in fewer than 1 in 1,000 runs (steps on line 0 do not show)."""
    states = [draw_wear(Probe(), LINES, WearConfig(gain_steps=1.5), rng(seed)) for seed in range(200)]
    assert np.mean([np.count_nonzero(np.diff(one.gain)) for one in states]) == pytest.approx(1.5, abs=0.3)


def test_bands_and_lost_locks_end_within_the_lines_that_they_may_last() -> None:
    for seed in range(20):
        states = draw_wear(Probe(), LINES, WearConfig(bands=1.0, band_lines_max=12), rng(seed))
        dirty = np.flatnonzero(states.contamination)
        assert (states.gain[dirty] < 1).all()
        assert (states.blunting[dirty] > 1).all()
        assert len(dirty) <= 12 * (1 + np.count_nonzero(np.diff(dirty) > 1)) + 12
        lost = np.flatnonzero(~draw_wear(Probe(), LINES, WearConfig(lock_losses=1.0, lock_loss_lines_max=10), rng(seed)).locked)
        assert len(lost) == 0 or len(lost) >= min(10, LINES - lost[0])


def test_what_sticks_to_the_tip_is_gone_with_the_frame() -> None:
    worn = Probe(gain=0.8, blunting=1.2)
    for seed in range(20):
        states = draw_wear(worn, 12, WearConfig(bands=5.0), np.random.default_rng(seed))
        assert states.last() == worn


def test_a_used_probe_has_a_gain_and_a_spot_of_its_own() -> None:
    config = WearConfig(worn=True)
    probes = {initial_probe(config, rng(seed)) for seed in range(5)}
    assert len(probes) == 5
    assert all(config.gain_min <= probe.gain <= config.gain_max for probe in probes)
    assert all(config.blunting_min <= probe.blunting <= config.blunting_max for probe in probes)


def test_ranges_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match="gain_min is 2, larger than gain_max"):
        WearConfig(gain_min=2.0)
