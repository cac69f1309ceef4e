"""Bayesian mixtures of the latent spaces as in the paper: one task for each model, and variants of the settings."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.models import Arrays
from rewards.base import Mixture, Representation
from rewards.registry import bgmm

CONVERGED_STEPS = 3000
METHODS: Mapping[str, Any] = {}  # those of the paper's Methods, which are the defaults
#: Other settings with which the fit of a model is repeated.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "1000 steps": {"steps": 1000},
    f"{CONVERGED_STEPS} steps": {"steps": CONVERGED_STEPS},
    "no overlap penalty": {"overlap_weight": 0.0},
    "the text's priors": {"mean_prior": "normal", "concentration": 0.01},
}


def fit(arrays: Path, model: str, seed: int, settings: Mapping[str, Any] = METHODS) -> dict[str, Any]:
    """Fit the Bayesian mixture to all points of a model, without density filter, as in the paper; runs in a worker.

    Parameters
    ----------
    arrays
        Path of the file with the latents of all models of a scan.
    model
        Name of the model.
    seed
        Seed of the fit, together with the name of the model.
    settings
        Settings that differ from the defaults of `rewards.mixture.bayesian.BayesianMixtureSettings`.

    Returns
    -------
    dict
        `neg_elbo`, `entropy` and `neg_elbo_plus_entropy` per point in nats; `overlap`; `K_effective`; `weights`, `means` and
        `covariances` of the effective components.
    """
    loaded = Arrays.load(arrays)
    z = loaded.z[model].astype(np.float64)
    zeros = np.zeros_like(z)
    representation = Representation(z, zeros, zeros, zeros, loaded.points_rc, 0, "", seed, np.nan, np.nan)
    score = bgmm(representation, rng=np.random.default_rng([seed, 6, zlib.crc32(model.encode())]), settings=settings)
    assert score.mixture is not None
    parts = {name: getattr(score.mixture, name).tolist() for name in ("weights", "means", "covariances")}
    return {"model": model} | dict(score.metrics) | parts


def mixture_of(result: Mapping[str, Any]) -> Mixture:
    """Mixture of the effective components of a fit."""
    return Mixture(*(np.array(result[name]) for name in ("weights", "means", "covariances")))
