import numpy as np
import pytest

from rewards.stability import (
    bootstrap_agreement,
    halves_agreement,
    pairwise_agreement,
    refit,
    reproducibility,
    spatial_halves,
    stability,
)
from tests.support.data.clouds import blobs, representation


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_same_partition_under_other_numbers_agrees_and_a_random_one_does_not() -> None:
    labels = np.repeat([0, 1, 2], 200)
    assert pairwise_agreement([labels, 2 - labels, labels + 5]) == pytest.approx(1)
    assert abs(pairwise_agreement([labels, rng().permutation(labels)])) < 0.02


@pytest.mark.parametrize("labellings", [[np.zeros(3, int)], [np.zeros(3, int), np.zeros(4, int)]])
def test_what_cannot_be_compared_is_refused(labellings: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"labellings have the lengths .*; give at least two, all of the same points"):
        pairwise_agreement(labellings)


def test_separated_blobs_are_found_again_in_resamples_and_in_halves() -> None:
    # Over draws 0-49 of the blobs both were 1 in all.
    z, labels = blobs(4, n_each=100), np.repeat(np.arange(4), 100)
    assert bootstrap_agreement(z, labels, 4, rng()) > 0.99
    assert halves_agreement(z, [np.arange(400) % 2 == 0], 4, rng()) > 0.99


def test_clusters_cut_out_of_one_gaussian_are_not() -> None:
    # Over draws 0-49 the largest was 0.44, the mean 0.26.
    z = rng(1).standard_normal((400, 2))
    labels = refit(z, np.arange(400), 4, rng())
    assert bootstrap_agreement(z, labels, 4, rng()) < 0.6


def test_types_of_one_side_only_are_not_found_in_the_other_half() -> None:
    z = blobs(2, n_each=200)
    points = np.stack([np.zeros(400, int), np.repeat([0, 9], 200)], axis=1)
    left_right = spatial_halves(points)[1]
    assert left_right.tolist() == [True] * 200 + [False] * 200
    assert halves_agreement(z, [left_right], 2, rng()) < 0.5


def test_halves_with_too_few_points_say_nothing() -> None:
    assert halves_agreement(blobs(2), [np.arange(400) < 1], 2, rng()) == 0


def test_one_type_is_reproduced_by_anything_and_worth_nothing() -> None:
    # BIC prefers K = 2 on one Gaussian of 400 points in less than 1 of 200 draws; this one is fixed.
    score = stability(representation(rng(5).standard_normal((400, 2))), rng=rng(), components=(1, 2, 3))
    assert score.metrics["K"] == 1
    assert score.value == 0


def test_blobs_are_stable_whatever_the_scale_of_the_latents() -> None:
    moved = blobs(3, n_each=100) @ np.array([[0.02, 0.5], [-3.0, 0.1]]) + 40
    for z in (blobs(3, n_each=100), moved):
        score = stability(representation(z), rng=rng(), components=(1, 2, 3, 4), restarts=3)
        assert score.value > 0.99
        assert score.metrics["stability"] == score.value
        assert score.mixture is not None


def test_reproducible_orientations_are_as_stable_as_types_which_is_why_it_is_not_used_alone() -> None:
    orientation = representation(blobs(2, n_each=100), z_rotated=-blobs(2, n_each=100))
    assert stability(orientation, rng=rng(), components=(1, 2, 3), restarts=3).value > 0.99


def test_no_resamples_are_refused() -> None:
    fitted = stability(representation(blobs(2, n_each=50)), rng=rng(), components=(1, 2), resamples=1)
    assert fitted.mixture is not None
    with pytest.raises(ValueError, match="resamples is 0; use 1 or more"):
        reproducibility(representation(blobs(2, n_each=50)), fitted.mixture, rng=rng(), resamples=0)
