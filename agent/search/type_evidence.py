"""Are there types at all? What a configuration's clusters must show before they are called types of microstructure.

A mixture always finds clusters: BIC splits any latent space that is not Gaussian, into three to six in worlds of a single type.
Two things are asked of them, of a configuration's mean over seeds:

- They say something about their neighbourhood that orientation cannot say: at least `least_information` nats of symmetric spatial
  information (`rewards.spatial`), of a number of clusters that was not chosen to have much of it. Types extend over many pixels;
  noise, a shuffled scan, a periodic texture leave nothing, one type with its variants a few hundredths of a nat, seldom a tenth.
- They are groups: ICL, which charges for overlap, prefers several Gaussians to one. A ramp is cut by BIC into darker and brighter
  places, which lie side by side and so inform well, but nothing sets them apart.

Or they predict what was measured: once results weigh in the choice, clusters are types, interspersed or not, where their
leave-one-out R² of n results is at least 1.2/√n. Clusters that say nothing reach that in 1 % of cases with the best of 16 taken.

Where no configuration shows either, there are two answers. If none informs, *one type only*: a single Gaussian, whose core
points are the most ordinary places. If some inform, but no groups are set apart, *not resolvable*: something varies over the
scan, and where to cut it would be our choice and not the sample's. What was measured to set the threshold stands in
docs/decisions/0014-types-or-none.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from agent.config.decision_rule import RuleSettings
from agent.schema.decision import ConfigurationRecord
from agent.search.candidates import Candidate
from rewards.base import Mixture, Score

_BEYOND_CHANCE = 1.2  # /√n: 99 % of the best of 16 partitions that say nothing lie below, n from 20 to 200 (simulated)

Finding = Literal["types", "one_type", "continuum"]


@dataclass(frozen=True)
class Evidence:
    """What the clusters of one configuration show, as means over its seeds.

    Parameters
    ----------
    information
        Symmetric spatial information in nats; NaN where it was not computed.
    icl_gain
        What ICL gains per point by more than one Gaussian; NaN where it was not computed.
    explained
        Leave-one-out R² of the measured results; NaN where none weigh.
    informs, resolves
        Whether they say enough of their neighbourhood, and whether they may be called types; what was not computed is not held
        against them.
    """

    information: float
    icl_gain: float
    explained: float
    informs: bool
    resolves: bool


def evidence(scores: Sequence[Score], rule: RuleSettings) -> Evidence:
    """Of the seeds of one configuration."""
    information, gain, explained, count, weight = (
        _mean([score.metrics.get(name) for score in scores])
        for name in ("MI_rot_bic", "icl_gain", "R2_results", "results_used", "evidence_weight")
    )
    if math.isnan(information):
        information = _mean([score.metrics.get("MI_rot") for score in scores])
    if not weight > 0:
        explained = math.nan
    informs = not rule.least_information or math.isnan(information) or information >= rule.least_information
    set_apart = not rule.groups or math.isnan(gain) or gain > 0
    proven = not math.isnan(explained) and explained >= _BEYOND_CHANCE / math.sqrt(count)
    return Evidence(information, gain, explained, informs or proven, (informs and set_apart) or proven)


def found_in(configurations: Sequence[ConfigurationRecord]) -> Finding:
    """What all configurations together show; with none at all there is nothing to doubt."""
    if any(c.resolves for c in configurations) or not configurations:
        return "types"
    return "continuum" if any(c.informs for c in configurations) else "one_type"


def as_one_type(candidate: Candidate) -> Candidate:
    """The candidate with a single Gaussian in place of its clusters."""
    assert candidate.score is not None
    z = candidate.representation.z
    single = Mixture(np.ones(1), z.mean(axis=0)[None], np.atleast_2d(np.cov(z, rowvar=False))[None])
    return replace(candidate, score=replace(candidate.score, mixture=single))


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan
