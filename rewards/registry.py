"""The rewards that have a short name."""

from rewards.base import Reward
from rewards.mixture import MIXTURE_REWARDS
from rewards.reconstruction import reconstruction
from rewards.spatial import spatial
from rewards.variance import variance

REWARDS: dict[str, Reward] = {**MIXTURE_REWARDS, "reconstruction": reconstruction, "spatial": spatial, "variance": variance}
