"""Independent random streams of one seed: each step of the workflow draws from its own, so that no step disturbs another."""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What the random numbers are for. The numbers enter recorded decisions and never change."""

    KEYPOINTS = 0
    HELD_OUT = 1
    COMMON_POINTS = 2
    REWARD = 3
    FITTED_PATCHES = 4
    JUDGED_POINTS = 5
    PLACES = 6


def stream(seed: int, purpose: Stream, *more: int) -> np.random.Generator:
    """Generator of one stream of a seed.

    Parameters
    ----------
    seed
        Seed of the configuration.
    purpose
        Step of the workflow.
    more
        Further keys, such as the candidate's.
    """
    return np.random.default_rng([seed, purpose, *more])
