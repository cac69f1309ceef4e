"""From clusters to places: which key points are measured, and in which order; spaced, inside every limit, in metres.

First every cluster gets its prototypes, the most typical places there are. Then a policy orders all key points. Nothing is
ever moved to fit: what may not be measured is passed over, and counted with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from agent.config.recommendation import RecommendSettings
from agent.recommendation.exclusion_zones import altered, border_distance, crowded, within
from agent.recommendation.policies import Area, Equal, Informative, Policy, Spread
from agent.recommendation.similarity_kernel import PlaceKernel, scaled
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest

_ALTERED = "in patches that show an earlier measurement"
MOST_POINTS = 10_000  # that one recommendation message carries


@dataclass(frozen=True, eq=False)
class Pool:
    """The key points that places are chosen from.

    Parameters
    ----------
    points_rc
        Shape (n, 2): pixels.
    labels
        Shape (n,): the cluster of each.
    core_distance
        Shape (n,): Mahalanobis distance of each from its own cluster's centre.
    cores
        For each cluster, rows of its core points, most typical first.
    features
        Shape (n + m, d): what the patches show around the key points and, in the rows after them, the targets, in any unit;
        alike patches have near features.
    window_px
        Side of the patches.
    mixed
        Shape (x,): rows that would be core, were their patches not mixed.
    targets_rc
        Shape (m, 2): pixels whose response is to be known; needed with the policy "ivr" only.
    """

    points_rc: Int[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]
    core_distance: Float[np.ndarray, " n"]
    cores: Sequence[Int[np.ndarray, " _"]]
    features: Float[np.ndarray, "all d"]
    window_px: int
    mixed: Int[np.ndarray, " x"]
    targets_rc: Int[np.ndarray, "m 2"]

    @property
    def core(self) -> Bool[np.ndarray, " n"]:
        """Whether each point is core."""
        return self._marked(np.concatenate([*self.cores, self.mixed[:0]]))

    @property
    def only_mixed(self) -> Bool[np.ndarray, " n"]:
        """Whether each point would be core, were it not mixed."""
        return self._marked(self.mixed)

    def _marked(self, rows: Int[np.ndarray, " _"]) -> Bool[np.ndarray, " n"]:
        out = np.zeros(len(self.points_rc), dtype=bool)
        out[rows] = True
        return out


@dataclass(frozen=True, eq=False)
class Recommended:
    """Places to measure, in order, and what was passed over.

    Parameters
    ----------
    requests
        The places.
    passed_over
        Reason -> how many core points were not taken for it.
    beyond_core
        How many of the requests are not core points.
    """

    requests: tuple[MeasurementRequest, ...]
    passed_over: dict[str, int]
    beyond_core: int = 0


def recommend(
    pool: Pool,
    frame: Frame,
    limits: Limits,
    measured_xy: Float[np.ndarray, "k 2"],
    settings: RecommendSettings,
    decision_id: str,
    rng: np.random.Generator,
) -> Recommended:
    """Where to measure, in order.

    A place is passed over when it lies outside the instrument's range or in the margin of the frame, where as many points as
    are allowed have been measured around it, when its patch shows the spot of an earlier measurement (unless nothing else is
    left), or when it is too near to a place recommended or measured (a loop alters the sample).

    Parameters
    ----------
    pool
        Key points in their clusters.
    frame
        Of the scan.
    limits
        Of the instrument.
    measured_xy
        Shape (k, 2): where the sample has been measured, in metres.
    settings
        Policy, number of points, what is kept away from.
    decision_id
        Requests are named after it.
    rng
        Draws the part of very many key points that is chosen from.
    """
    selection = _Selection(pool, frame, limits, measured_xy, settings, rng)
    selection.fill()
    return Recommended(selection.requests(decision_id), selection.passed_over(), int((~pool.core[selection.taken]).sum()))


class _Selection:
    """The places taken so far and what they leave to choose from."""

    def __init__(
        self,
        pool: Pool,
        frame: Frame,
        limits: Limits,
        measured_xy: np.ndarray,
        settings: RecommendSettings,
        rng: np.random.Generator,
    ) -> None:
        self.pool, self.settings, self.rng, self.measured_xy = pool, settings, rng, measured_xy
        self.frame, self.xy = frame, frame.to_metres(pool.points_rc.astype(np.float64))
        self.spacing_m = max(settings.spacing_m, limits.spacing_min_m)
        self.forbidden = {
            "outside the limits": ~(within(self.xy, limits) & frame.contains(self.xy)),
            "in the margin of the frame": border_distance(pool.points_rc, frame) < settings.margin_m,
            "where enough has been measured": crowded(self.xy, measured_xy, limits.dose_max, limits.dose_radius_m),
            _ALTERED: altered(pool.points_rc, pool.window_px, measured_xy, settings.damage_radius_m, frame),
        }
        self.near = np.zeros(len(pool.points_rc), dtype=bool)
        for place in measured_xy:
            self._keep_away(place)
        self.fit = ~np.logical_or.reduce(list(self.forbidden.values()))
        self.most = min(limits.points_max, MOST_POINTS)
        each = settings.points_per_cluster * sum(len(core) > 0 for core in pool.cores)
        self.wanted = each if settings.points is None else settings.points
        self.taken: list[int] = []

    def fill(self) -> None:
        """Prototypes first, then all key points."""
        pool, settings = self.pool, self.settings
        if settings.policy == "equal":
            most = settings.points_per_cluster if settings.points is None else None
            self._follow(Equal(pool.cores, most), pool.core)
            return
        self._follow(Equal(pool.cores, settings.prototypes), pool.core)
        self._order()
        if len(self.taken) < min(self.wanted, self.most):
            self._take_in_altered()
            self._order()

    def _take_in_altered(self) -> None:
        """Nothing else is left: a place beside an earlier measurement is worth more than none, as long as the spacing is kept."""
        others = [which for reason, which in self.forbidden.items() if reason != _ALTERED]
        self.fit = ~np.logical_or.reduce(others)
        self.fit[self.taken] = False

    def requests(self, decision_id: str) -> tuple[MeasurementRequest, ...]:
        """The places taken, as the instrument is asked to measure them."""
        ranks = [0] * (int(self.pool.labels.max(initial=-1)) + 1)
        out = []
        for number, i in enumerate(self.taken):
            cluster = int(self.pool.labels[i])
            out.append(
                MeasurementRequest(
                    request_id=f"{decision_id}-{number:03d}",
                    x_m=float(self.xy[i, 0]),
                    y_m=float(self.xy[i, 1]),
                    row=int(self.pool.points_rc[i, 0]),
                    col=int(self.pool.points_rc[i, 1]),
                    cluster=cluster,
                    rank=ranks[cluster],
                    core_distance=float(self.pool.core_distance[i]),
                )
            )
            ranks[cluster] += 1
        return tuple(out)

    def passed_over(self) -> dict[str, int]:
        """Reason -> number of core points that are not among the places taken; each counts for one reason."""
        left = self.pool.core | self.pool.only_mixed
        left[self.taken] = False
        counts = {}
        for reason, which in self.forbidden.items():
            counts[reason] = int((left & which).sum())
            left &= ~which
        counts["of mixed patches"] = int((left & self.pool.only_mixed).sum())
        left &= ~self.pool.only_mixed
        counts["nearer than the spacing"] = int((left & self.near).sum())
        full = len(self.taken) >= self.most and self.most < self.wanted
        counts["more than the instrument takes"] = int((left & ~self.near).sum()) if full else 0
        return counts

    def _order(self) -> None:
        """By the configured policy; created again while it finds more, since it may know a part of the points only."""
        while True:
            before = len(self.taken)
            if before < min(self.wanted, self.most) and self._free.any():
                self._follow(self._policy(), np.ones(len(self.xy), dtype=bool))
            if len(self.taken) == before:
                return

    def _follow(self, policy: Policy, among: Bool[np.ndarray, " n"]) -> None:
        while len(self.taken) < min(self.wanted, self.most):
            row = policy.choose(among & self._free)
            if row is None:
                return
            policy.take(row)
            self.taken.append(row)
            self._keep_away(self.xy[row])
            self.fit[row] = False

    @property
    def _free(self) -> Bool[np.ndarray, " n"]:
        return np.asarray(self.fit & ~self.near)

    def _keep_away(self, place: np.ndarray) -> None:
        self.near |= np.hypot(*(self.xy - place).T) < self.spacing_m

    def _policy(self) -> Policy:
        pool, settings = self.pool, self.settings
        measured = np.concatenate([self.measured_xy, self.xy[self.taken]])
        if settings.policy == "spread":
            return Spread(self.xy, measured)
        if settings.policy == "area":
            area = Area(self.xy, self.measured_xy, pool.labels)
            for row in self.taken:
                area.take(row)
            return area
        targets = len(self.xy) + np.arange(len(pool.targets_rc))
        before = len(self.xy) + len(targets) + np.arange(len(self.measured_xy))
        given = np.concatenate([np.array(self.taken, dtype=np.int64), before])
        return Informative(self._kernel(), pool.points_rc, self._free, targets, given, settings.noise, self.rng)

    def _kernel(self) -> PlaceKernel:
        """Of key points, targets and measured places, each of these taken to show what the nearest of the others shows."""
        pool, settings = self.pool, self.settings
        features = scaled(pool.features, by=pool.features[len(self.xy) :])
        xy = np.concatenate([self.xy, self.frame.to_metres(pool.targets_rc.astype(np.float64))])
        nearest = [int(np.hypot(*(xy - place).T).argmin()) for place in self.measured_xy]
        return PlaceKernel(
            np.concatenate([features, features[nearest]]),
            np.concatenate([xy, self.measured_xy]),
            settings.patch_share,
            settings.patch_length,
            settings.position_length * max(self.frame.size_fast_m, self.frame.size_slow_m),
        )
