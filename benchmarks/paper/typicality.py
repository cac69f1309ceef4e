"""Similarity of core points: share of the rotation-averaged patch content that the components of a mixture explain."""

from typing import Any

import numpy as np

from agent.config.model import Config
from agent.representation.classical import PlainSpec, represent_plain
from agent.search.prepared_scan import prepare_scan
from benchmarks.paper.spaces import Chosen
from instrument_adapters.scan import Scan
from rewards.base import Mixture

_SHUFFLES = 200


def typicality(scan: Scan, config: Config, one: Chosen) -> dict[str, Any]:
    """Share of the rotation-averaged content of the patches that the components of the chosen mixture explain.

    Returns
    -------
    dict
        Between-group over total sum of squares, 0 to 1: `explained_by_types` for all points, `explained_by_types_of_core` for
        core points, and `of_core_by_chance` for core points with shuffled components.
    """
    prepared = prepare_scan(scan, config)
    spec = PlainSpec(one.row["window_px"], "polar")
    images = prepared.stacks[prepared.vae_modes[0]]
    ((representation, _),) = represent_plain(images, one.points_rc, spec, (0,), fit_rc=one.points_rc, held_out_rc=one.points_rc)
    labels, core = one.labels, np.concatenate(one.cores)
    rng = np.random.default_rng(0)
    chance = [explained(representation.z[core], rng.permutation(labels[core])) for _ in range(_SHUFFLES)]
    return {
        "explained_by_types": explained(representation.z, labels),
        "explained_by_types_of_core": explained(representation.z[core], labels[core]),
        "of_core_by_chance": float(np.mean(chance)),
    }


def explained(x: np.ndarray, labels: np.ndarray) -> float:
    """Between-group over total sum of squares (η²) of rows x of shape (n, d); 0 if all rows are equal."""
    total = ((x - x.mean(axis=0)) ** 2).sum()
    within = sum(((x[labels == k] - x[labels == k].mean(axis=0)) ** 2).sum() for k in np.unique(labels))
    return float(1 - within / total) if total > 0 else 0.0


def component_sizes(mixture: Mixture) -> dict[str, float]:
    """Mean radius (det Σ)^(1/2d) of the components, in latent units, and its coefficient of variation."""
    radii = np.linalg.det(mixture.covariances) ** (0.5 / mixture.means.shape[1])
    return {"mean_radius": float(radii.mean()), "variation_of_radius": float(radii.std() / radii.mean())}
