"""From a scan to a decision. `Agent.decide` is the whole flow; `_PreparedDecision.decide` turns a search result into a decision.

    scan -> quality, drift -> channels -> key points -> search (patches, representations, rewards) -> core points -> targets

Nothing here uses sockets, files or the clock: the same scan, configuration, limits and measured points give the same
decision. The service (or `vaestar analyze`) records the decision and acts on it.
"""

import hashlib
from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from agent.config.model import OPERATIONAL, Config
from agent.config.recommendation import RecommendSettings
from agent.decision.clusters import Clusters
from agent.decision.inputs import UNCONTROLLED, DecisionInputs, SearchControl
from agent.decision.record_builder import as_decision, kept_arrays, quality_record
from agent.preprocessing.drift import DriftTrack, drift_while_measuring_m, predict_targets, update_track
from agent.preprocessing.frame_comparison import MISLEADING
from agent.preprocessing.keypoints import AUTO, WALLS
from agent.preprocessing.registration import ScanPair
from agent.preprocessing.scan_quality import Quality, inspect
from agent.preprocessing.wild_pixels import without_wild_pixels
from agent.recommendation.patch_features import patch_features
from agent.recommendation.place_selection import Pool, Recommended, in_recorded_pixels, recommend
from agent.recommendation.target_grid import target_grid
from agent.schema.decision import AnalysedRecord, Decision, QualityRecord
from agent.schema.seed_streams import Stream, stream
from agent.search.candidates import Candidate
from agent.search.plugins import load_keypoints, load_reward
from agent.search.prepared_scan import prepare_scan
from agent.search.search import SearchResult, search
from agent.search.task_cache import ResultCache
from agent.search.warm_start import NOT_IN_DECISION_ID, WarmStart, deepened, warm_start
from agent.workers.base import Workers
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

# Sections of the configuration that do not affect a decision, or enter its id separately.
_NOT_IN_ID = (*OPERATIONAL, "evidence")


class Agent:
    """Decides where to measure.

    Parameters
    ----------
    config
        Configuration. A reward or key-point method that cannot be loaded is refused here, not hours later.
    workers
        Processes that train the candidates.

    Raises
    ------
    PluginError
        If the configuration names a reward or key-point method that cannot be used.
    """

    def __init__(self, config: Config, workers: Workers) -> None:
        load_reward(config.reward, config.reward_options, config.directory)
        for name in config.keypoints:
            load_keypoints(name, config.keypoint_options(name), config.directory)
        self.config = config
        self.workers = workers

    def decide(
        self, inputs: DecisionInputs, control: SearchControl = UNCONTROLLED, *, cache: ResultCache | None = None
    ) -> Decision:
        """The decision on where to measure after a scan, with the reasons.

        Parameters
        ----------
        inputs
            The scan, and everything else that the decision depends on.
        control
            What ends the search early, and who is informed of its progress.
        cache
            Keeps finished tasks, so that the same call after a kill does not train them again.

        Returns
        -------
        Decision
            Its outcome is "not_resolvable", with the reason and no request, if no candidate is eligible, and "bad_scan" if the
            scan fails the quality gate.

        Raises
        ------
        UnusableScanError
            If the scan has no contrast, is smaller than a window, or has too few valid pixels or domain walls.
        UnknownChannelError
            If the scan lacks the configured channel.
        SearchCancelledError
            If `control.cancelled` returned true.
        """
        inputs, wild = self._without_wild_pixels(inputs)
        pair = ScanPair(inputs.earlier, inputs.scan, inputs.scan.find_channel(self.config.channel))
        quality = self._inspect_quality(inputs, pair)
        if quality is not None and quality.fatal is not None:
            return self._bad_scan(inputs.scan, quality, wild)
        before = inputs.previous.record.drift if inputs.previous is not None else None
        track = update_track(before, pair, self.config.drift)
        prepared = _PreparedDecision(self.config, inputs.in_scan_coordinates(track), quality, track, wild)
        on_rung = control.on_rung
        found = search(
            prepared.scan,
            self.config,
            self.workers,
            start=prepared.start,
            cache=cache,
            progress=control.progress,
            cancelled=control.cancelled,
            out_of_time=control.out_of_time,
            on_rung=None if on_rung is None else lambda result: on_rung(prepared.decide(result)),
        )
        return prepared.decide(found)

    def deeper(self) -> "Agent":
        """An agent with the same workers that searches with more effort (see `agent.search.warm_start.deepened`)."""
        return Agent(deepened(self.config), self.workers)

    def unresolved(self, scan: Scan, reason: str) -> Decision:
        """The decision not to measure, with a reason, for scans on which `decide` failed or must not run."""
        channel = next((n for n in scan.channels if n == self.config.channel), "")
        name = f"d-{hashlib.sha256(f'{scan.scan_id}:{reason}'.encode()).hexdigest()[:16]}"
        return as_decision(name, scan, channel, self.config, unusable=reason)

    def _without_wild_pixels(self, inputs: DecisionInputs) -> tuple[DecisionInputs, dict[str, int]]:
        """The inputs with the wild pixels of both scans replaced, and how many there were in the new one, by channel."""
        if self.config.scan.rules == 1:
            return inputs, {}
        scan, wild = without_wild_pixels(inputs.scan)
        earlier = None if inputs.earlier is None else without_wild_pixels(inputs.earlier)[0]
        return replace(inputs, scan=scan, earlier=earlier), wild

    def _inspect_quality(self, inputs: DecisionInputs, pair: ScanPair) -> Quality | None:
        """Quality of the scan; None if the quality gate is switched off."""
        settings, scan, previous = self.config.quality, inputs.scan, inputs.previous
        if not settings.enabled:
            return None
        before = previous.record.quality if previous is not None and previous.record.frame == scan.frame else QualityRecord()
        misleading = MISLEADING & {p.name for p in before.problems}
        return inspect(
            scan,
            pair.channel,
            settings,
            sharpness_before=before.sharpness,
            content_before=before.content or None,
            pair=None if misleading else pair,
            measured_xy=inputs.measured_xy,
            robust=self.config.scan.rules > 1,
        )

    def _bad_scan(self, scan: Scan, quality: Quality, wild: dict[str, int]) -> Decision:
        """The decision not to measure on a scan of insufficient quality."""
        channel = scan.find_channel(self.config.channel)
        name = f"d-{hashlib.sha256(f'{scan.scan_id}:{quality.content}:unfit'.encode()).hexdigest()[:16]}"
        return as_decision(
            name, scan, channel, self.config, quality=quality_record(quality), analysed=AnalysedRecord(wild_pixels=wild)
        )


