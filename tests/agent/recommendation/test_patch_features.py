import numpy as np
import pytest

from agent.recommendation.patch_features import COMPONENTS, patch_features
from tests.support.data.images import two_textures


def features(image: np.ndarray, points: np.ndarray, window_px: int = 9) -> np.ndarray:
    return patch_features(image.astype(np.float32)[None], points, window_px, fitted_rc=points)


def test_distances_of_features_are_close_to_those_of_patches_and_never_larger() -> None:
    image = two_textures(64)
    points = np.stack(np.meshgrid(np.arange(8, 56, 4), np.arange(8, 56, 4), indexing="ij"), axis=-1).reshape(-1, 2)
    found = features(image, points, window_px=3)
    patches = np.array([image[r - 1 : r + 2, c - 1 : c + 2].ravel() for r, c in points], dtype=np.float64)
    true = np.linalg.norm(patches[:, None] - patches, axis=2)
    seen = np.linalg.norm(found[:, None] - found, axis=2)
    assert found.shape == (len(points), COMPONENTS)
    assert (seen <= true + 1e-5).all()
    assert np.corrcoef(seen.ravel(), true.ravel())[0, 1] > 0.99


def test_an_image_without_contrast_has_features_of_zero() -> None:
    points = np.stack([np.arange(8, 24), np.arange(8, 24)], axis=1)
    assert features(np.full((32, 32), 0.5), points) == pytest.approx(0)


@pytest.mark.parametrize("window_px", [8, 9, 31])
def test_every_pixel_has_features_and_the_image_is_mirrored_at_its_border(window_px: int) -> None:
    image = two_textures(24)
    points = np.stack(np.unravel_index(np.arange(24 * 24), (24, 24)), axis=1)
    found = features(image, points, window_px)
    mirrored = np.pad(image, 24, mode="symmetric")
    assert found == pytest.approx(features(mirrored, points + 24, window_px), abs=1e-4)


def test_many_points_are_encoded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    image = two_textures(64)
    points = np.stack(np.meshgrid(np.arange(0, 64, 2), np.arange(0, 64, 2), indexing="ij"), axis=-1).reshape(-1, 2)
    whole = features(image, points)
    monkeypatch.setattr("agent.recommendation.patch_features._CHUNK", 100)
    assert features(image, points) == pytest.approx(whole, abs=1e-5)
