import numpy as np
import pytest

from simulators.physics.motion import Drift, MotionConfig, StageMotion

MINUTES = np.array([0.0, 60.0, 600.0])


def test_nothing_has_moved_at_the_start() -> None:
    drift = Drift.random(MotionConfig(), np.random.default_rng(0))
    np.testing.assert_allclose(drift.displacement_m(MINUTES)[0], 0)


def test_drift_goes_on_at_its_speed() -> None:
    drift = Drift.random(MotionConfig(drift_m_per_min=5e-9, creep_m=0), np.random.default_rng(0))
    assert np.hypot(*drift.displacement_m(MINUTES)[2]) == pytest.approx(50e-9)


def test_creep_comes_to_rest() -> None:
    drift = Drift.random(MotionConfig(drift_m_per_min=0, creep_m=20e-9, creep_time_s=300), np.random.default_rng(0))
    far = np.hypot(*drift.displacement_m(np.array([300.0, 1e5])).T)
    np.testing.assert_allclose(far, [20e-9 * (1 - np.exp(-1)), 20e-9])


def test_the_directions_follow_from_the_seed() -> None:
    first, again, other = (Drift.random(MotionConfig(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def stage(**changes: float) -> StageMotion:
    still = {"drift_m_per_min": 0.0, "creep_m": 0.0, "step_creep": 0.01, "creep_time_s": 300.0}
    return StageMotion(Drift.random(MotionConfig.model_validate(still | changes), np.random.default_rng(0)))


def test_a_move_arrives_short_by_a_share_of_its_length_and_creeps_the_rest() -> None:
    moved = stage()
    moved.go_to(0.0, 0.0, 0.0)
    moved.go_to(10e-6, -5e-6, 100.0)
    on_arrival, later, at_last = moved.displacement_m(np.array([100.0, 400.0, 1e5]))
    np.testing.assert_allclose(on_arrival, [-100e-9, 50e-9])
    np.testing.assert_allclose(later, on_arrival / np.e)
    np.testing.assert_allclose(at_last, 0, atol=1e-15)


def test_the_approach_is_no_move_and_moves_back_and_forth_cancel() -> None:
    moved = stage()
    moved.go_to(3e-6, 3e-6, 0.0)
    np.testing.assert_array_equal(moved.displacement_m(np.array([0.0, 50.0])), 0)
    moved.go_to(4e-6, 3e-6, 60.0)
    moved.go_to(3e-6, 3e-6, 60.0)
    np.testing.assert_allclose(moved.displacement_m(np.array(60.0)), 0, atol=1e-18)


def test_creep_of_moves_adds_to_drift() -> None:
    moved, drift = (
        stage(drift_m_per_min=6e-9),
        Drift.random(MotionConfig(drift_m_per_min=6e-9, creep_m=0), np.random.default_rng(0)),
    )
    moved.go_to(0.0, 0.0, 0.0)
    moved.go_to(1e-6, 0.0, 600.0)
    expected = drift.displacement_m(np.array(600.0)) - [10e-9, 0.0]
    np.testing.assert_allclose(moved.displacement_m(np.array(600.0)), expected)
