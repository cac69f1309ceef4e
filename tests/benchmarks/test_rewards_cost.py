import numpy as np
import pytest

from benchmarks.selection.reward_cost import CLOUDS, POINTS, TOGETHER, cloud, outcome
from rewards.registry import REWARDS


@pytest.mark.parametrize("kind", CLOUDS)
def test_every_cloud_has_two_thousand_points_in_the_plane_and_its_seed_draws_it(kind: str) -> None:
    one, again, other = cloud(kind, 0), cloud(kind, 0), cloud(kind, 1)
    assert one.z.shape == (POINTS, 2) == (2000, 2)
    assert np.array_equal(one.z, again.z)
    assert not np.array_equal(one.z, other.z)


def test_the_most_expensive_cloud_counts_and_together_means_the_panel() -> None:
    cheap = dict.fromkeys(REWARDS, 0.1)
    dear = dict.fromkeys(REWARDS, 0.2) | {"bgmm": 5.0}
    figures = outcome({"a": cheap, "b": dear}).figures
    assert figures["bgmm_s"] == 5.0
    assert figures["all_rewards_s"] == pytest.approx(0.2 * len(TOGETHER))
    assert figures["all_rewards_singly_s"] == pytest.approx(0.2 * (len(REWARDS) - 2))
