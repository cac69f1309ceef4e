"""A scan comes in, a decision comes out. This file is the whole flow; each step is a call that can be read on its own.

    scan -> channels -> key points -> search over (window, invariance, seed) -> the chosen mixture's core points -> metres

Nothing here opens a socket or a file or asks the time: the same scan, configuration, limits and measured places give the same
decision. The service (or `vaestar analyze`) records it and acts on it.
"""

import hashlib
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from agent.config import Config
from agent.decision import CandidateRecord, ClusterRecord, Decision, DecisionRecord, versions
from agent.executor import Workers
from agent.explain import explain
from agent.plugins import load_keypoints, load_reward
from agent.recommend import Recommended, core_order, recommend
from agent.search import Candidate, Progress, SearchResult, search, silent
from agent.workflow.channels import ChannelStack, stack_channels
from agent.workflow.keypoints import Keypoints, find_keypoints
from instrument_adapters.messages import Limits
from instrument_adapters.scan import Scan

NOWHERE: Float[np.ndarray, "0 2"] = np.empty((0, 2))


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
        self._find = load_keypoints(config.keypoints, config.keypoints_options, config.directory)
        self.config = config
        self.workers = workers

    def on_scan(
        self,
        scan: Scan,
        limits: Limits = Limits(),
        measured_xy: Float[np.ndarray, "k 2"] = NOWHERE,
        *,
        progress: Progress = silent,
        cancelled: Callable[[], bool] = lambda: False,
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
        progress, cancelled
            See `search`.

        Returns
        -------
        Decision
            "not_resolvable", with the reason and no request, when no trained model can be trusted.

        Raises
        ------
        UnusableScanError
            If nothing can be represented: no contrast, too few pixels or walls, smaller than a window.
        UnknownChannelError
            If the scan does not hold the configured channel.
        SearchCancelledError
            If `cancelled` said so.
        """
        config = self.config
        channel = scan.find_channel(config.channel)
        stack = stack_channels(scan, channel, config.scan.channels, config.scan.low_percentile, config.scan.high_percentile)
        decision_id = _decision_id(scan, channel, stack, config, limits, measured_xy)
        keypoints = find_keypoints(
            stack.image,
            self._find,
            spacing_px=config.scan.spacing_px,
            largest_window_px=max(config.search.windows_px),
            rng=np.random.default_rng([config.seed, 0]),
        )
        found = search(stack.values, keypoints, config, self.workers, progress=progress, cancelled=cancelled)
        if found.chosen is None:
            return _decide(decision_id, scan, channel, config, measured_xy, keypoints, found, masked=stack.image.masked)
        clusters = _Clusters(found.chosen, config.recommend.core_fraction)
        places = recommend(
            clusters.cores, clusters.distance, keypoints.points_rc, scan.frame, limits, measured_xy, config.recommend, decision_id
        )
        return _decide(
            decision_id, scan, channel, config, measured_xy, keypoints, found, clusters, places, masked=stack.image.masked
        )

    def unresolved(self, scan: Scan, reason: str) -> Decision:
        """The decision not to measure, when `on_scan` could not decide for `reason`."""
        channel = next((n for n in scan.channels if n == self.config.channel), "")
        name = f"d-{hashlib.sha256(f'{scan.scan_id}:{reason}'.encode()).hexdigest()[:16]}"
        return _decide(name, scan, channel, self.config, NOWHERE, unusable=reason)


class _Clusters:
    """All key points sorted into the chosen mixture's clusters, largest cluster first."""

    def __init__(self, chosen: Candidate, core_fraction: float) -> None:
        assert chosen.score is not None  # only candidates with a score and a mixture are chosen
        assert chosen.score.mixture is not None
        mixture, z = chosen.score.mixture, chosen.representation.z
        order = np.argsort(-mixture.weights, kind="stable")
        rank = np.argsort(order)
        distance = mixture.mahalanobis(z)[:, order]
        self.labels = rank[mixture.labels(z)]
        self.distance = distance[np.arange(len(z)), self.labels]
        self.cores = core_order(distance, self.labels, core_fraction)
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


def _decide(
    decision_id: str,
    scan: Scan,
    channel: str,
    config: Config,
    measured_xy: np.ndarray,
    keypoints: Keypoints | None = None,
    found: SearchResult | None = None,
    clusters: _Clusters | None = None,
    places: Recommended | None = None,
    unusable: str | None = None,
    masked: dict[str, int] | None = None,
) -> Decision:
    outcome, explanation = explain(found, places, unusable)
    record = DecisionRecord(
        decision_id=decision_id,
        scan_id=scan.scan_id,
        sample_id=scan.sample_id,
        channel=channel,
        unit=scan.units.get(channel, ""),
        frame=scan.frame,
        outcome=outcome,
        explanation=explanation,
        chosen=found.chosen.candidate_id if found and found.chosen else None,
        config=config.model_dump(mode="json"),
        versions=versions(),
        keypoints_found=keypoints.found if keypoints else 0,
        keypoints_used=len(keypoints.points_rc) if keypoints else 0,
        keypoints_dropped=keypoints.dropped if keypoints else {},
        masked=masked or {},
        common_points=found.common_points if found else 0,
        points_measured_before=len(measured_xy),
        configurations=list(found.configurations) if found else [],
        candidates=[_candidate_record(c) for c in found.candidates] if found else [],
        clusters=clusters.records if clusters else [],
        requests=list(places.requests) if places else [],
    )
    return Decision(record, _arrays(keypoints, found, clusters))


def _candidate_record(candidate: Candidate) -> CandidateRecord:
    r = candidate.representation
    return CandidateRecord(
        candidate_id=candidate.candidate_id,
        window_px=r.window_px,
        invariance=r.invariance,
        latent_dim=candidate.spec.latent_dim,
        beta=candidate.spec.kl_weight,
        seed=candidate.seed,
        elbo_per_px=r.elbo_per_px,
        reconstruction_per_px=r.reconstruction_per_px,
        survivors=int(candidate.kept.sum()),
        guarded_out=candidate.guarded_out,
        value=candidate.score.value if candidate.score else None,
        metrics=dict(candidate.score.metrics) if candidate.score else {},
    )


def _arrays(keypoints: Keypoints | None, found: SearchResult | None, clusters: _Clusters | None) -> dict[str, np.ndarray]:
    if keypoints is None or found is None:
        return {}
    arrays = {
        "points_rc": keypoints.points_rc.astype(np.int32),
        "latents": _padded([c.representation.z for c in found.candidates]),
    }
    if clusters is not None:
        core = np.zeros(len(keypoints.points_rc), dtype=np.int32)
        core[np.concatenate(clusters.cores)] = 1
        arrays |= {
            "labels": clusters.labels.astype(np.int32),
            "core": core,
            "core_distance": clusters.distance.astype(np.float64),
        }
    return arrays


def _padded(latents: list[np.ndarray]) -> np.ndarray:
    """One array (candidates, n, largest d), 0 beyond each candidate's own dimensions."""
    out = np.zeros((len(latents), len(latents[0]), max(z.shape[1] for z in latents)), dtype=np.float32)
    for padded, z in zip(out, latents, strict=True):
        padded[:, : z.shape[1]] = z
    return out


def _decision_id(scan: Scan, channel: str, stack: ChannelStack, config: Config, limits: Limits, measured_xy: np.ndarray) -> str:
    """Names a decision after all that it depends on, so that the same question has the same name."""
    digest = hashlib.sha256()
    config_text = config.model_dump_json(exclude={"service": True, "search": {"workers", "dask"}})
    for text in (scan.scan_id, channel, scan.frame.model_dump_json(), config_text, limits.model_dump_json()):
        digest.update(text.encode() + b"\0")
    digest.update(np.ascontiguousarray(scan.channels[channel]).tobytes())
    digest.update(stack.values[1:].tobytes())
    digest.update(np.ascontiguousarray(measured_xy, dtype=np.float64).tobytes())
    return f"d-{digest.hexdigest()[:16]}"
