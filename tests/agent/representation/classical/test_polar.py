import numpy as np
import pytest

from agent.representation.classical import polar_magnitudes


@pytest.mark.slow
@pytest.mark.parametrize("window", [7, 8, 15])
def test_polar_features_do_not_change_with_rotation_by_90_degrees_and_mirroring(window: int) -> None:
    patches = np.random.default_rng(0).random((5, 2, window, window))
    features = polar_magnitudes(patches)
    assert polar_magnitudes(np.rot90(patches, axes=(2, 3))) == pytest.approx(features, abs=1e-12)
    assert polar_magnitudes(np.flip(patches, axis=3)) == pytest.approx(features, abs=1e-12)
    assert np.abs(polar_magnitudes(patches[:, ::-1]) - features).max() > 0.01  # the order of the channels does matter


def stripes(angle_rad: float, period_px: float, side: int = 15) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return 0.5 + 0.5 * np.cos(2 * np.pi * (x * np.cos(angle_rad) + y * np.sin(angle_rad)) / period_px)[None, None]


def test_polar_features_of_stripes_depend_on_their_period_and_hardly_on_their_angle() -> None:
    upright = polar_magnitudes(stripes(0.0, 8))
    rotated = np.linalg.norm(polar_magnitudes(stripes(0.5, 8)) - upright)
    finer = np.linalg.norm(polar_magnitudes(stripes(0.0, 6)) - upright)
    assert rotated < 0.2 * finer
