"""View of one decision: its summary in words, its latent space in the plotted plane, and all its key points."""

import numpy as np

from agent.dashboard import candidate_board as board
from agent.dashboard import decision_text
from agent.dashboard.model_view import reconstruction_method
from agent.dashboard.models import ClusterView, DecisionView, PointsView
from agent.dashboard.run_follower import FollowedDecision
from agent.reporting.figures.chosen_candidate import Chosen, Projection, chosen_of
from agent.schema.decision import ClusterRecord, Decision
from agent.schema.model_kinds import label
from instrument_adapters.geometry import Frame

SIGMAS = 2.0
_GOLDEN = 0.618033988749895
_DENSITY = "density (points are spread out under the curve)"


def decision_view(followed: FollowedDecision, decision: Decision) -> DecisionView:
    """Return the part of a decision that never changes.

    Parameters
    ----------
    followed
        Decision with its event.
    decision
        Record and arrays of the decision.
    """
    record = decision.record
    chosen = chosen_of(decision) if reconstruction_method(decision) else None
    projection = None if chosen is None else Projection.of(chosen.z)
    return DecisionView(
        decision_id=record.decision_id,
        scan_id=record.scan_id,
        instrument_id=followed.instrument_id,
        sample_id=record.sample_id,
        seq=followed.event.seq,
        at=followed.event.recorded_at,
        seconds=float(followed.event.body.get("seconds", 0.0)),
        outcome=record.outcome,
        explanation=record.explanation,
        saw=decision_text.saw(record),
        believes=decision_text.believes(record),
        wants=decision_text.wants(record),
        warnings=decision_text.warnings(record),
        channel=record.channel,
        unit=record.unit,
        reward=str(record.config["reward"]),
        window_px=chosen.candidate.window_px if chosen else 0,
        chosen=label(chosen.candidate.invariance, chosen.candidate.variant) if chosen else "",
        reconstruction=reconstruction_method(decision),
        axes=("", "") if projection is None else _axes(projection),
        clusters=[] if projection is None else [_cluster(c, projection, record.keypoints_used) for c in record.clusters],
        frame=record.analysed_frame,
        points=_points(decision, chosen, projection),
        kinds=[label(*kind) for kind in board.kinds_of(record)],
        board=board.board(record),
        seeds=board.seeds(record),
        front=board.front(record),
        versions=record.versions,
    )


def _axes(projection: Projection) -> tuple[str, str]:
    return (*projection.labels, _DENSITY)[:2]  # type: ignore[return-value]


def _points(decision: Decision, chosen: Chosen | None, projection: Projection | None) -> PointsView:
    record = decision.record
    if chosen is None or projection is None:
        rc = decision.arrays.get("points_rc", np.empty((0, 2), np.int32))
        none = np.full(len(rc), -1)
        return _columns(record.analysed_frame, rc, np.zeros((len(rc), 2)), none, np.zeros(len(rc)), np.zeros(len(rc)))
    uv = projection.points(chosen.z)
    if uv.shape[1] == 1:
        uv = np.column_stack([uv[:, 0], _ordinates(uv[:, 0], record.clusters, projection)])
    return _columns(record.analysed_frame, chosen.points_rc, uv, chosen.labels, chosen.core, chosen.core_distance)


def _columns(
    frame: Frame, rc: np.ndarray, uv: np.ndarray, labels: np.ndarray, core: np.ndarray, distance: np.ndarray
) -> PointsView:
    xy = frame.to_metres(rc.astype(np.float64)) if len(rc) else np.empty((0, 2))
    return PointsView(
        row=rc[:, 0].tolist(),
        col=rc[:, 1].tolist(),
        x_m=np.round(xy[:, 0], 12).tolist(),
        y_m=np.round(xy[:, 1], 12).tolist(),
        u=np.round(uv[:, 0], 4).tolist(),
        v=np.round(uv[:, 1], 4).tolist(),
        label=labels.astype(int).tolist(),
        core=core.astype(int).tolist(),
        distance=np.round(distance, 3).tolist(),
    )


def _ordinates(u: np.ndarray, clusters: list[ClusterRecord], projection: Projection) -> np.ndarray:
    """Return an ordinate for each point of a one-dimensional latent space, so that the points fill the area under its density."""
    height = np.zeros(len(u))
    for cluster in clusters:
        mean, covariance = projection.gaussian(cluster)
        variance = max(float(covariance[0, 0]), 1e-12)
        height += cluster.weight / np.sqrt(variance) * np.exp(-0.5 * (u - mean[0]) ** 2 / variance)
    return np.asarray(height / (height.max() or 1.0) * np.modf(np.arange(len(u)) * _GOLDEN)[0])


def _cluster(cluster: ClusterRecord, projection: Projection, points: int) -> ClusterView:
    mean, covariance = projection.gaussian(cluster)
    if len(mean) == 1:
        centre, spread, angle = (float(mean[0]), 0.0), (SIGMAS * float(np.sqrt(covariance[0, 0])), 0.0), 0.0
    else:
        variances, axes = np.linalg.eigh(covariance)
        half = SIGMAS * np.sqrt(np.maximum(variances, 0.0))
        centre, spread = (float(mean[0]), float(mean[1])), (float(half[0]), float(half[1]))
        angle = float(np.arctan2(axes[1, 0], axes[0, 0]))
    return ClusterView(
        cluster=cluster.cluster,
        share=cluster.points / max(points, 1),
        points=cluster.points,
        core_points=cluster.core_points,
        centre=centre,
        spread=spread,
        angle_rad=angle,
    )
