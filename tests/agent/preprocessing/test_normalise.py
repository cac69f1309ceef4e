import numpy as np
import pytest

from agent.errors import UnusableScanError
from agent.preprocessing.normalise import normalise


def ramp(rows: int = 40, cols: int = 60) -> np.ndarray:
    return np.linspace(-3, 5, rows * cols, dtype=np.float32).reshape(rows, cols)


def test_the_first_and_ninety_fifth_percentile_become_zero_and_one() -> None:
    image = ramp()
    scaled = normalise(image)
    assert (scaled.low, scaled.high) == pytest.approx(tuple(np.percentile(image, [1, 95])))
    assert np.mean(scaled.values == 0) == pytest.approx(0.01, abs=0.002)
    assert np.mean(scaled.values == 1) == pytest.approx(0.05, abs=0.002)
    assert scaled.values.dtype == np.float32


def test_scale_and_unit_of_the_image_do_not_matter() -> None:
    assert normalise(ramp() * np.float32(1e-12)).values == pytest.approx(normalise(ramp()).values, abs=1e-5)


def test_missing_lines_are_filled_from_the_nearest_line_and_marked() -> None:
    image = ramp()
    image[10:13] = np.nan
    scaled = normalise(image)
    assert np.isfinite(scaled.values).all()
    assert not scaled.valid[10:13].any()
    assert scaled.valid[:10].all()
    assert np.array_equal(scaled.values[10], scaled.values[9])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda image: np.full_like(image, np.nan), "only 0% of the image's pixels hold a number, at least 50% are needed"),
        (lambda image: np.where(np.arange(40)[:, None] < 25, np.nan, image).astype(np.float32), "only 38%"),
        (lambda image: np.full_like(image, 2.5), "constant"),
        (lambda image: np.full_like(image, np.inf), "only 0%"),
    ],
    ids=["all NaN", "mostly NaN", "constant", "infinite"],
)
def test_an_image_without_data_or_contrast_is_refused(spoil, says: str) -> None:
    with pytest.raises(UnusableScanError, match=says):
        normalise(spoil(ramp()))
