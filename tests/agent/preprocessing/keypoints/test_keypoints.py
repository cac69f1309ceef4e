import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from agent.errors import PluginError, UnusableScanError
from agent.preprocessing.channels import Response
from agent.preprocessing.keypoints import AUTO, METHODS, WALLS, find_keypoints, find_wall_keypoints, grid
from agent.preprocessing.normalise import NormalisedImage, normalise
from tests.support.data.images import stripes


def image_of(values: np.ndarray) -> NormalisedImage:
    return normalise(values)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", sorted(set(METHODS) - {AUTO, WALLS}))
def test_points_keep_the_spacing_and_their_windows_stay_inside(name: str) -> None:
    blobs = gaussian_filter(rng().standard_normal((128, 160)), 1.2).astype(np.float32)
    image = image_of(blobs if name in {"orb", "sift"} else stripes(128, 160))
    found = find_keypoints(image, METHODS[name], spacing_px=4, largest_window_px=15, rng=rng())
    points = found.points_rc
    apart = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(len(points))
    assert apart.min() >= 4
    assert points.min() >= 7
    assert (points.max(axis=0) + 8 <= np.array([128, 160])).all()


def striped_response(values: np.ndarray, image: NormalisedImage) -> Response:
    """Stripes of opposite polarisation, of which the amplitude shows only the walls."""
    vector = 2 * values.astype(np.float64) - 1
    vector += 0.02 * rng().standard_normal(values.shape)
    parts = np.stack([vector, 0.02 * rng().standard_normal(values.shape)])
    return Response(parts.astype(np.float32), np.hypot(*parts).astype(np.float32), image.valid)


def test_points_on_walls_know_their_neighbours_and_where_the_wall_is() -> None:
    values = stripes(128, 160, period=20)
    image = image_of(values)
    found = find_wall_keypoints(
        image, striped_response(values, image), METHODS[WALLS], spacing_px=4, largest_window_px=15, rng=rng()
    )
    points = found.points_rc
    apart = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(len(points))
    assert apart.min() >= 4
    assert points.min() >= 7
    assert (points.max(axis=0) + 8 <= np.array([128, 160])).all()
    assert found.positions_rc is not None
    assert np.abs(found.positions_rc - points).max() <= 1
    first, second = points[found.walls.pairs[:, 0]], points[found.walls.pairs[:, 1]]
    assert len(found.walls.pairs) > len(points)
    assert np.abs(first[:, 1] - second[:, 1]).max() <= 2  # stripes are upright, 10 px apart
    rows_apart = np.abs(first[:, 0] - second[:, 0])
    assert (found.walls.along_px >= rows_apart - 1e-9).all()
    assert (found.walls.along_px <= 1.2 * rows_apart + 2).all()  # a wall may step aside by a pixel here and there


def test_methods_without_walls_have_an_empty_graph() -> None:
    found = find_keypoints(image_of(stripes(128, 128)), METHODS["grid"], spacing_px=4, largest_window_px=9, rng=rng())
    assert len(found.walls.pairs) == 0
    assert found.positions_rc is None


def test_canny_points_lie_on_the_walls() -> None:
    period = 16
    found = find_keypoints(
        image_of(stripes(128, 128, period=period, noise=0.02)),
        METHODS["canny_walls"],
        spacing_px=3,
        largest_window_px=9,
        rng=rng(),
    )
    phase = found.points_rc[:, 1] % (period // 2)
    distance = np.minimum(phase, period // 2 - phase)
    assert np.median(distance) <= 1


def test_every_dropped_point_is_counted() -> None:
    found = find_keypoints(image_of(stripes(128, 128)), METHODS["canny_walls"], spacing_px=4, largest_window_px=15, rng=rng())
    assert found.found == len(found.points_rc) + sum(found.dropped.values())
    assert found.dropped["window beyond the border"] > 0
    assert found.dropped["nearer than the spacing"] > 0


def test_no_window_contains_a_pixel_that_was_not_recorded() -> None:
    values = stripes(128, 128)
    values[60:63] = np.nan
    image = image_of(values)
    found = find_keypoints(image, METHODS["grid"], spacing_px=4, largest_window_px=9, rng=rng())
    assert found.dropped["invalid pixels in the window"] > 0
    for row, col in found.points_rc:
        assert image.valid[row - 4 : row + 5, col - 4 : col + 5].all()


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(3, 21))
def test_key_points_keep_spacing_and_border_whatever_a_method_returns(seed: int, spacing: int, window: int) -> None:
    random = np.random.default_rng(seed)

    def anywhere(image: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        return random.integers(0, image.shape, size=(8000, 2))

    values = stripes(200, 150)
    values[random.integers(0, 200)] = np.nan
    image = image_of(values)
    try:
        found = find_keypoints(image, anywhere, spacing_px=spacing, largest_window_px=window, rng=rng())
    except UnusableScanError:
        return  # too few points are left at this spacing
    before, after = window // 2, window - window // 2
    for row, col in found.points_rc[::20]:
        patch = image.valid[row - before : row + after, col - before : col + after]
        assert patch.shape == (window, window)
        assert patch.all()
    assert found.found == len(found.points_rc) + sum(found.dropped.values())


def test_a_window_larger_than_the_image_is_refused() -> None:
    with pytest.raises(UnusableScanError, match="window of 33 px does not fit into an image of 32 x 48 px"):
        find_keypoints(image_of(stripes(32, 48)), grid, spacing_px=2, largest_window_px=33, rng=rng())


def test_too_few_points_are_refused_with_their_number_and_the_reason() -> None:
    with pytest.raises(UnusableScanError, match=r"only \d+ key points were found, at least 200"):
        find_keypoints(image_of(stripes(64, 64)), grid, spacing_px=10, largest_window_px=9, rng=rng())


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (np.zeros((5, 3)), r"must return \(n, 2\) numbers"),
        (np.array([["a", "b"]]), r"must return \(n, 2\) numbers"),
        (np.array([[0, 200]]), "outside the image of 64 x 64 px"),
        (np.array([[-1, 5]]), "outside the image"),
        (np.array([[np.nan, 5.0]]), "outside the image|not finite"),
    ],
)
def test_a_method_that_breaks_its_contract_is_reported(returned: np.ndarray, says: str) -> None:
    with pytest.raises(PluginError, match=says):
        find_keypoints(image_of(stripes(64, 64)), lambda image, *, rng: returned, spacing_px=4, largest_window_px=9, rng=rng())
