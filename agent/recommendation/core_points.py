"""Core points: the representative key points of each type, and the purity of patches."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree


def core_order(mixture_distance: np.ndarray, labels: Int[np.ndarray, " n"], fraction: float) -> list[Int[np.ndarray, " _"]]:
    """Core points of each cluster: the `fraction` of its members nearest to its centre, nearest first.

    Parameters
    ----------
    mixture_distance
        Shape (n, K): Mahalanobis distance of each point from the centre of each cluster.
    labels
        Shape (n,): the cluster of each point.
    fraction
        Share of the members, rounded up, so that every cluster with members has a core point.
    """
    cores = []
    for k in range(mixture_distance.shape[1]):
        members = np.flatnonzero(labels == k)
        nearest = members[np.argsort(mixture_distance[members, k], kind="stable")]
        cores.append(nearest[: int(np.ceil(fraction * len(members)))])
    return cores


def purity(
    points_rc: Int[np.ndarray, "n 2"], labels: Int[np.ndarray, " n"], tau: Float[np.ndarray, "n K"], radius_px: float
) -> Float[np.ndarray, " n"]:
    """Purity of each patch: the mean probability of its own cluster, over itself and the key points around it.

    Parameters
    ----------
    points_rc
        Shape (n, 2): key points, pixels.
    labels
        Shape (n,): the cluster of each point.
    tau
        Shape (n, K): probability that a point belongs to a cluster.
    radius_px
        Largest distance (larger coordinate difference) of key points around a point, in pixels; half a window, for instance, so
        that their patches overlap by at least half a side.
    """
    pairs = cKDTree(points_rc).query_pairs(radius_px, p=np.inf, output_type="ndarray").astype(np.int64)
    own = tau[np.arange(len(labels)), labels].astype(np.float64)
    count = np.ones(len(labels))
    for here, there in (pairs.T, pairs.T[::-1]):
        np.add.at(own, here, tau[there, labels[here]])
        np.add.at(count, here, 1)
    return np.asarray(own / count)


def without_mixed(
    cores: Sequence[Int[np.ndarray, " _"]], purities: Float[np.ndarray, " n"], least: float
) -> tuple[list[Int[np.ndarray, " _"]], Int[np.ndarray, " m"]]:
    """Core points with a purity of at least `least`, for each cluster, and the rows of those that are excluded as mixed.

    A patch across a boundary is no example of either side. A cluster without any pure core point keeps all of them: it is mixed
    everywhere, as fine lamellae are, and mixed patches are typical of it.
    """
    kept, mixed = [], []
    for core in cores:
        pure = purities[core] >= least
        kept.append(core[pure] if pure.any() else core)
        mixed.append(core[~pure] if pure.any() else core[:0])
    return kept, np.concatenate([*mixed, np.empty(0, dtype=np.int64)])
