"""What a decision is on disk and to people: every candidate, what was chosen, why, and where to measure."""

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
    """Base of what is written to disk: immutable, unknown fields refused, and plain JSON: what is not a finite number is null."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CandidateRecord(Record):
    """One trained model, or one resample of a plain family (named by `invariance`; no ELBO, β of 0), and its score.

    `guarded_out` holds the reason if it was not allowed to be chosen; `points` is on how many key points it was represented,
    `steps` how many optimiser steps were spent on it.
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
    """One window, and invariance or plain family: mean and spread of the reward over seeds, distance from the best in σ.

    With one seed the spread is null, and so is the distance where no configuration has two. `variant` tells apart what else
    differs. `information` is the mean symmetric spatial information of its clusters in nats, `icl_gain` what ICL gains by more
    than one Gaussian, `explained` the share of the measured results that its clusters predict; `informs` says whether it is
    more than chance, and `resolves` whether there are types by `agent.search.type_evidence`; only such configurations tie, if
    there are any.
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
    informs: bool = True
    resolves: bool = True

    @property
    def name(self) -> str:
        """What its candidates' ids begin with."""
        return configuration_name(self.invariance, self.window_px, self.variant)


class VerificationRecord(Record):
    """A configuration of the tie set, trained with the exact decoder too: held-out ELBO of both, and whether they see the same.

    `agreement` is the adjusted Rand index of the two models' clusters; null where the exact one could not be judged.
    """

    configuration: str
    seed: int
    steps: int
    elbo_per_px: Number
    exact_elbo_per_px: Number
    exact_value: Number
    agreement: Number


def configuration_name(invariance: str, window_px: int, variant: str = "") -> str:
    """Such as "rt-w9" or "polar-w15-vector"."""
    return "-".join(part for part in (invariance, f"w{window_px}", variant) if part)


class ClusterRecord(Record):
    """One microstructure type: its Gaussian in the latent space, how many points it has and how many of them are core."""

    cluster: int
    weight: float
    mean: list[float]
    covariance: list[list[float]]
    points: int
    core_points: int


class ProblemRecord(Record):
    """One thing that was wrong with the scan, and what was done about it: "mask", "rescan", "skip" or "warn"."""

    name: str
    action: str
    sentence: str


class QualityRecord(Record):
    """What the inspection of the scan found; `sharpness` and `content` are what the next scan of the sample is held against."""

    problems: list[ProblemRecord] = []
    sharpness: Number = None
    content: str = ""


class DriftRecord(Record):
    """How the tip drifts over the sample: (POSIX seconds, metres along x, along y) in the middle of each scan so far.

    `nm_per_min` is the speed of late, null where nothing is known, and `why_none` says why; `agreement` is the correlation of
    this scan and the last one, the movement taken back.
    """

    knots: list[list[float]] = []
    agreement: Number = None
    nm_per_min: Number = None
    why_none: str = ""


class DecisionRecord(Record):
    """A decision, complete: with the scan's arrays it can be recomputed.

    `rungs` says what of the search was complete, `ended_early` whether a deadline ended it, `warm_from` whose weights training
    began with, or `cold_because` why it began from nothing. Schema 1 had none of these. `faults` says what did not work and how
    the decision was made all the same; it came with schema 3, as did what configurations say of their evidence for types.

    `quality` and `drift` came with schema 4: what was wrong with the scan, and how far it had drifted. If quality forbids a
    decision, the outcome is "bad_scan".

    `results_used` results lie near key points and can be held against the candidates, `results_left_out` counts the others by
    reason, and `evidence_weight` is what they weighed in the choice; null where no candidate was held against results.
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


@dataclass(frozen=True, eq=False)
class Decision:
    """A record with the arrays behind it.

    Parameters
    ----------
    record
        Everything that is not an array.
    arrays
        `points_rc` (n, 2), the key points of the chosen candidate, or of the first method where none was chosen; `latents`
        (candidates, m, largest d), in the order of `record.candidates`, 0 beyond the points and latents that a candidate has
        (see `latents_of`); of the chosen candidate `z` (n, d), `labels` (n,), `core` (n,) and `core_distance` (n,); and
        `weights:ID` of the candidates that the next search may go on from. Without a chosen candidate only the first two;
        without key points none.
    """

    record: DecisionRecord
    arrays: Mapping[str, np.ndarray]

    def latents_of(self, candidate: int) -> np.ndarray:
        """The latents (m, d) of a candidate on the points it was judged on, float64, by its place in the record."""
        record, padded = self.record.candidates[candidate], self.arrays["latents"][candidate]
        return np.asarray(padded[: record.points or len(padded), : record.latent_dim], dtype=np.float64)


def versions() -> dict[str, str]:
    """Versions of what a decision depends on."""
    names = ("vaestar", "numpy", "scipy", "scikit-learn", "scikit-image", "torch", "pydantic")
    found = {"python": platform.python_version(), "platform": f"{sys.platform}-{platform.machine()}"}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
