"""The record of a decision: all candidates, the chosen one, the explanation, and the points to measure."""

import importlib.metadata
import math
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import MeasurementRequest

Number = Annotated[float | None, BeforeValidator(lambda x: x if x is None or math.isfinite(x) else None)]
Outcome = Literal["types_found", "one_type_only", "not_resolvable", "bad_scan"]


class Record(BaseModel):
    """Base of records on disk: immutable, unknown fields are refused, and non-finite numbers become null in JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CandidateRecord(Record):
    """One candidate with its score: a trained model, or a resample of a plain family (named by `invariance`; no ELBO, β of 0).

    `guarded_out` is the reason why it was not eligible, `points` the number of key points that it represents, and `steps` the
    number of optimiser steps spent on it.
    """

    candidate_id: str
    window_px: int
    invariance: str
    variant: str = ""
    keypoints: str = ""
    channels: str = ""
    steps: int = 0
    points: int = 0
    latent_dim: int
    beta: float
    seed: int
    elbo_per_px: Number
    reconstruction_per_px: Number
    survivors: int
    guarded_out: str | None
    value: Number
    metrics: dict[str, Number]


class ConfigurationRecord(Record):
    """One configuration: mean and standard deviation of the reward over its seeds, and distance from the best in σ.

    With one seed the standard deviation is null; the distance is null if no configuration has two seeds. `variant` names
    differences other than window and invariance (or plain family). `information` is the mean symmetric spatial mutual
    information of its clusters in nats, `icl_gain` the gain in ICL per point of several Gaussians over one, and `explained` the
    share of the measured results that its clusters predict; `along_walls` is the mutual information along walls in nats, null
    without walls. `informs` says whether the clusters carry enough information about
    their neighbourhood, and `resolves` whether they may be called types (`agent.search.type_evidence`); if any configuration
    resolves types, only such configurations tie.
    """

    window_px: int
    invariance: str
    variant: str = ""
    mean: float
    std: Number
    seeds: int
    types: int
    sigmas_below_best: Number
    in_tie_set: bool
    information: Number = None
    icl_gain: Number = None
    explained: Number = None
    along_walls: Number = None
    informs: bool = True
    resolves: bool = True

    @property
    def name(self) -> str:
        """Name of the configuration, with which the ids of its candidates begin."""
        return configuration_name(self.invariance, self.window_px, self.variant)


class VerificationRecord(Record):
    """Comparison of a model from the tie set with the same model trained with the exact decoder.

    `agreement` is the adjusted Rand index of the clusters of both models; null if the exact one could not be scored.
    """

    configuration: str
    seed: int
    steps: int
    elbo_per_px: Number
    exact_elbo_per_px: Number
    exact_value: Number
    agreement: Number


def configuration_name(invariance: str, window_px: int, variant: str = "") -> str:
    """Name of a configuration, such as "rt-w9" or "polar-w15-vector"."""
    return "-".join(part for part in (invariance, f"w{window_px}", variant) if part)


class ClusterRecord(Record):
    """One cluster: its Gaussian in the latent space, its number of key points and of core points."""

    cluster: int
    weight: float
    mean: list[float]
    covariance: list[list[float]]
    points: int
    core_points: int


class ProblemRecord(Record):
    """One problem of the scan, and the action taken: "mask", "rescan", "skip" or "warn"."""

    name: str
    action: str
    sentence: str


class QualityRecord(Record):
    """Outcome of the quality gate; `sharpness` and `content` are compared with those of the next scan of the sample."""

    problems: list[ProblemRecord] = []
    sharpness: Number = None
    content: str = ""


class DriftRecord(Record):
    """Drift of the tip over the sample.

    `knots` holds (POSIX seconds, metres along x, metres along y) for the middle of each scan so far, and `nm_per_min` the latest
    speed; where that is unknown it is null, and `why_none` gives the reason. `agreement` is the correlation of this scan with
    the last one after registration.
    """

    knots: list[list[float]] = []
    agreement: Number = None
    nm_per_min: Number = None
    why_none: str = ""


class AnalysedRecord(Record):
    """The image that was analysed, where it differs from the scan.

    `frame` is the frame in the square pixels that the scan was resampled to; null if its own pixels are square. Key points are
    pixels of that frame. `requests_rc` then holds the exact (row, col) of each request in the scan as it was recorded; the
    request itself names the nearest pixel. `wild_pixels` counts the pixels that were replaced, by channel.
    """

    frame: Frame | None = None
    requests_rc: dict[str, tuple[float, float]] = {}
    wild_pixels: dict[str, int] = {}


class DecisionRecord(Record):
    """The complete record of a decision, which can be recomputed from it and the arrays of the scan.

    `rungs` lists the complete rungs of the search, and `ended_early` says whether a deadline ended it. `warm_from` is the
    decision whose weights training started from; after a cold start it is null, and `cold_because` gives the reason. Schema 1
    had none of these. `faults` describes what failed and what was done instead; it came with schema 3, as did the evidence for
    types of each configuration.

    `quality` and `drift` came with schema 4, and `analysed` later; without it, the scan was analysed as it was recorded.
    If the quality of the scan forbids a decision, the outcome is "bad_scan".

    `results_used` counts the results near key points, with which candidates are tested, `results_left_out` the others by reason.
    `evidence_weight` is the weight of the results in the choice; null if no candidate was tested with results.
    """

    schema_version: Literal[1, 2, 3, 4] = 4
    decision_id: str
    scan_id: str
    sample_id: str
    channel: str
    unit: str
    frame: Frame
    outcome: Outcome
    explanation: str
    chosen: str | None
    config: dict[str, Any]
    versions: dict[str, str]
    keypoints_found: int
    keypoints_used: int
    keypoints_dropped: dict[str, int]
    masked: dict[str, int] = {}
    quality: QualityRecord = QualityRecord()
    drift: DriftRecord = DriftRecord()
    analysed: AnalysedRecord = AnalysedRecord()
    phase_offset_rad: Number = None
    common_points: int
    rungs: list[str] = []
    ended_early: bool = False
    warm_from: str | None = None
    warm_scans: int = 0
    cold_because: str = ""
    points_measured_before: int
    faults: list[str] = []
    results_used: int = 0
    results_left_out: dict[str, int] = {}
    evidence_weight: Number = None
    verified: list[VerificationRecord] = []
    configurations: list[ConfigurationRecord]
    candidates: list[CandidateRecord]
    clusters: list[ClusterRecord]
    requests: list[MeasurementRequest]

    @property
    def analysed_frame(self) -> Frame:
        """Frame in the pixels of the key points."""
        return self.analysed.frame or self.frame

    def shown_rc(self, request: MeasurementRequest) -> tuple[float, float]:
        """Exact (row, col) in the scan as it was recorded at which it shows the point of a request."""
        return self.analysed.requests_rc.get(request.request_id, (float(request.row), float(request.col)))

    def analysed_rc(self, request: MeasurementRequest) -> tuple[int, int]:
        """Key point (row, col) of a request, in pixels of the analysed frame."""
        if self.analysed.frame is None:
            return request.row, request.col
        row, col = self.analysed.frame.to_pixels(self.frame.to_metres(np.array([self.shown_rc(request)])))[0]
        return round(row), round(col)


@dataclass(frozen=True, eq=False)
class Decision:
    """A decision: its record and its arrays.

    Parameters
    ----------
    record
        All values that are not arrays.
    arrays
        Arrays by name. `points_rc` (n, 2): key points of the chosen candidate, or of the first method if none was chosen, in
        pixels of `record.analysed_frame`.
        `latents` (candidates, m, largest d): latents in the order of `record.candidates`, padded with zeros (see `latents_of`).
        `z` (n, d), `labels` (n,), `core` (n,) and `core_distance` (n,): those of the chosen candidate. `weights:ID`: weights
        of candidates from which the next search may start. Without a chosen candidate only the first two are present; without
        key points none.
    """

    record: DecisionRecord
    arrays: Mapping[str, np.ndarray]

    def latents_of(self, candidate: int) -> np.ndarray:
        """Latents (m, d) of a candidate on the points on which it was judged, float64; `candidate` is its index in the record."""
        record, padded = self.record.candidates[candidate], self.arrays["latents"][candidate]
        return np.asarray(padded[: record.points or len(padded), : record.latent_dim], dtype=np.float64)


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages on which a decision depends."""
    names = ("vaestar", "numpy", "scipy", "scikit-learn", "scikit-image", "torch", "pydantic")
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
