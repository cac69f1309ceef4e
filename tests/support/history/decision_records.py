"""Hand-made scans and decisions with known clusters, so that figures and reports can be tested without training."""

import numpy as np

from agent.config.model import Config
from agent.schema.decision import CandidateRecord, ClusterRecord, ConfigurationRecord, Decision, DecisionRecord
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import MeasurementRequest
from instrument_adapters.scan import Scan

PLAIN = Frame(size_fast_m=2e-6, size_slow_m=2e-6, rows=48, cols=48)
OFFSET = Frame(size_fast_m=3e-6, size_slow_m=1e-6, x_offset_m=4e-6, y_offset_m=-7e-6, rows=40, cols=60)
TURNED = Frame(size_fast_m=3e-6, size_slow_m=2e-6, x_offset_m=1e-6, y_offset_m=2e-6, angle_rad=0.6, rows=40, cols=60)

MEMBERS, CORE, RECOMMENDED, MARGIN_PX = 24, 6, 2, 6
CHOSEN = "v-w9-s0"


def make_scan(frame: Frame = PLAIN, *, level: float = 3e-10, channel: str = "AmplitudeRetrace", unit: str = "m") -> Scan:
    """A scan of noise around `level` with the shape of the frame."""
    noise = np.random.default_rng(0).standard_normal((frame.rows, frame.cols))
    return Scan({channel: (level * (1 + 0.2 * noise)).astype(np.float32)}, {channel: unit}, frame, "scan-1")


def make_decision(
    frame: Frame = PLAIN,
    *,
    clusters: int = 3,
    latent_dim: int = 2,
    invariance: str = "v",
    windows_px: tuple[int, ...] = (5, 9),
    seeds: int = 2,
    places: int = RECOMMENDED,
    points_each: int = MEMBERS,
) -> Decision:
    """A decision that chose window 9 of `invariance`, seed 0.

    The guards reject its other invariance completely at window 9 (collapsed), and seed 1 of it at window 5 (stuck).
    """
    rng = np.random.default_rng(1)
    n = clusters * points_each
    labels = np.repeat(np.arange(clusters), points_each).astype(np.int32)
    centres = 3.0 * rng.standard_normal((clusters, latent_dim))
    spread = np.linspace(0.2, 0.4, latent_dim)
    z = centres[labels] + spread * rng.standard_normal((n, latent_dim))
    distance = np.linalg.norm((z - centres[labels]) / spread, axis=1)
    core = np.zeros(n, dtype=np.int32)
    for k in range(clusters):
        members = np.flatnonzero(labels == k)
        core[members[np.argsort(distance[members])[:CORE]]] = 1
    candidates = _candidates(windows_px, (invariance, "r" if invariance != "r" else "v"), seeds, latent_dim)
    latents = rng.standard_normal((len(candidates), n, latent_dim)).astype(np.float32)
    chosen = f"{invariance}-w9-s0"
    latents[[c.candidate_id for c in candidates].index(chosen)] = z
    points = _points(frame, n, rng)
    record = DecisionRecord(
        **_common(frame),
        outcome="types_found" if clusters > 1 else "one_type_only",
        explanation=f"VAE, window 9 px: {clusters} types.",
        chosen=chosen,
        keypoints_used=n,
        configurations=_configurations(candidates),
        candidates=candidates,
        clusters=[
            ClusterRecord(
                cluster=k,
                weight=1 / clusters,
                mean=centres[k].tolist(),
                covariance=np.diag(spread**2).tolist(),
                points=points_each,
                core_points=CORE,
            )
            for k in range(clusters)
        ],
        requests=_requests(frame, points, labels, distance, places),
    )
    arrays = {"points_rc": points, "latents": latents, "labels": labels, "core": core, "core_distance": distance}
    return Decision(record, arrays)


def make_unresolved(frame: Frame = PLAIN, *, channel: str = "AmplitudeRetrace") -> Decision:
    """A decision that recommends nothing."""
    reason = "Nothing to recommend: " + "the image is constant between its percentiles, " * 5 + "so rescan."
    record = DecisionRecord(
        **(_common(frame) | {"channel": channel}),
        outcome="not_resolvable",
        explanation=reason,
        chosen=None,
        keypoints_used=0,
        configurations=[],
        candidates=[],
        clusters=[],
        requests=[],
    )
    return Decision(record, {})


