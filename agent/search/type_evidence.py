"""Evidence for types: the conditions under which the clusters of a configuration are called types of microstructure.

A mixture always finds clusters: BIC splits every latent space that is not Gaussian, in simulated samples of a single type into
three to six. So the means over the seeds of a configuration must meet two conditions:

- The clusters carry information about their neighbourhood beyond orientation: at least `least_information` nats of symmetric
  spatial mutual information (`rewards.spatial`), at a number of clusters that was not selected to maximise it. Types extend over
  many pixels. Noise, a shuffled scan or a periodic texture give about 0; one type with its orientation variants gives a few
  hundredths of a nat, rarely a tenth.
- The clusters are separate groups: ICL, which penalises overlap, prefers several Gaussians to one. BIC cuts a gradual ramp into
  darker and brighter regions, which are contiguous and so carry much information, but are not separate.

Where the key points follow walls, types can be interspersed, so that they tell nothing about their neighbourhood in other
directions, but they stay the same along a wall. Information along walls is no evidence by itself: of one type of stripes, bright
and dark ones are each constant along their walls. So the clusters must also be well separated. Both conditions are in
`agent.config.scan.WallSection`; docs/decisions/0047-walls.md explains how they were set.

- The clusters carry at least `walls.least_information` nats of information along walls, and
- ICL gains at least `walls.least_separation` nats per point over one Gaussian, or half of that if the clusters carry
  `rule.least_information` nats of information about their neighbourhood in all directions.

The ICL of other families than the wall-coherent one is large for any features that are not Gaussian, so theirs counts only with
1.6 times `rule.least_information`.

Alternatively the clusters predict what was measured: once results have a weight in the choice, clusters are types if their
leave-one-out R² for n results is at least 1.2/√n. Even the best of 16 uninformative partitions reaches that in 1 % of cases only.

If no configuration meets the conditions, there are two outcomes. If none carries enough information: *one type only*, a single
Gaussian whose core points are the most typical places. If some do, but without separate groups: *not resolvable*, since the scan
varies continuously and any boundary would be arbitrary. docs/decisions/0014-types-or-none.md explains how the threshold was set.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from agent.config.decision_rule import RuleSettings
from agent.config.scan import DEFAULT_WALLS, WallSection
from agent.schema.decision import ConfigurationRecord
from agent.search.candidates import Candidate
from rewards.base import Mixture, Score

_BEYOND_CHANCE = 1.2  # times 1/√n: above 99 % of the best of 16 uninformative partitions, for n from 20 to 200 (simulated)

_UNPROJECTED = 1.6  # times the information about the neighbourhood that other families than the wall-coherent one must have

Finding = Literal["types", "one_type", "continuum"]


@dataclass(frozen=True)
class Evidence:
    """Evidence for types of one configuration, as means over its seeds.

    Parameters
    ----------
    information
        Symmetric spatial mutual information in nats; NaN if it was not computed.
    icl_gain
        Gain in ICL per point of several Gaussians over one; NaN if it was not computed.
    explained
        Leave-one-out R² of the measured results; NaN if results have no weight.
    along_walls
        Mutual information along walls in nats; NaN without walls.
    informs
        Whether the clusters carry enough information about their neighbourhood, or predict the results. Quantities that were not
        computed count as sufficient.
    resolves
        Whether the clusters may be called types. Quantities that were not computed count as sufficient.
    """

    information: float
    icl_gain: float
    explained: float
    informs: bool
    resolves: bool
    along_walls: float = math.nan


def evidence(
    scores: Sequence[Score], rule: RuleSettings, walls: WallSection = DEFAULT_WALLS, *, projected: bool = False
) -> Evidence:
    """Evidence for types from the scores of all seeds of one configuration.

    Parameters
    ----------
    scores
        Score of each seed.
    rule, walls
        Conditions, in general and on walls.
    projected
        Whether the family is wall-coherent.
    """
    information, gain, explained, count, weight = (
        _mean([score.metrics.get(name) for score in scores])
        for name in ("MI_rot_bic", "icl_gain", "R2_results", "results_used", "evidence_weight")
    )
    if math.isnan(information):
        information = _mean([score.metrics.get("MI_rot") for score in scores])
    if not weight > 0:
        explained = math.nan
    informs = not rule.least_information or math.isnan(information) or information >= rule.least_information
    separate = not rule.groups or math.isnan(gain) or gain > 0
    along = _mean([score.metrics.get("MI_wall_bic", score.metrics.get("MI_wall")) for score in scores])
    if not math.isnan(along) and walls.least_information and rule.least_information:
        at_bic = _mean([score.metrics.get("icl_gain_bic", score.metrics.get("icl_gain")) for score in scores])
        around = information / (rule.least_information * (1.0 if projected else _UNPROJECTED))
        needed = walls.least_separation / 2 if around >= 1 else (walls.least_separation if projected else math.inf)
        separate = not rule.groups or math.isnan(at_bic) or at_bic >= needed
        informs = along >= walls.least_information and (around >= 1 or separate)
    predictive = not math.isnan(explained) and explained >= _BEYOND_CHANCE / math.sqrt(count)
    return Evidence(information, gain, explained, informs or predictive, (informs and separate) or predictive, along)


def overall_finding(configurations: Sequence[ConfigurationRecord]) -> Finding:
    """The finding from all configurations together; "types" if there are none."""
    if any(c.resolves for c in configurations) or not configurations:
        return "types"
    return "continuum" if any(c.informs for c in configurations) else "one_type"


def as_one_type(candidate: Candidate) -> Candidate:
    """A copy of the candidate with a single Gaussian in place of its clusters."""
    assert candidate.score is not None
    z = candidate.representation.z
    single = Mixture(np.ones(1), z.mean(axis=0)[None], np.atleast_2d(np.cov(z, rowvar=False))[None])
    return replace(candidate, score=replace(candidate.score, mixture=single))


def _mean(values: Sequence[float | None]) -> float:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan
