"""Selection of the key points to measure and their order, with the spacing and within all limits, in metres.

First every cluster gets its prototypes, its most typical core points. Then a policy selects among all key points. A point that
must not be measured is never moved: it is passed over and counted with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from agent.config.recommendation import RecommendSettings
from agent.recommendation.exclusion_zones import altered_patches, border_distance, dose_reached, within_limits
from agent.recommendation.policies import Area, Equal, Informative, Policy, Spread
from agent.recommendation.similarity_kernel import PlaceKernel, standardised
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest

_ALTERED = "in patches that show an earlier measurement"
MAX_POINTS = 10_000  # in one recommendation message


@dataclass(frozen=True, eq=False)
class Pool:
    """Key points from which the points to measure are selected.

    Parameters
    ----------
    points_rc
        Shape (n, 2): key points, pixels.
    labels
        Shape (n,): cluster of each key point.
    core_distance
        Shape (n,): Mahalanobis distance of each key point from the centre of its own cluster.
    cores
        For each cluster, rows of its core points, most typical first.
    features
        Shape (n + m, d): features of the patches around the key points and, in the rows after them, around the targets, in any
        unit; similar patches have features that lie close together.
    window_px
        Side of the patches in pixels.
    mixed
        Shape (x,): rows of key points that would be core points if their patches were not mixed.
    targets_rc
        Shape (m, 2): pixels at which the response is to be predicted; needed for the policy "ivr" only.
    positions_rc
        Shape (n, 2): where the tip is sent for each key point, to a fraction of a pixel; None for the centres of the pixels.
    """

    points_rc: Int[np.ndarray, "n 2"]
    labels: Int[np.ndarray, " n"]
    core_distance: Float[np.ndarray, " n"]
    cores: Sequence[Int[np.ndarray, " _"]]
    features: Float[np.ndarray, "all d"]
    window_px: int
    mixed: Int[np.ndarray, " x"]
    targets_rc: Int[np.ndarray, "m 2"]
    positions_rc: Float[np.ndarray, "n 2"] | None = None

    @property
    def core(self) -> Bool[np.ndarray, " n"]:
        """Shape (n,): True for core points."""
        return self._mask(np.concatenate([*self.cores, self.mixed[:0]]))

    @property
    def only_mixed(self) -> Bool[np.ndarray, " n"]:
        """Shape (n,): True for points that are excluded from the core only because they are mixed."""
        return self._mask(self.mixed)

    def _mask(self, rows: Int[np.ndarray, " _"]) -> Bool[np.ndarray, " n"]:
        mask = np.zeros(len(self.points_rc), dtype=bool)
        mask[rows] = True
        return mask


@dataclass(frozen=True, eq=False)
class Recommended:
    """Requests for the selected points, and the core points that were passed over.

    Parameters
    ----------
    requests
        Requests in the order in which they are to be measured.
    passed_over
        Reason -> number of core points that were not selected because of it.
    beyond_core
        Number of requests that are not core points.
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
    """Select the points to measure, in order.

    A point is passed over if it lies outside the instrument's range or in the margin of the frame, if the dose around it is
    reached, if its patch shows the spot of an earlier measurement (unless nothing else is left), or if it is too near to a
    selected or measured point, because a loop alters the sample.

    Parameters
    ----------
    pool
        Key points with their clusters and features.
    frame
        Frame of the scan.
    limits
        Limits of the instrument.
    measured_xy
        Shape (k, 2): positions measured on the sample, in metres.
    settings
        Policy, number of points and distances.
    decision_id
        Id of the decision, with which the ids of its requests begin.
    rng
        Source of the choice of candidates if there are very many key points.
    """
    selection = _Selection(pool, frame, limits, measured_xy, settings, rng)
    selection.run()
    return Recommended(selection.requests(decision_id), selection.passed_over(), int((~pool.core[selection.selected]).sum()))


def in_recorded_pixels(
    requests: Sequence[MeasurementRequest], recorded: Frame
) -> tuple[tuple[MeasurementRequest, ...], dict[str, tuple[float, float]]]:
    """Requests for points of a resampled scan with the nearest pixel of the scan as it was recorded, and exact pixels by id."""
    if not requests:
        return (), {}
    exact = recorded.to_pixels(np.array([[r.x_m, r.y_m] for r in requests]))
    nearest = np.clip(np.rint(exact), 0, [recorded.rows - 1, recorded.cols - 1]).astype(np.int64)
    moved = tuple(
        r.model_copy(update={"row": int(row), "col": int(col)}) for r, (row, col) in zip(requests, nearest, strict=True)
    )
    return moved, {r.request_id: (float(row), float(col)) for r, (row, col) in zip(requests, exact, strict=True)}


