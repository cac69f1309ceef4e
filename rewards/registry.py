"""Rewards by short name, as in `reward = "spatial"`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from rewards.base import Representation, Reward, Score
from rewards.closed_form import reconstruction, total, variance
from rewards.evidence import evidence
from rewards.mixture.gmm import MIXTURE_REWARDS
from rewards.panel import panel
from rewards.spatial import spatial
from rewards.stability import stability
from rewards.topology import topology


def bgmm(
    representation: Representation, *, rng: np.random.Generator, settings: Mapping[str, Any] = MappingProxyType({})
) -> Score:
    """`rewards.mixture.bayesian.bgmm`, imported at the first call, since importing Pyro takes seconds."""
    from rewards.mixture import bayesian as bayesian_mixture

    return bayesian_mixture.bgmm(representation, rng=rng, settings=dict(settings))


REWARDS: dict[str, Reward] = {
    **MIXTURE_REWARDS,
    "bgmm": bgmm,
    "evidence": evidence,
    "panel": panel,
    "reconstruction": reconstruction,
    "spatial": spatial,
    "stability": stability,
    "topology": topology,
    "total_variance": total,
    "variance": variance,
}
