"""The rules of the paper: among the VAEs of one seed, the one with the smallest criterion is chosen.

Two rules are applied: the smallest ICL (or BIC) over models and K = 2 to 10, and the smallest -ELBO + H of the Bayesian mixtures.
Unlike in the paper, VAEs that the guards reject are excluded; a collapsed one would otherwise win.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from agent.schema.model_kinds import GEOMETRIC_LATENTS
from agent.search.candidates import Candidate
from benchmarks.harness.worlds import World
from rewards.base import Mixture
from rewards.mixture.gmm import MixtureFit, fit_grid
from rewards.registry import bgmm

GAUSSIAN = ("icl", "bic")
BAYESIAN = "-elbo + h"
RULES = (*GAUSSIAN, BAYESIAN)
COMPONENTS = range(2, 11)  # the paper does not include K = 1
BAYESIAN_MODELS = 3  # of 500 steps each, the paper's, which take 3 to 4 s whatever the number of points
NOTHING: Mapping[str, Any] = {"chosen": None, "ari": 0.0, "ari_coarse": 0.0}

_Fitted = tuple[Candidate, MixtureFit]


def paper_rules(world: World, candidates: Sequence[Candidate]) -> dict[str, dict[str, Any]]:
    """Rule -> the VAE of the first seed that it chooses, and the agreement of its clusters with the truth.

    The Bayesian mixture has the paper's priors and steps and uses all points. It is fitted only to the `BAYESIAN_MODELS` VAEs
    with the smallest BIC, since one fit costs a tenth of the search, and both criteria estimate the evidence of the best
    mixture.
    """
    vaes = [c for c in candidates if c.spec.invariance in GEOMETRIC_LATENTS]
    first = min((c.seed for c in vaes), default=0)
    fits = [(c, fit) for c in vaes if c.seed == first for fit in _mixtures(c)]
    if not fits:
        return {rule: dict(NOTHING) for rule in RULES}
    picks: dict[str, tuple[Candidate, Mixture]] = {}
    for rule in GAUSSIAN:
        pick, fit = min(fits, key=lambda pair: float(getattr(pair[1], rule)))
        picks[rule] = pick, fit.mixture
    picks[BAYESIAN] = _bayesian(_smallest_bic(fits))
    return {rule: _agreement(world, pick, mixture) for rule, (pick, mixture) in picks.items()}


def _mixtures(candidate: Candidate) -> Sequence[MixtureFit]:
    with threadpool_limits(1):
        return fit_grid(candidate.representation.z[candidate.kept], np.random.default_rng(0), COMPONENTS)


def _smallest_bic(fits: Sequence[_Fitted]) -> list[Candidate]:
    """The `BAYESIAN_MODELS` models with the smallest BIC over all K."""
    least: dict[str, tuple[float, Candidate]] = {}
    for candidate, fit in fits:
        name = candidate.candidate_id
        least[name] = min(least.get(name, (np.inf, candidate)), (float(fit.bic), candidate), key=lambda pair: pair[0])
    return [candidate for _, candidate in sorted(least.values(), key=lambda pair: pair[0])[:BAYESIAN_MODELS]]


def _bayesian(candidates: Sequence[Candidate]) -> tuple[Candidate, Mixture]:
    """The candidate with the smallest -ELBO + H, and its effective components."""
    scores = [bgmm(c.representation, rng=np.random.default_rng(0)) for c in candidates]
    best = int(np.nanargmax([score.value for score in scores]))
    mixture = scores[best].mixture
    assert mixture is not None
    return candidates[best], mixture


def _agreement(world: World, pick: Candidate, mixture: Mixture) -> dict[str, Any]:
    labels = mixture.labels(pick.representation.z)
    found = {"chosen": pick.candidate_id, "clusters": mixture.n_components}
    return found | world.agreement(pick.representation.points_rc, labels)
