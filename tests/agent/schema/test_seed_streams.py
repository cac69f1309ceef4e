"""Random streams stay the same, so that earlier decisions can be recomputed."""

import numpy as np
import pytest

from agent.schema.seed_streams import Stream, stream

RECORDED = {"KEYPOINTS": 0, "HELD_OUT": 1, "COMMON_POINTS": 2, "REWARD": 3, "FITTED_PATCHES": 4, "JUDGED_POINTS": 5, "PLACES": 6}


def test_the_number_of_a_stream_never_changes() -> None:
    assert {purpose.name: purpose.value for purpose in Stream} == RECORDED


@pytest.mark.parametrize("purpose", Stream)
def test_a_stream_is_the_generator_of_seed_and_number(purpose: Stream) -> None:
    drawn = stream(7, purpose, 11).integers(2**62, size=4)
    assert np.array_equal(drawn, np.random.default_rng([7, int(purpose), 11]).integers(2**62, size=4))
    assert not np.array_equal(drawn, stream(8, purpose, 11).integers(2**62, size=4))
