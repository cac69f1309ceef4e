"""Policies: the order in which key points are recommended. Each chooses the next one among those still allowed."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from agent.preprocessing.subsampling import stratified_subset
from agent.recommendation.similarity_kernel import PlaceKernel
from agent.recommendation.variance_reduction import VarianceReduction

_MAX_CANDIDATES = 4000
_TIE = 1e-9  # relative difference of gains that is rounding; the first of equal ones is chosen


@runtime_checkable
class Policy(Protocol):
    """An order of the n key points, determined step by step.

    A policy is created for one recommendation. `accept` is called for each key point that is then selected, whether the policy
    chose it or not.
    """

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """Row of the allowed key point to measure next; None if the policy has none to offer."""

    def accept(self, row: int) -> None:
        """Note that the key point in `row` has been selected."""


class Equal:
    """Clusters take turns, each with its most typical remaining point: the paper's order.

    Parameters
    ----------
    cores
        For each cluster, rows of its core points, most typical first.
    max_each
        Largest number of points from one cluster; None for no limit.
    """

    def __init__(self, cores: Sequence[Int[np.ndarray, " _"]], max_each: int | None = None) -> None:
        self._cores = cores
        self._max_each = max_each
        self._selected = [0] * len(cores)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The most typical allowed point of the cluster with the fewest selected points."""
        for k in sorted(range(len(self._cores)), key=lambda k: self._selected[k]):
            if self._max_each is not None and self._selected[k] >= self._max_each:
                continue
            remaining = self._cores[k][allowed[self._cores[k]]]
            if len(remaining):
                return int(remaining[0])
        return None

    def accept(self, row: int) -> None:
        """Count the point for the cluster in whose core it is."""
        for k, core in enumerate(self._cores):
            self._selected[k] += int(row in core)


class Spread:
    """The allowed point that is farthest from all selected and measured ones (farthest-point sampling).

    Parameters
    ----------
    xy
        Shape (n, 2): positions of all key points, metres.
    measured_xy
        Shape (k, 2): measured positions, metres.
    """

    def __init__(self, xy: Float[np.ndarray, "n 2"], measured_xy: Float[np.ndarray, "k 2"]) -> None:
        self._xy = xy
        self._nearest = np.full(len(xy), np.inf)
        for position in measured_xy:
            self._add(position)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The farthest allowed point; the first of equally distant ones."""
        return int(np.where(allowed, self._nearest, -np.inf).argmax()) if allowed.any() else None

    def accept(self, row: int) -> None:
        """Update the distances to the nearest selected point."""
        self._add(self._xy[row])

    def _add(self, position: np.ndarray) -> None:
        self._nearest = np.minimum(self._nearest, np.hypot(*(self._xy - position).T))


class Area(Spread):
    """Clusters get points in proportion to their area, and the points of each cluster are spread over the scan.

    The next point belongs to the cluster with the largest members / (selected points + 1), as in the D'Hondt method.

    Parameters
    ----------
    xy, measured_xy
        Positions of all key points, and measured positions, as in `Spread`.
    labels
        Shape (n,): the cluster of each key point.
    """

    def __init__(
        self, xy: Float[np.ndarray, "n 2"], measured_xy: Float[np.ndarray, "k 2"], labels: Int[np.ndarray, " n"]
    ) -> None:
        super().__init__(xy, measured_xy)
        self._labels = labels
        self._members = np.bincount(labels)
        self._selected = np.zeros(len(self._members), dtype=np.int64)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The farthest allowed point of the cluster with the fewest selected points for its area."""
        if not allowed.any():
            return None
        open_ = np.unique(self._labels[allowed])
        k = open_[(self._members[open_] / (self._selected[open_] + 1)).argmax()]
        return super().choose(allowed & (self._labels == k))

    def accept(self, row: int) -> None:
        """Count the point for its cluster."""
        self._selected[self._labels[row]] += 1
        super().accept(row)


class Informative:
    """The allowed point whose measurement most reduces the variance integrated over the frame ("ivr").

    If there are very many key points, the candidates are a stratified subset. When none of them is allowed any more, the policy
    is to be created again, with new candidates.

    Parameters
    ----------
    kernel
        Prior covariance of the n key points and, in the rows after them, of all other points.
    points_rc
        Shape (n, 2): key points, pixels.
    allowed
        Shape (n,): True for key points that can be chosen.
    targets
        Rows of the grid points at which the variance is to be reduced.
    given
        Rows of the points that are measured or selected.
    noise
        Noise variance of a measurement, relative to the prior variance.
    rng
        Source of the choice of candidates.
    """

    def __init__(
        self,
        kernel: PlaceKernel,
        points_rc: Int[np.ndarray, "n 2"],
        allowed: Bool[np.ndarray, " n"],
        targets: Int[np.ndarray, " m"],
        given: Int[np.ndarray, " g"],
        noise: float,
        rng: np.random.Generator,
    ) -> None:
        candidates = np.flatnonzero(allowed)
        candidates = candidates[stratified_subset(points_rc[candidates], _MAX_CANDIDATES, rng)]
        self._candidates = candidates
        self._posterior = VarianceReduction(kernel, targets, candidates, given, noise)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The allowed candidate with the largest gain; the first of equal ones."""
        open_ = allowed[self._candidates]
        if not open_.any():
            return None
        gains = np.where(open_, self._posterior.gains, -1.0)
        return int(self._candidates[int((gains >= gains.max() * (1 - _TIE)).argmax())])

    def accept(self, row: int) -> None:
        """Update the gains of the candidates."""
        self._posterior.update(int(np.searchsorted(self._candidates, row)))
