"""Independent random streams of one seed: each step of a decision draws from its own, so that steps do not affect each other."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """Purpose of a random stream. Recorded decisions depend on the numbers, so they never change."""

    KEYPOINTS = 0
    HELD_OUT = 1
    COMMON_POINTS = 2
    REWARD = 3
    FITTED_PATCHES = 4
    JUDGED_POINTS = 5
    PLACES = 6


def stream(seed: int, purpose: Stream, *more: int) -> np.random.Generator:
    """Random generator of one stream of a seed.

    Parameters
    ----------
    seed
        Seed of the configuration.
    purpose
        Step of the decision that draws from it.
    more
        Further keys, such as a hash of the candidate's id.
    """
    return np.random.default_rng([seed, purpose, *more])
