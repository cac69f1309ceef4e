import numpy as np
import pytest

from simulators.motion import Drift, MotionConfig

MINUTES = np.array([0.0, 60.0, 600.0])


def test_nothing_has_moved_at_the_start() -> None:
    drift = Drift.drawn(MotionConfig(), np.random.default_rng(0))
    np.testing.assert_allclose(drift.displacement_m(MINUTES)[0], 0)


def test_drift_goes_on_at_its_speed() -> None:
    drift = Drift.drawn(MotionConfig(drift_m_per_min=5e-9, creep_m=0), np.random.default_rng(0))
    assert np.hypot(*drift.displacement_m(MINUTES)[2]) == pytest.approx(50e-9)


def test_creep_comes_to_rest() -> None:
    drift = Drift.drawn(MotionConfig(drift_m_per_min=0, creep_m=20e-9, creep_time_s=300), np.random.default_rng(0))
    far = np.hypot(*drift.displacement_m(np.array([300.0, 1e5])).T)
    np.testing.assert_allclose(far, [20e-9 * (1 - np.exp(-1)), 20e-9])


def test_the_directions_follow_from_the_seed() -> None:
    first, again, other = (Drift.drawn(MotionConfig(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other
