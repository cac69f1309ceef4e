"""Assignment of all key points to the clusters of the chosen mixture."""

import numpy as np
from jaxtyping import Float, Int

from agent.config.recommendation import RecommendSettings
from agent.recommendation.core_points import core_order, purity, without_mixed
from agent.schema.decision import ClusterRecord
from agent.search.candidates import Candidate
from rewards.base import WallGraph
from rewards.mixture.wall_field import wall_posteriors


class Clusters:
    """Clusters of the chosen mixture, largest first, with the assignment of all key points.

    Parameters
    ----------
    chosen
        The chosen candidate, with a score and a mixture.
    z
        Shape (n, d): structural latents of all key points.
    points_rc
        Shape (n, 2): pixels (row, col) of the key points.
    settings
        Settings of the core points.
    walls
        Which key points lie on the same wall.
    smoothing
        How strongly neighbours along a wall are taken to be of one type, see `rewards.mixture.wall_field`.
    """

    def __init__(
        self,
        chosen: Candidate,
        z: Float[np.ndarray, "n d"],
        points_rc: Int[np.ndarray, "n 2"],
        settings: RecommendSettings,
        walls: WallGraph,
        smoothing: float,
    ) -> None:
        assert chosen.score is not None  # only candidates with a score and a mixture are chosen
        assert chosen.score.mixture is not None
        mixture = chosen.score.mixture
        self.z = z
        order = np.argsort(-mixture.weights, kind="stable")
        rank = np.argsort(order)
        distance = mixture.mahalanobis(z)[:, order]
        tau = wall_posteriors(mixture, z, walls, smoothing)
        self.labels = rank[mixture.labels(z) if smoothing == 0 or not len(walls.pairs) else tau.argmax(axis=1)]
        self.distance = distance[np.arange(len(z)), self.labels]
        own_share = purity(points_rc, self.labels, tau[:, order], chosen.representation.window_px / 2)
        cores = core_order(distance, self.labels, settings.core_fraction)
        self.cores, self.mixed = without_mixed(cores, own_share, settings.purity)
        self.records = [
            ClusterRecord(
                cluster=k,
                weight=float(mixture.weights[j]),
                mean=mixture.means[j].tolist(),
                covariance=mixture.covariances[j].tolist(),
                points=int((self.labels == k).sum()),
                core_points=len(self.cores[k]),
            )
            for k, j in enumerate(order)
        ]
