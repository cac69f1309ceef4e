import numpy as np
import pytest

from rewards.density import dense_enough, relative_closeness


@pytest.mark.parametrize("d", [2, 3, 6])
def test_a_threshold_of_closeness_keeps_the_core_and_not_the_rim_in_any_dimension(d: int) -> None:
    z = np.random.default_rng(0).standard_normal((2000, d))
    closeness = relative_closeness(z)
    assert closeness.max() == 1
    radius = np.linalg.norm(z, axis=1)
    kept = closeness >= 0.3
    assert 0.1 < kept.mean() < 0.95
    assert radius[kept].mean() < radius[~kept].mean()


def test_a_kernel_of_the_planes_bandwidth_would_keep_nothing_together_in_six_dimensions_so_all_are_kept() -> None:
    z = np.random.default_rng(0).standard_normal((500, 6))
    assert dense_enough(z, 0.5, 0.05).all()
    assert not dense_enough(z[:, :2], 0.5, 0.05).all()
    assert 0 < dense_enough(z, 0.2, 0.05, closeness=0.5).sum() < 500


def test_points_that_coincide_are_the_densest() -> None:
    z = np.concatenate([np.zeros((30, 3)), np.random.default_rng(0).standard_normal((50, 3))])
    assert relative_closeness(z)[:30] == pytest.approx(1)
    assert relative_closeness(z)[30:].max() == 0


def test_a_single_point_is_kept() -> None:
    assert dense_enough(np.zeros((1, 3)), 0.2, 0.05, closeness=0.5).all()
