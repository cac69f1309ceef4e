"""Wild pixels are found and replaced, features of the surface are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from agent.preprocessing.scan_quality import inspect
from agent.preprocessing.wild_pixels import wild_pixels, without_wild_pixels
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "data"
AMPLITUDE, PHASE = "Amplitude1Retrace", "Phase1Retrace"
SIDE = 128
FRAME = Frame(size_fast_m=5e-6, size_slow_m=5e-6, rows=SIDE, cols=SIDE)


def surface(seed: int = 0) -> np.ndarray:
    """An amplitude of some 500 pm with domains of 10 px and noise."""
    rng = np.random.default_rng(seed)
    domains = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 5.0)
    return (5e-10 + 3e-10 * np.tanh(domains / domains.std()) + 1e-11 * rng.standard_normal((SIDE, SIDE))).astype(np.float32)


def scan_of(**images: np.ndarray) -> Scan:
    units = {AMPLITUDE: "m", PHASE: "deg"}
    return Scan({n: i.astype(np.float32) for n, i in images.items()}, {n: units[n] for n in images}, FRAME, "scan-1")


def spoiled(values: list[float], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The surface with these values at random pixels, and the mask of these pixels."""
    image, mask = surface(), np.zeros((SIDE, SIDE), np.bool_)
    at = np.random.default_rng(seed).choice(image.size, len(values), replace=False)
    image.flat[at], mask.flat[at] = values, True
    return image, mask


WILD = {
    "one hot pixel": [2e-7],
    "a cold one": [-2e-7],
    "ten hot and cold ones": [2e-7, -1e-8] * 5,
    "a thousandth": [2e-7] * 16,
    "a fill value": [-1e30],
    "the largest float": [3.4e38],
    "infinities": [np.inf, -np.inf],
    "pixels without a number": [np.nan] * 16,
    "hot beside nothing": [2e-7, np.nan, -1e30],
}


@pytest.mark.attack("a few pixels of a scan are hot, cold, empty or a fill value", promise="a sound scan is not refused for them")
@pytest.mark.parametrize("values", WILD.values(), ids=WILD.keys())
def test_a_few_wild_pixels_change_no_judgement_of_the_scan(values: list[float]) -> None:
    image, mask = spoiled(values)
    scan, counts = without_wild_pixels(scan_of(**{AMPLITUDE: image}))
    assert counts == {AMPLITUDE: len(values)}
    found, sound = inspect(scan, AMPLITUDE), inspect(scan_of(**{AMPLITUDE: surface()}), AMPLITUDE)
    assert found.problems == sound.problems == ()
    assert found.sharpness == pytest.approx(sound.sharpness, rel=0.1)
    mended = scan.channels[AMPLITUDE]
    np.testing.assert_array_equal(mended[~mask], image[~mask])
    # Each lies between its neighbours, so an edge detector finds nothing there.
    low, high = (f(surface(), 5) for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    assert ((mended >= low) & (mended <= high))[mask].all()


def test_one_hot_pixel_alone_would_make_a_sound_scan_look_like_noise() -> None:
    scan = scan_of(**{AMPLITUDE: spoiled([2e-7])[0]})
    assert [p.name for p in inspect(scan, AMPLITUDE).problems] == ["no_signal"]


def test_noise_is_still_noise_with_an_empty_pixel() -> None:
    image = np.random.default_rng(0).standard_normal((SIDE, SIDE)) * 1e-11 + 1e-10
    image[5, 5] = np.nan
    assert [p.name for p in inspect(without_wild_pixels(scan_of(**{AMPLITUDE: image}))[0], AMPLITUDE).problems] == ["no_signal"]


def test_a_saturated_channel_is_recognised_despite_a_pixel_beyond_saturation() -> None:
    image = np.minimum(surface(), np.float32(7e-10))
    image[3, 3] = 2e-7
    assert "saturated" in [p.name for p in inspect(without_wild_pixels(scan_of(**{AMPLITUDE: image}))[0], AMPLITUDE).problems]


def test_radians_are_recognised_despite_a_wild_pixel() -> None:
    phase = np.where(surface(1) > 5e-10, 0.1, 0.1 + np.pi) + 0.05 * np.random.default_rng(0).standard_normal((SIDE, SIDE))
    phase[7, 7] = 180.0
    scan = scan_of(**{AMPLITUDE: surface(), PHASE: phase})
    assert [p.name for p in inspect(scan, AMPLITUDE).problems] == ["wrong_unit"]
    assert [p.name for p in inspect(scan, AMPLITUDE, robust=False).problems] == []


def test_lines_without_a_number_stay_without_one() -> None:
    image = surface()
    image[100:], image[20], image[50, 60] = np.nan, -1e30, 2e-7
    scan, counts = without_wild_pixels(scan_of(**{AMPLITUDE: image}))
    missing = np.zeros(SIDE, np.bool_)
    missing[100:], missing[20] = True, True
    np.testing.assert_array_equal(np.isnan(scan.channels[AMPLITUDE]), np.repeat(missing[:, None], SIDE, axis=1))
    assert counts == {AMPLITUDE: 1}


def test_a_scan_without_wild_pixels_is_returned_as_it_is() -> None:
    scan = scan_of(**{AMPLITUDE: surface(), PHASE: np.full((SIDE, SIDE), 20.0)})
    assert without_wild_pixels(scan) == (scan, {})


def with_patch(image: np.ndarray, radius_px: float, height: float) -> np.ndarray:
    """The image with a bright spot as a blunt tip shows it."""
    row, col = np.mgrid[:SIDE, :SIDE]
    return image + height * np.exp(-((row - 60.3) ** 2 + (col - 40.6) ** 2) / (2 * radius_px**2))


@pytest.mark.parametrize("height", [1e-9, 1e-8, 1e-7])
@pytest.mark.parametrize("radius_px", [1.5, 3.0])
def test_a_bright_grain_of_a_few_pixels_is_a_feature(radius_px: float, height: float) -> None:
    assert not wild_pixels(with_patch(surface(), radius_px, height).astype(np.float32)).any()


def test_single_domains_in_the_phase_of_a_uniform_film_are_features() -> None:
    phase = 20.0 + np.random.default_rng(0).standard_normal((SIDE, SIDE))
    phase[30, 30], phase[80, 81] = 200.0, -90.0
    assert without_wild_pixels(scan_of(**{AMPLITUDE: surface(), PHASE: phase}))[1] == {}


def test_exceptions_that_are_no_exceptions_are_left_alone() -> None:
    image = surface()
    image[::4, ::4] = np.nan  # a sixteenth of all pixels
    assert not wild_pixels(image).any()


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(RECORDED.glob("*.[ih]*")) or [None], ids=lambda p: p.name if p else "absent")
def test_recorded_scans_have_no_wild_pixels(file: Path | None) -> None:
    if file is None:
        pytest.skip("../shared/data is absent: no recorded scan on this machine")
    scan = read_scan(file)
    assert without_wild_pixels(scan) == (scan, {})
    assert without_wild_pixels(replace(scan, scan_id="again"))[1] == {}
