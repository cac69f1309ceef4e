import numpy as np
import pytest

from agent.representation.classical import amplitude_moments


def test_the_moments_are_mean_and_standard_deviation_of_the_first_channel() -> None:
    patches = np.random.default_rng(0).random((6, 3, 7, 7))
    first = patches[:, 0].reshape(6, -1)
    assert amplitude_moments(patches) == pytest.approx(np.stack([first.mean(axis=1), first.std(axis=1)], axis=1), abs=1e-12)


@pytest.mark.parametrize("window", [8, 15])
def test_the_moments_are_bit_for_bit_the_same_for_a_rotated_and_a_mirrored_patch(window: int) -> None:
    patches = np.random.default_rng(1).random((200, 1, window, window))
    moments = amplitude_moments(patches)
    assert np.array_equal(amplitude_moments(np.rot90(patches, axes=(2, 3))), moments)
    assert np.array_equal(amplitude_moments(np.flip(patches, axis=3)), moments)
