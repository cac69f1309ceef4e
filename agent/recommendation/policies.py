"""In which order places are measured: each policy names the next one of those that are still allowed."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from agent.preprocessing.subsampling import stratified_subset
from agent.recommendation.similarity_kernel import PlaceKernel
from agent.recommendation.variance_reduction import VarianceReduction

_MOST_CANDIDATES = 4000
_TIE = 1e-9  # relative: gains that differ by rounding only are equal, and the first of them is taken


@runtime_checkable
class Policy(Protocol):
    """An order of the n key points, found as it goes.

    Created when a number of places may be measured; told by `take` of each place that then is, its own choice or not.
    """

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The row to measure next, an allowed one; None when the policy has none of them to offer."""

    def take(self, row: int) -> None:
        """Row `row` will be measured."""


class Equal:
    """Clusters take turns, each with its most typical place that is left: the paper's order.

    Parameters
    ----------
    cores
        For each cluster, rows of its points, most typical first.
    most
        Places for one cluster; None for no bound.
    """

    def __init__(self, cores: Sequence[Int[np.ndarray, " _"]], most: int | None = None) -> None:
        self._cores = cores
        self._most = most
        self._taken = [0] * len(cores)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The most typical allowed place of the cluster that has had the fewest turns."""
        for k in sorted(range(len(self._cores)), key=lambda k: self._taken[k]):
            if self._most is not None and self._taken[k] >= self._most:
                continue
            left = self._cores[k][allowed[self._cores[k]]]
            if len(left):
                return int(left[0])
        return None

    def take(self, row: int) -> None:
        """It counts for the cluster in whose core it is."""
        for k, core in enumerate(self._cores):
            self._taken[k] += int(row in core)


class Spread:
    """The allowed place that is farthest from all that are taken or measured (farthest-point sampling).

    Parameters
    ----------
    xy
        Shape (n, 2): positions of all key points.
    measured_xy
        Shape (k, 2): places that have been measured.
    """

    def __init__(self, xy: Float[np.ndarray, "n 2"], measured_xy: Float[np.ndarray, "k 2"]) -> None:
        self._xy = xy
        self._nearest = np.full(len(xy), np.inf)
        for place in measured_xy:
            self._nearer(place)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The first of the farthest."""
        return int(np.where(allowed, self._nearest, -np.inf).argmax()) if allowed.any() else None

    def take(self, row: int) -> None:
        """Places near to it are no longer far."""
        self._nearer(self._xy[row])

    def _nearer(self, place: np.ndarray) -> None:
        self._nearest = np.minimum(self._nearest, np.hypot(*(self._xy - place).T))


class Area(Spread):
    """Clusters get places in proportion to their area, each cluster's places spread over the scan.

    The next place is of the cluster with the largest members / (places + 1) (D'Hondt's quotients).

    Parameters
    ----------
    xy, measured_xy
        As in `Spread`.
    labels
        Shape (n,): the cluster of each key point.
    """

    def __init__(
        self, xy: Float[np.ndarray, "n 2"], measured_xy: Float[np.ndarray, "k 2"], labels: Int[np.ndarray, " n"]
    ) -> None:
        super().__init__(xy, measured_xy)
        self._labels = labels
        self._members = np.bincount(labels)
        self._taken = np.zeros(len(self._members), dtype=np.int64)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The farthest allowed place of the cluster that has the fewest for its area."""
        if not allowed.any():
            return None
        open_ = np.unique(self._labels[allowed])
        k = open_[(self._members[open_] / (self._taken[open_] + 1)).argmax()]
        return super().choose(allowed & (self._labels == k))

    def take(self, row: int) -> None:
        """It counts for its cluster."""
        self._taken[self._labels[row]] += 1
        super().take(row)


class Informative:
    """The allowed place whose measurement most reduces the variance integrated over the targets.

    Of very many key points the candidates are a part that covers the scan as all do; a policy without candidates left is to be
    created again.

    Parameters
    ----------
    kernel
        Of the n key points and, in the rows after them, of all other places.
    points_rc
        Shape (n, 2): key points, pixels.
    allowed
        Shape (n,): those that may be chosen.
    targets
        Rows of the places that are to be known.
    given
        Rows of the places that are measured or taken.
    noise
        Variance of a measurement, relative to the prior variance.
    rng
        Draws the candidates.
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
        candidates = candidates[stratified_subset(points_rc[candidates], _MOST_CANDIDATES, rng)]
        self._candidates = candidates
        self._posterior = VarianceReduction(kernel, targets, candidates, given, noise)

    def choose(self, allowed: Bool[np.ndarray, " n"]) -> int | None:
        """The first of the places with the largest gain."""
        open_ = allowed[self._candidates]
        if not open_.any():
            return None
        gains = np.where(open_, self._posterior.gains, -1.0)
        return int(self._candidates[int((gains >= gains.max() * (1 - _TIE)).argmax())])

    def take(self, row: int) -> None:
        """The posterior is brought up to date."""
        self._posterior.take(int(np.searchsorted(self._candidates, row)))
