from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from agent.config.drift import DriftSettings
from agent.preprocessing.registration import register
from instrument_adapters.formats.scan_file import read_scan
from simulators.mfp3d import SimulatedMFP3D
from simulators.tiers import tier

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data"


def surface(seed: int, size: int = 160) -> np.ndarray:
    """A surface with features of about ten pixels and a margin to shift within."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), 4).astype(np.float32)


def scanned(scene: np.ndarray, shift_rc: tuple[float, float], seed: int, gain: float = 1.0) -> np.ndarray:
    """A scan of 128 pixels in which the features are shifted, with noise of its own."""
    image = gain * ndimage.shift(scene, shift_rc, order=3)[16:-16, 16:-16]
    return (image + 0.1 * scene.std() * np.random.default_rng(seed).normal(size=image.shape)).astype(np.float32)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.5, -1.25), (-7.3, 4.1), (0.4, 11.0)])
def test_a_shift_is_found_to_a_tenth_of_a_pixel_whatever_the_gain(shift: tuple[float, float]) -> None:
    scene = surface(0)
    found = register(scanned(scene, (0.0, 0.0), 1), scanned(scene, shift, 2, gain=1.6))
    assert found is not None
    np.testing.assert_allclose(found.shift_rc, shift, atol=0.1)
    assert found.agreement > 0.8


@pytest.mark.slow
def test_scans_of_different_places_do_not_agree() -> None:
    # Of 18 pairs of simulated worlds the largest agreement was 0.26, of five pairs of recorded scans 0.10; the limit is 0.35.
    worlds = [("easy", 0), ("easy", 1), ("medium", 2), ("medium", 3)]  # of the same seed they would show the same place
    images = [SimulatedMFP3D(tier(*world)).scan().channels["Amplitude1Retrace"] for world in worlds]
    pairs = [register(images[i], images[j]) for i in range(4) for j in range(i)]
    assert all(one is not None and one.agreement < DriftSettings().least_agreement for one in pairs), pairs


@pytest.mark.slow
@pytest.mark.skipif(not RECORDED.exists(), reason="../shared/data is absent: no recorded scan on this machine")
def test_two_recorded_scans_of_one_place_agree() -> None:
    one, two = (read_scan(RECORDED / f"PZT_final000{i}.h5") for i in (1, 2))
    found = register(one.channels["AmplitudeRetrace"], two.channels["AmplitudeRetrace"])
    assert found is not None
    assert found.agreement > DriftSettings().least_agreement
    phases = register(one.channels["PhaseRetrace"], two.channels["PhaseRetrace"])
    assert phases is not None
    np.testing.assert_allclose(found.shift_rc, phases.shift_rc, atol=0.5)


def test_missing_lines_do_not_distort_the_registration() -> None:
    scene = surface(3)
    later = scanned(scene, (3.0, -2.0), 2)
    later[40:46] = np.nan
    found = register(scanned(scene, (0.0, 0.0), 1), later)
    assert found is not None
    np.testing.assert_allclose(found.shift_rc, (3.0, -2.0), atol=0.2)


@pytest.mark.parametrize(
    "image", [np.ones((64, 64), np.float32), np.full((64, 64), np.nan, np.float32), np.ones((8, 8), np.float32)]
)
def test_images_without_contrast_and_small_images_are_not_registered(image: np.ndarray) -> None:
    assert register(image, image) is None
