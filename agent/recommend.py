"""From clusters to places: each cluster's core points, spaced, inside every limit, in metres."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from agent.config import RecommendSection
from instrument_adapters.geometry import Frame
from instrument_adapters.messages import Limits, MeasurementRequest

MOST_POINTS = 10_000  # that one recommendation message carries


@dataclass(frozen=True, eq=False)
class Recommended:
    """Places to measure, in order, and how many core points were passed over for which reason."""

    requests: tuple[MeasurementRequest, ...]
    passed_over: dict[str, int]


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


def recommend(
    cores: Sequence[Int[np.ndarray, " _"]],
    core_distance: Float[np.ndarray, " n"],
    points_rc: Int[np.ndarray, "n 2"],
    frame: Frame,
    limits: Limits,
    measured_xy: Float[np.ndarray, "k 2"],
    settings: RecommendSection,
    decision_id: str,
) -> Recommended:
    """The most typical places of every cluster, first one of each, then the second of each, and so on.

    A core point is passed over when it lies outside the instrument's range or too near to a point already recommended or
    measured (a loop alters the sample around it). Nothing is moved to fit.

    Parameters
    ----------
    cores
        For each cluster, row numbers of its core points, most typical first.
    core_distance
        Shape (n,): Mahalanobis distance of each point from its own cluster's centre.
    points_rc
        Shape (n, 2): key points in pixels.
    frame
        Of the scan.
    limits
        Of the instrument.
    measured_xy
        Shape (k, 2): where the sample has been measured, in metres.
    settings
        Points a cluster, spacing.
    decision_id
        Requests are named after it.
    """
    xy = frame.to_metres(points_rc.astype(np.float64))
    in_range = _in_range(xy, limits) & frame.contains(xy)
    spacing = max(settings.spacing_m, limits.spacing_min_m)
    most = min(limits.points_max, MOST_POINTS)
    avoid = list(measured_xy)
    passed = {"outside the limits": 0, "nearer than the spacing": 0, "more than the instrument takes": 0}
    queues = [core.tolist() for core in cores]
    requests: list[MeasurementRequest] = []
    for rank in range(settings.points_per_cluster):
        for cluster, queue in enumerate(queues):
            if len(requests) >= most:
                passed["more than the instrument takes"] = sum(len(q) for q in queues)
                return Recommended(tuple(requests), passed)
            i = _next(queue, xy, in_range, avoid, spacing, passed)
            if i is None:
                continue
            avoid.append(xy[i])
            requests.append(
                MeasurementRequest(
                    request_id=f"{decision_id}-{len(requests):03d}",
                    x_m=float(xy[i, 0]),
                    y_m=float(xy[i, 1]),
                    row=int(points_rc[i, 0]),
                    col=int(points_rc[i, 1]),
                    cluster=cluster,
                    rank=rank,
                    core_distance=float(core_distance[i]),
                )
            )
    return Recommended(tuple(requests), passed)


def _in_range(xy: np.ndarray, limits: Limits) -> np.ndarray:
    low = np.array([limits.x_min_m, limits.y_min_m])
    high = np.array([limits.x_max_m, limits.y_max_m])
    return np.asarray(((xy >= low) & (xy <= high)).all(axis=1))


def _next(
    queue: list[int], xy: np.ndarray, in_range: np.ndarray, avoid: list[np.ndarray], spacing_m: float, passed: dict[str, int]
) -> int | None:
    """The first point of the queue that may be measured; it and those before it leave the queue."""
    while queue:
        i = queue.pop(0)
        if not in_range[i]:
            passed["outside the limits"] += 1
        elif avoid and np.hypot(*(np.array(avoid) - xy[i]).T).min() < spacing_m:
            passed["nearer than the spacing"] += 1
        else:
            return i
    return None
