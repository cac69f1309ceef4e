"""The chosen candidate of a decision with its arrays, and its latent space in at most two dimensions."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from agent.errors import FigureError
from agent.schema.decision import CandidateRecord, ClusterRecord, Decision


@dataclass(frozen=True, eq=False)
class Chosen:
    """The chosen candidate with its arrays.

    Parameters
    ----------
    candidate
        Record of the candidate.
    points_rc
        Key points, shape (n, 2), as (row, col).
    z
        Latents, shape (n, d).
    labels, core, core_distance
        Cluster, whether it is a core point, and core distance of each key point; shape (n,).
    """

    candidate: CandidateRecord
    points_rc: Int[np.ndarray, "n 2"]
    z: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, " n"]
    core: Bool[np.ndarray, " n"]
    core_distance: Float[np.ndarray, " n"]

    def core_of(self, cluster: int) -> Int[np.ndarray, " m"]:
        """Rows of the core points of a cluster, most typical first."""
        rows = np.flatnonzero(self.core & (self.labels == cluster))
        return rows[np.argsort(self.core_distance[rows], kind="stable")]


def has_latent_space(decision: Decision) -> bool:
    """Whether the decision chose a candidate and holds its arrays, of which retention may have released some."""
    needed = {"points_rc", "labels", "core", "core_distance"}
    return (
        decision.record.chosen is not None
        and needed <= decision.arrays.keys()
        and not {"z", "latents"}.isdisjoint(decision.arrays)
    )


def has_latents(decision: Decision) -> bool:
    """Whether the decision trained candidates and holds their latents. A deadline may end a search before the first one."""
    return bool(decision.record.candidates) and "latents" in decision.arrays


def chosen_of(decision: Decision) -> Chosen:
    """The chosen candidate of a decision, with its arrays.

    Raises
    ------
    FigureError
        If nothing was chosen.
    """
    record, arrays = decision.record, decision.arrays
    index = next((i for i, c in enumerate(record.candidates) if c.candidate_id == record.chosen), None)
    if index is None or not has_latent_space(decision):
        raise FigureError(f"decision {record.decision_id} chose no model, so there are no types to draw; use scan_figure instead")
    return Chosen(
        candidate=record.candidates[index],
        points_rc=arrays["points_rc"],
        z=np.asarray(arrays["z"], dtype=np.float64) if "z" in arrays else decision.latents_of(index),
        labels=arrays["labels"],
        core=arrays["core"].astype(bool),
        core_distance=arrays["core_distance"],
    )


@dataclass(frozen=True, eq=False)
class Projection:
    """Linear projection of a latent space to at most two dimensions: the identity for d up to 2, else two principal axes.

    Parameters
    ----------
    axes
        Orthonormal columns, shape (d, k).
    centre
        Point that becomes the origin, shape (d,).
    labels
        Labels of the k axes.
    """

    axes: Float[np.ndarray, "d k"]
    centre: Float[np.ndarray, " d"]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, z: Float[np.ndarray, "n d"]) -> "Projection":
        """The projection for latents of shape (n, d), all finite."""
        d = z.shape[1]
        if d <= 2:
            return cls(np.eye(d), np.zeros(d), tuple(f"z{'₁₂'[i]}" for i in range(d)))
        variances, axes = np.linalg.eigh(np.cov(z, rowvar=False))
        first = axes[:, ::-1][:, :2]
        first = first * np.sign(first[np.abs(first).argmax(axis=0), [0, 1]])  # eigh leaves the sign undetermined
        shares = variances[::-1][:2] / (variances.sum() or 1.0)
        labels = tuple(f"principal axis {i + 1} of {d} latents ({share:.0%})" for i, share in enumerate(shares))
        return cls(first, z.mean(axis=0), labels)

    def points(self, z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
        """Projected latents, shape (n, k)."""
        return np.asarray((z - self.centre) @ self.axes)

    def gaussian(self, cluster: ClusterRecord) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k k"]]:
        """Mean (k,) and covariance (k, k) of the projected Gaussian of a cluster."""
        mean = (np.array(cluster.mean) - self.centre) @ self.axes
        return mean, self.axes.T @ np.array(cluster.covariance) @ self.axes
