"""A scan comes in, a decision comes out. This file is the whole flow; each step is a call that can be read on its own.

    scan -> channels -> key points -> search over (window, invariance, seed) -> core points of the mixture, in order -> metres

Nothing here opens a socket or a file or asks the time: the same scan, configuration, limits and measured places give the same
decision. The service (or `vaestar analyze`) records it and acts on it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from threadpoolctl import threadpool_limits

from agent.config.model import OPERATIONAL, Config
from agent.config.recommendation import RecommendSettings
from agent.decision.clusters import Clusters
from agent.decision.record_builder import as_decision, kept_arrays, quality_record
from agent.preprocessing.drift import DriftTrack, predict_targets, stretch_m, to_scan_coordinates, update_track
from agent.preprocessing.frame_comparison import MISLEADING
from agent.preprocessing.scan_quality import Quality, inspect
from agent.recommendation.patch_features import patch_features
from agent.recommendation.place_selection import Pool, Recommended, recommend
from agent.recommendation.target_grid import frame_lattice
from agent.schema.decision import Decision, QualityRecord
from agent.schema.measurements import NO_RESULTS, MeasuredOnSample
from agent.schema.seed_streams import Stream, stream
from agent.search.candidates import Candidate
from agent.search.plugins import load_keypoints, load_reward
from agent.search.prepared_scan import prepare_scan
from agent.search.search import SearchResult, search
from agent.search.task_cache import Store
from agent.search.task_runner import Progress, never, silent
from agent.search.warm_start import NOT_IN_DECISION_ID, WarmStart, deepened, warm_start
from agent.workers.base import Workers
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.scan import Scan

NOWHERE: Float[np.ndarray, "0 2"] = np.empty((0, 2))
# What of the configuration bears on a decision elsewhere, or not at all.
_BESIDE = (*OPERATIONAL, "evidence")


class Agent:
    """Decides where to measure.

    Parameters
    ----------
    config
        All choices made beforehand. A reward or key-point method that cannot be loaded is refused here, not hours later.
    workers
        Where candidates are trained.

    Raises
    ------
    PluginError
        If the configuration names a reward or key-point method that cannot be used.
    """

    def __init__(self, config: Config, workers: Workers) -> None:
        load_reward(config.reward, config.reward_options, config.directory)
        for name in config.keypoints:
            load_keypoints(name, config.options_of(name), config.directory)
        self.config = config
        self.workers = workers

    def on_scan(
        self,
        scan: Scan,
        limits: Limits = Limits(),
        measured_xy: Float[np.ndarray, "k 2"] = NOWHERE,
        *,
        measured_s: Float[np.ndarray, " k"] | None = None,
        results: MeasuredOnSample = NO_RESULTS,
        previous: Decision | None = None,
        earlier: Scan | None = None,
        start: WarmStart | None = None,
        store: Store | None = None,
        progress: Progress = silent,
        cancelled: Callable[[], bool] = never,
        out_of_time: Callable[[], bool] | None = None,
        on_rung: Callable[[Decision], None] | None = None,
    ) -> Decision:
        """Where to measure after `scan`, and why.

        Parameters
        ----------
        scan
            Newly recorded.
        limits
            Of the instrument that recorded it.
        measured_xy
            Shape (k, 2): where this sample has been measured before, in metres.
        measured_s
            Shape (k,): when, as POSIX seconds; by default not known.
        results
            What came of the measurements: candidates are held against them too. They may have been asked for by decisions that
            chose other clusters; only where they are and what was measured matters.
        previous
            The last decision on this sample, with its arrays: training goes on from its weights where that is as good.
        earlier
            The scan that it was on: how the picture has moved since says how the tip drifts.
        start
            Where training begins, if not with the weights of `previous`.
        store
            Keeps finished work, so that the same call after a kill does not train it again.
        progress, cancelled, out_of_time
            See `search`. When `out_of_time` says so, the last complete rung is decided on.
        on_rung
            Told of the decision that each rung of the search would lead to, the last one included.

        Returns
        -------
        Decision
            "not_resolvable", with the reason and no request, when no trained model can be trusted; "bad_scan" when the scan is
            not fit for a decision.

        Raises
        ------
        UnusableScanError
            If nothing can be represented: no contrast, too few pixels or walls, smaller than a window.
        UnknownChannelError
            If the scan does not hold the configured channel.
        SearchCancelledError
            If `cancelled` said so.
        """
        quality = self._inspected(scan, previous, earlier, measured_xy)
        if quality is not None and quality.fatal is not None:
            return self._unfit(scan, quality)
        before = previous.record.drift if previous is not None else None
        track = update_track(before, earlier, scan, scan.find_channel(self.config.channel), self.config.drift)
        if track.known:
            times = np.full(len(measured_xy), np.nan) if measured_s is None else measured_s
            measured_xy = to_scan_coordinates(track, scan, measured_xy, times)
            results = replace(results, xy_m=to_scan_coordinates(track, scan, results.xy_m, results.at_s))
        begin = start or warm_start(previous, self.config)
        question = _Question(self.config, scan, limits, measured_xy, results, begin, quality, track)
        found = search(
            question.scene,
            self.config,
            self.workers,
            start=question.start,
            store=store,
            progress=progress,
            cancelled=cancelled,
            out_of_time=out_of_time,
            on_rung=None if on_rung is None else lambda result: on_rung(question.decide(result)),
        )
        return question.decide(found)

    def deeper(self) -> "Agent":
        """The agent that searches with more effort (see `agent.search.warm_start.deepened`), with the same workers."""
        return Agent(deepened(self.config), self.workers)

    def unresolved(self, scan: Scan, reason: str) -> Decision:
        """The decision not to measure, when `on_scan` could not decide for `reason`."""
        channel = next((n for n in scan.channels if n == self.config.channel), "")
        name = f"d-{hashlib.sha256(f'{scan.scan_id}:{reason}'.encode()).hexdigest()[:16]}"
        return as_decision(name, scan, channel, self.config, unusable=reason)

    def _inspected(self, scan: Scan, previous: Decision | None, earlier: Scan | None, measured_xy: np.ndarray) -> Quality | None:
        settings = self.config.quality
        if not settings.enabled:
            return None
        before = previous.record.quality if previous is not None and previous.record.frame == scan.frame else QualityRecord()
        channel = scan.find_channel(self.config.channel)
        misleading = MISLEADING & {p.name for p in before.problems}
        return inspect(
            scan,
            channel,
            settings,
            sharpness_before=before.sharpness,
            content_before=before.content or None,
            earlier=None if misleading else earlier,
            measured_xy=measured_xy,
        )

    def _unfit(self, scan: Scan, quality: Quality) -> Decision:
        """The decision not to measure on a scan that went wrong."""
        channel = scan.find_channel(self.config.channel)
        name = f"d-{hashlib.sha256(f'{scan.scan_id}:{quality.content}:unfit'.encode()).hexdigest()[:16]}"
        return as_decision(name, scan, channel, self.config, quality=quality_record(quality))


class _Question:
    """One scan with all that the decision on it depends on."""

    def __init__(
        self,
        config: Config,
        scan: Scan,
        limits: Limits,
        measured_xy: np.ndarray,
        results: MeasuredOnSample,
        start: WarmStart | str,
        quality: Quality | None,
        track: DriftTrack,
    ) -> None:
        self.quality, self.track = quality, track
        self.config, self.scan, self.limits, self.measured_xy, self.start = config, scan, limits, measured_xy, start
        scene = prepare_scan(scan, config, None if quality is None else quality.bad_lines)
        sets = [found.points_rc for found in scene.keypoints.values()]
        bearing, self.results_left_out = results.bearing_on(scan.frame, sets, config.evidence.near_px)
        self.scene = replace(scene, results=bearing)

    def decide(self, found: SearchResult) -> Decision:
        """The decision that a search's result leads to."""
        decision_id = self._id(found)
        chosen = found.chosen
        method = chosen.configuration.keypoints if chosen else next(iter(self.scene.keypoints))
        keypoints = self.scene.keypoints[method]
        points = keypoints.points_rc
        if chosen is not None and found.z is None:
            assert found.rows is not None
            points = points[found.rows[method].judged]
        clusters = places = None
        if chosen is not None:
            z = chosen.representation.z if found.z is None else found.z
            clusters = Clusters(chosen, z, points, self.config.recommend)
            places = self._places(chosen, clusters, points, decision_id)
        return as_decision(
            decision_id,
            self.scan,
            self.scene.channel,
            self.config,
            found=found,
            clusters=clusters,
            places=places,
            arrays=kept_arrays(points, found, clusters, self.config),
            keypoints_found=keypoints.found,
            keypoints_used=len(points),
            keypoints_dropped=keypoints.dropped,
            masked=dict(self.scene.masked),
            quality=quality_record(self.quality),
            drift=self.track.record(),
            phase_offset_rad=self.scene.phase_offset_rad,
            points_measured_before=len(self.measured_xy),
            results_used=len(self.scene.results.values) if self.scene.results else 0,
            results_left_out=self.results_left_out,
            evidence_weight=chosen.score.metrics.get("evidence_weight") if chosen and chosen.score else None,
        )

    def _places(self, chosen: Candidate, clusters: Clusters, points: np.ndarray, decision_id: str) -> Recommended:
        settings, window_px = self.config.recommend, chosen.representation.window_px
        rng = stream(self.config.seed, Stream.PLACES)
        apart_m = stretch_m(self.track, self._most(settings), self.config.drift)
        settings = settings.model_copy(update={"spacing_m": max(settings.spacing_m, self.limits.spacing_min_m) + apart_m})
        with threadpool_limits(1):  # the number of threads changes the last bits
            nodes, features = points[:0], clusters.z
            if settings.policy == "ivr":
                nodes = frame_lattice(self.scene.valid)
                images, both = self.scene.stacks[chosen.configuration.channels], np.concatenate([points, nodes])
                features = patch_features(images, both, window_px, fitted_rc=nodes)
            pool = Pool(
                points, clusters.labels, clusters.distance, clusters.cores, features, window_px, clusters.mixed, targets_rc=nodes
            )
            places = recommend(pool, self.scan.frame, self.limits, self.measured_xy, settings, decision_id, rng)
        requests, lost = predict_targets(self.track, self.scan, places.requests, self.limits, self.config.drift)
        return replace(places, requests=requests, passed_over=places.passed_over | {"carried out of the frame by drift": lost})

    def _most(self, settings: RecommendSettings) -> int:
        """So many points may be measured after this scan."""
        return min(self.limits.points_max, settings.points or self.limits.points_max)

    def _id(self, found: SearchResult) -> str:
        """Names a decision after all that it depends on, so that the same question has the same name."""
        digest = hashlib.sha256()
        config = self.config.model_dump_json(exclude=dict.fromkeys(_BESIDE, True) | {"search": set(NOT_IN_DECISION_ID)})
        start = self.start.decision_id if isinstance(self.start, WarmStart) else ""
        rungs = "".join(found.rungs) if found.ended_early else ""
        frame, limits = self.scan.frame.model_dump_json(), self.limits.model_dump_json()
        for text in (self.scan.scan_id, self.scene.channel, frame, config, limits, start, rungs):
            digest.update(text.encode() + b"\0")
        digest.update(np.ascontiguousarray(self.scan.channels[self.scene.channel]).tobytes())
        for stack in self.scene.stacks.values():
            digest.update(stack[1:].tobytes())
        digest.update(np.ascontiguousarray(self.measured_xy, dtype=np.float64).tobytes())
        if self.track.known:
            digest.update(np.array(self.track.knots).tobytes())
        if (results := self.scene.results) is not None:
            digest.update("\0".join([self.config.evidence.model_dump_json(), *results.names]).encode())
            digest.update(np.column_stack([results.points_rc, results.values]).tobytes())
        return f"d-{digest.hexdigest()[:16]}"