class _Selection:
    """The key points selected so far, and those that can still be selected."""

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
        positions = pool.points_rc if pool.positions_rc is None else pool.positions_rc
        self.frame, self.xy = frame, frame.to_metres(positions.astype(np.float64))
        self.spacing_m = max(settings.spacing_m, limits.spacing_min_m)
        self.forbidden = {
            "outside the limits": ~(within_limits(self.xy, limits) & frame.contains(self.xy)),
            "in the margin of the frame": border_distance(pool.points_rc, frame) < settings.margin_m,
            "where enough has been measured": dose_reached(self.xy, measured_xy, limits.dose_max, limits.dose_radius_m),
            _ALTERED: altered_patches(pool.points_rc, pool.window_px, measured_xy, settings.damage_radius_m, frame),
        }
        self.too_near = np.zeros(len(pool.points_rc), dtype=bool)
        for position in measured_xy:
            self._block_around(position)
        self.allowed = ~np.logical_or.reduce(list(self.forbidden.values()))
        self.max_points = min(limits.points_max, MAX_POINTS)
        in_all_clusters = settings.points_per_cluster * sum(len(core) > 0 for core in pool.cores)
        self.wanted = in_all_clusters if settings.points is None else settings.points
        self.selected: list[int] = []

    def run(self) -> None:
        """Select prototypes first, then among all key points."""
        pool, settings = self.pool, self.settings
        if settings.policy == "equal":
            max_each = settings.points_per_cluster if settings.points is None else None
            self._select(Equal(pool.cores, max_each), pool.core)
            return
        self._select(Equal(pool.cores, settings.prototypes), pool.core)
        self._select_by_policy()
        if len(self.selected) < min(self.wanted, self.max_points):
            self._allow_altered_patches()
            self._select_by_policy()

    def _allow_altered_patches(self) -> None:
        """Allow points beside earlier measurements, which are better than none if nothing else is left; the spacing is kept."""
        others = [mask for reason, mask in self.forbidden.items() if reason != _ALTERED]
        self.allowed = ~np.logical_or.reduce(others)
        self.allowed[self.selected] = False

    def requests(self, decision_id: str) -> tuple[MeasurementRequest, ...]:
        """The requests for the selected points."""
        ranks = [0] * (int(self.pool.labels.max(initial=-1)) + 1)
        out = []
        for number, i in enumerate(self.selected):
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
        """Reason -> number of core points that were not selected; each is counted for one reason only."""
        remaining = self.pool.core | self.pool.only_mixed
        remaining[self.selected] = False
        counts = {}
        for reason, mask in self.forbidden.items():
            counts[reason] = int((remaining & mask).sum())
            remaining &= ~mask
        counts["of mixed patches"] = int((remaining & self.pool.only_mixed).sum())
        remaining &= ~self.pool.only_mixed
        counts["nearer than the spacing"] = int((remaining & self.too_near).sum())
        full = len(self.selected) >= self.max_points and self.max_points < self.wanted
        counts["more than the instrument takes"] = int((remaining & ~self.too_near).sum()) if full else 0
        return counts

    def _select_by_policy(self) -> None:
        """Select by the configured policy, created anew until it finds no more points: it may know only a subset of them."""
        while True:
            before = len(self.selected)
            if before < min(self.wanted, self.max_points) and self._selectable.any():
                self._select(self._policy(), np.ones(len(self.xy), dtype=bool))
            if len(self.selected) == before:
                return

    def _select(self, policy: Policy, among: Bool[np.ndarray, " n"]) -> None:
        while len(self.selected) < min(self.wanted, self.max_points):
            row = policy.choose(among & self._selectable)
            if row is None:
                return
            policy.accept(row)
            self.selected.append(row)
            self._block_around(self.xy[row])
            self.allowed[row] = False

    @property
    def _selectable(self) -> Bool[np.ndarray, " n"]:
        return np.asarray(self.allowed & ~self.too_near)

    def _block_around(self, position: np.ndarray) -> None:
        self.too_near |= np.hypot(*(self.xy - position).T) < self.spacing_m

    def _policy(self) -> Policy:
        pool, settings = self.pool, self.settings
        measured = np.concatenate([self.measured_xy, self.xy[self.selected]])
        if settings.policy == "spread":
            return Spread(self.xy, measured)
        if settings.policy == "area":
            area = Area(self.xy, self.measured_xy, pool.labels)
            for row in self.selected:
                area.accept(row)
            return area
        targets = len(self.xy) + np.arange(len(pool.targets_rc))
        measured_rows = len(self.xy) + len(targets) + np.arange(len(self.measured_xy))
        given = np.concatenate([np.array(self.selected, dtype=np.int64), measured_rows])
        return Informative(self._kernel(), pool.points_rc, self._selectable, targets, given, settings.noise, self.rng)

    def _kernel(self) -> PlaceKernel:
        """Prior covariance of key, grid and measured points; a measured point gets the features of the nearest of the others."""
        pool, settings = self.pool, self.settings
        features = standardised(pool.features, by=pool.features[len(self.xy) :])
        xy = np.concatenate([self.xy, self.frame.to_metres(pool.targets_rc.astype(np.float64))])
        nearest = [int(np.hypot(*(xy - position).T).argmin()) for position in self.measured_xy]
        return PlaceKernel(
            np.concatenate([features, features[nearest]]),
            np.concatenate([xy, self.measured_xy]),
            settings.patch_share,
            settings.patch_length,
            settings.position_length * max(self.frame.size_fast_m, self.frame.size_slow_m),
        )
