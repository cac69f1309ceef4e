"""The paper's Bayesian mixtures of the latent spaces: one task for each model, and other settings to try it with."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.models import Arrays
from rewards.base import Mixture, Representation
from rewards.registry import bgmm

CONVERGED_STEPS = 3000
METHODS: Mapping[str, Any] = {}  # the paper's Methods, which are the defaults
#: What else the fit of one model is tried with.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "1000 steps": {"steps": 1000},
    f"{CONVERGED_STEPS} steps": {"steps": CONVERGED_STEPS},
    "no overlap penalty": {"overlap_weight": 0.0},
    "the text's priors": {"mean_prior": "normal", "concentration": 0.01},
}


def fit(arrays: Path, model: str, seed: int, settings: Mapping[str, Any] = METHODS) -> dict[str, Any]:
    """The Bayesian mixture of all points of a model, not of the dense ones alone, as in the paper; to be called in a worker.

    Parameters
    ----------
    arrays
        File of the scan's latents.
    model
        One of them.
    seed
        Of the fit, together with the model's name.
    settings
        Those of `rewards.mixture.bayesian.BayesianMixtureSettings` that are not the default.

    Returns
    -------
    dict
        neg_elbo, entropy and neg_elbo_plus_entropy, per point in nats; overlap; K_effective; weights, means and covariances of
        the effective components.
    """
    held = Arrays.load(arrays)
    z = held.z[model].astype(np.float64)
    nothing = np.zeros_like(z)
    bare = Representation(z, nothing, nothing, nothing, held.points_rc, 0, "", seed, np.nan, np.nan)
    score = bgmm(bare, rng=np.random.default_rng([seed, 6, zlib.crc32(model.encode())]), settings=settings)
    assert score.mixture is not None
    parts = {name: getattr(score.mixture, name).tolist() for name in ("weights", "means", "covariances")}
    return {"model": model} | dict(score.metrics) | parts


def mixture_of(result: Mapping[str, Any]) -> Mixture:
    """The effective components of a fit."""
    return Mixture(*(np.array(result[name]) for name in ("weights", "means", "covariances")))