def make_guarded_out() -> Decision:
    """A decision that recommends nothing because the guards rejected every model; it has latents, but no labels."""
    resolved = make_decision()
    candidates = [
        c.model_copy(update={"guarded_out": "collapsed: too narrow", "value": None}) for c in resolved.record.candidates
    ]
    unresolved = {"outcome": "not_resolvable", "chosen": None, "candidates": candidates}
    empty: dict[str, list[object]] = {"configurations": [], "clusters": [], "requests": []}
    record = resolved.record.model_copy(update=unresolved | empty)
    return Decision(record, {key: resolved.arrays[key] for key in ("points_rc", "latents")})


def _common(frame: Frame) -> dict[str, object]:
    return {
        "decision_id": "d-1",
        "scan_id": "scan-1",
        "sample_id": "sample",
        "channel": "AmplitudeRetrace",
        "unit": "m",
        "frame": frame,
        "config": Config(reward="icl_gain").model_dump(mode="json"),
        "versions": {},
        "keypoints_found": 100,
        "keypoints_dropped": {},
        "common_points": 50,
        "points_measured_before": 0,
    }


def _points(frame: Frame, n: int, rng: np.random.Generator) -> np.ndarray:
    inner = (frame.rows - 2 * MARGIN_PX, frame.cols - 2 * MARGIN_PX)
    flat = rng.choice(inner[0] * inner[1], size=n, replace=False)
    return (np.stack(np.unravel_index(flat, inner), axis=1) + MARGIN_PX).astype(np.int32)


def _candidates(windows_px: tuple[int, ...], invariances: tuple[str, str], seeds: int, latent_dim: int) -> list[CandidateRecord]:
    out = []
    for window in windows_px:
        for invariance in invariances:
            for seed in range(seeds):
                reason = None
                if invariance == invariances[1]:
                    reason = "collapsed: too narrow" if window == 9 else "stuck: too low" if seed == 1 else None
                out.append(
                    CandidateRecord(
                        candidate_id=f"{invariance}-w{window}-s{seed}",
                        window_px=window,
                        invariance=invariance,
                        latent_dim=latent_dim,
                        beta=1.0,
                        seed=seed,
                        elbo_per_px=-0.5 - 0.01 * seed,
                        reconstruction_per_px=-0.4,
                        survivors=60,
                        guarded_out=reason,
                        value=None if reason else 0.1 * window + 0.05 * seed,
                        metrics={} if reason else {"bic_gain_per_d": 0.3 - 0.02 * window, "NMI_rot": 0.02 * window + 0.01 * seed},
                    )
                )
    return out


def _configurations(candidates: list[CandidateRecord]) -> list[ConfigurationRecord]:
    groups: dict[tuple[int, str], list[float]] = {}
    for c in candidates:
        if c.value is not None:
            groups.setdefault((c.window_px, c.invariance), []).append(c.value)
    return [
        ConfigurationRecord(
            window_px=window,
            invariance=invariance,
            mean=float(np.mean(values)),
            std=float(np.std(values, ddof=1)) if len(values) > 1 else None,
            seeds=len(values),
            types=3,
            sigmas_below_best=0.0,
            in_tie_set=window == 9,
        )
        for (window, invariance), values in sorted(groups.items(), key=lambda item: -float(np.mean(item[1])))
    ]


def _requests(
    frame: Frame, points: np.ndarray, labels: np.ndarray, distance: np.ndarray, places: int
) -> list[MeasurementRequest]:
    out: list[MeasurementRequest] = []
    xy = frame.to_metres(points.astype(np.float64))
    for rank in range(places):
        for k in range(int(labels.max()) + 1):
            members = np.flatnonzero(labels == k)
            i = members[np.argsort(distance[members])[rank]]
            out.append(
                MeasurementRequest(
                    request_id=f"d-1-{len(out):03d}",
                    x_m=float(xy[i, 0]),
                    y_m=float(xy[i, 1]),
                    row=int(points[i, 0]),
                    col=int(points[i, 1]),
                    cluster=k,
                    rank=rank,
                    core_distance=float(distance[i]),
                )
            )
    return out
