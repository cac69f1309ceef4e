"""Core points: the places that show one type of microstructure most clearly."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree


def core_order(mixture_distance: np.ndarray, labels: Int[np.ndarray, " n"], fraction: float) -> list[Int[np.ndarray, " _"]]:
    """For each cluster, its core points: the nearest `fraction` of its members, nearest first.

    Parameters
    ----------
    mixture_distance
        Shape (n, K): Mahalanobis distance of each point from each centre.
    labels
        Shape (n,): the cluster of each point.
    fraction
        Share of the members; at least one point of a cluster that has any.
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
    """How much of what a patch shows is of its own cluster: the mean probability of that cluster, there and around.

    Parameters
    ----------
    points_rc
        Shape (n, 2), pixels.
    labels
        Shape (n,): the cluster of each point.
    tau
        Shape (n, K): probability that a point belongs to a cluster.
    radius_px
        Key points at most this far away (larger coordinate difference) are around a point; half a window, say, so that their
        patches share at least half a side.
    """
    pairs = cKDTree(points_rc).query_pairs(radius_px, p=np.inf, output_type="ndarray").astype(np.int64)
    own = tau[np.arange(len(labels)), labels].astype(np.float64)
    count = np.ones(len(labels))
    for here, there in (pairs.T, pairs.T[::-1]):
        np.add.at(own, here, tau[there, labels[here]])
        np.add.at(count, here, 1)
    return np.asarray(own / count)


def without_mixed(
    cores: Sequence[Int[np.ndarray, " _"]], own_share: Float[np.ndarray, " n"], least: float
) -> tuple[list[Int[np.ndarray, " _"]], Int[np.ndarray, " m"]]:
    """Core points whose purity is at least `least`, and those that are left out as mixed.

    A patch across a boundary is no example of either side. A cluster without any pure core point keeps all of them: it is mixed
    everywhere (fine lamellae, say), and that is what it looks like.
    """
    kept, mixed = [], []
    for core in cores:
        pure = own_share[core] >= least
        kept.append(core[pure] if pure.any() else core)
        mixed.append(core[~pure] if pure.any() else core[:0])
    return kept, np.concatenate([*mixed, np.empty(0, dtype=np.int64)])