class _PreparedDecision:
    """The prepared scan with all that the decision on it depends on.

    Parameters
    ----------
    config
        Configuration of the agent.
    inputs
        Measured positions in the coordinates of the scan.
    quality
        Quality of the scan; None where it was not inspected.
    track
        Drift up to the scan.
    wild
        Number of wild pixels that were replaced, by channel.
    """

    def __init__(
        self, config: Config, inputs: DecisionInputs, quality: Quality | None, track: DriftTrack, wild: dict[str, int]
    ) -> None:
        self._config, self._inputs, self._quality, self._track, self._wild = config, inputs, quality, track, wild
        self.start = inputs.start or warm_start(inputs.previous, config)
        prepared = prepare_scan(inputs.scan, config, None if quality is None else quality.bad_lines)
        sets = [found.points_rc for found in prepared.keypoints.values()]
        nearby, self._results_left_out = inputs.results.near_keypoints(prepared.frame, sets, config.evidence.near_px)
        self.scan = replace(prepared, results=nearby)

    def decide(self, found: SearchResult) -> Decision:
        """The decision that follows from the result of a search."""
        decision_id = self._id(found)
        chosen = found.chosen
        method = chosen.configuration.keypoints if chosen else next(iter(self.scan.keypoints))
        keypoints = self.scan.keypoints[method]
        points, walls, positions = keypoints.points_rc, keypoints.walls, keypoints.positions_rc
        if chosen is not None and found.z is None:
            assert found.rows is not None
            judged = found.rows[method].judged
            points, walls = points[judged], walls.take(judged)
            positions = None if positions is None else positions[judged]
        clusters = recommended = None
        shown_rc: dict[str, tuple[float, float]] = {}
        if chosen is not None:
            z = chosen.representation.z if found.z is None else found.z
            clusters = Clusters(chosen, z, points, self._config.recommend, walls, self._config.walls.smoothing)
            recommended, shown_rc = self._choose_points(chosen, clusters, points, positions, decision_id)
        return as_decision(
            decision_id,
            self._inputs.scan,
            self.scan.channel,
            self._config,
            found=found,
            clusters=clusters,
            recommended=recommended,
            arrays=kept_arrays(points, found, clusters, self._config),
            keypoints_found=keypoints.found,
            keypoints_used=len(points),
            keypoints_dropped=keypoints.dropped,
            masked=dict(self.scan.masked),
            quality=quality_record(self._quality),
            drift=self._track.record(),
            analysed=AnalysedRecord(frame=self._square_frame, requests_rc=shown_rc, wild_pixels=self._wild),
            phase_offset_rad=self.scan.phase_offset_rad,
            points_measured_before=len(self._inputs.measured_xy),
            results_used=len(self.scan.results.values) if self.scan.results else 0,
            results_left_out=self._results_left_out,
            evidence_weight=chosen.score.metrics.get("evidence_weight") if chosen and chosen.score else None,
        )

    @property
    def _square_frame(self) -> Frame | None:
        """The frame in the pixels that the scan was resampled to; None if it was not."""
        return None if self.scan.frame == self._inputs.scan.frame else self.scan.frame

    def _choose_points(
        self, chosen: Candidate, clusters: Clusters, points: np.ndarray, positions: np.ndarray | None, decision_id: str
    ) -> tuple[Recommended, dict[str, tuple[float, float]]]:
        """The recommended points, and for a resampled scan the exact (row, col) in the recorded one at which it shows each."""
        settings, window_px = self._config.recommend, chosen.representation.window_px
        rng = stream(self._config.seed, Stream.PLACES)
        margin_m = drift_while_measuring_m(self._track, self._points_max(settings), self._config.drift)
        settings = settings.model_copy(
            update={"spacing_m": max(settings.spacing_m, self._inputs.limits.spacing_min_m) + margin_m}
        )
        with threadpool_limits(1):  # the number of threads changes the last bits
            nodes, features = points[:0], clusters.z
            if settings.policy == "ivr":
                nodes = target_grid(self.scan.valid)
                images, both = self.scan.stacks[chosen.configuration.channels], np.concatenate([points, nodes])
                features = patch_features(images, both, window_px, fitted_rc=nodes)
            pool = Pool(
                points,
                clusters.labels,
                clusters.distance,
                clusters.cores,
                features,
                window_px,
                clusters.mixed,
                targets_rc=nodes,
                positions_rc=positions,
            )
            recommended = recommend(
                pool, self.scan.frame, self._inputs.limits, self._inputs.measured_xy, settings, decision_id, rng
            )
        chosen_requests = recommended.requests
        shown_rc: dict[str, tuple[float, float]] = {}
        if self._square_frame is not None:
            chosen_requests, shown_rc = in_recorded_pixels(recommended.requests, self._inputs.scan.frame)
        requests, lost = predict_targets(self._track, self._inputs.scan, chosen_requests, self._inputs.limits, self._config.drift)
        passed_over = recommended.passed_over | {"carried out of the frame by drift": lost}
        return replace(recommended, requests=requests, passed_over=passed_over), shown_rc

    def _points_max(self, settings: RecommendSettings) -> int:
        """Largest number of points that may be measured after this scan."""
        return min(self._inputs.limits.points_max, settings.points or self._inputs.limits.points_max)

    def _id(self, found: SearchResult) -> str:
        """Decision id: a digest of everything that the decision depends on, so that equal inputs give equal ids."""
        digest = hashlib.sha256()
        # Without walls, their settings affect nothing, and decisions keep the ids that they had before there were any.
        ignored = (*_NOT_IN_ID, *(() if {AUTO, WALLS} & set(self._config.keypoints) else ("walls",)))
        keys = {"search": set(NOT_IN_DECISION_ID), "scan": {"rules"}}
        config = self._config.model_dump_json(exclude=dict.fromkeys(ignored, True) | keys)
        start = self.start.decision_id if isinstance(self.start, WarmStart) else ""
        rungs = "".join(found.rungs) if found.ended_early else ""
        frame, limits = self._inputs.scan.frame.model_dump_json(), self._inputs.limits.model_dump_json()
        for text in (self._inputs.scan.scan_id, self.scan.channel, frame, config, limits, start, rungs):
            digest.update(text.encode() + b"\0")
        digest.update(np.ascontiguousarray(self._inputs.scan.channels[self.scan.channel]).tobytes())
        for stack in self.scan.stacks.values():
            digest.update(stack[1:].tobytes())
        digest.update(np.ascontiguousarray(self._inputs.measured_xy, dtype=np.float64).tobytes())
        if self._square_frame is not None:
            digest.update(self._square_frame.model_dump_json().encode())
        if self._track.known:
            digest.update(np.array(self._track.knots).tobytes())
        if (results := self.scan.results) is not None:
            digest.update("\0".join([self._config.evidence.model_dump_json(), *results.names]).encode())
            digest.update(np.column_stack([results.points_rc, results.values]).tobytes())
        return f"d-{digest.hexdigest()[:16]}"
