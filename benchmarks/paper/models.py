"""Trains and scores all models of the paper's analysis on one scan; latents are saved to a file.

Nothing is chosen here. Every model is trained to the end and scored, even if the guards would reject it, since the paper states
scores of collapsed models; the reason of the guards is kept with the scores. All criteria are kept for each number of components
K, so that the range of K, which starts at 2 in the paper, can be chosen afterwards.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from threadpoolctl import threadpool_limits

from agent.config.model import Config
from agent.errors import UnusableScanError
from agent.schema.seed_streams import Stream, stream
from agent.search.candidates import Candidate
from agent.search.prepared_scan import prepare_scan
from agent.search.search import search
from agent.search.task_cache import TaskCache
from agent.workers.factory import workers_for
from benchmarks.harness.engine import sweep_config
from instrument_adapters.scan import Scan
from rewards.base import Mixture, Representation, Score
from rewards.closed_form import smallest_eigenvalue, total_variance, variance_product
from rewards.density import equal_subset, relative_density
from rewards.guards import GuardSettings, guard_seeds
from rewards.mixture.gmm import MixtureFit, fit_grid

INVARIANCES = ("v", "r", "rt")
MAX_COMPONENTS = 10
LITERAL_DENSITY = 0.95
Reading = Literal["default", "dense"]  # reading of the density filter: the default one, or the densest half
DEFAULT: Reading = "default"
DENSE: Reading = "dense"
OF_EACH_K = ("log_likelihood", "bic", "aic", "entropy")
_EVERY_K = "benchmarks.paper.models:every_k"
# Models that the default guards reject are scored nevertheless, if the filter leaves enough points.
_NO_GUARDS = {"collapse_below": 0.0, "elbo_gap_per_px": 1e9}


@dataclass(frozen=True, eq=False)
class Arrays:
    """Latents of all models of one scan, for the figures.

    Parameters
    ----------
    points_rc
        Shape (n, 2): key points, the same for all models.
    z
        Model -> shape (n, d): latents of the key points.
    kept
        Model -> shape (n,): whether the density filter keeps each point.
    """

    points_rc: np.ndarray
    z: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Save to an `.npz` file without pickles."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = list(self.z)
        z, kept = (np.array([part[name] for name in names]) for part in (self.z, self.kept))
        np.savez_compressed(path, names=np.array(names), points_rc=self.points_rc, z=z, kept=kept)

    @classmethod
    def load(cls, path: Path) -> "Arrays":
        """Load from a file written by `save`."""
        with np.load(path, allow_pickle=False) as file:
            names = [str(name) for name in file["names"]]
            return cls(file["points_rc"], dict(zip(names, file["z"], strict=True)), dict(zip(names, file["kept"], strict=True)))


def paper_config(windows_px: Sequence[int], seeds: Sequence[int], *, steps: int | None = None, workers: int = 2) -> Config:
    """Configuration of the paper's search: vanilla, r- and t-VAE (here "rt") for all windows, two latents, the amplitude.

    Without rungs, all models are trained at once and none is dropped.

    Models have the seeds FIRST·1000, FIRST·1000 + 1, ..., where FIRST is the first of `seeds` and the seed of everything else.
    """
    config = sweep_config(
        windows_px,
        INVARIANCES,
        seeds=len(seeds),
        seed=seeds[0],
        steps=steps,
        workers=workers,
        reward=_EVERY_K,
        guards=_NO_GUARDS,
    )
    return config.with_search(rungs=())


def sweep(scan: Scan, config: Config, arrays: Path, work: Path) -> dict[str, Any]:
    """Train and score all models of `config`, and save their latents to the file `arrays`.

    Parameters
    ----------
    scan, config
        The scan, and the configuration from `paper_config`.
    arrays
        Path of the file to be written.
    work
        Directory of finished training, from which an interrupted sweep continues; it is emptied at the end.

    Returns
    -------
    dict
        `points`, number of key points; `common_points`, number of points on which models were scored; `points_of_window`, number
        of key points if only that window were used; `models`, a row for each.
    """
    prepared = prepare_scan(scan, config)
    cache = TaskCache(work)
    with workers_for(config.search.workers) as workers:
        found = search(prepared, config, workers, cache=cache)
    reasons = left_out(found.candidates)
    (keypoints,) = prepared.keypoints.values()
    Arrays(
        points_rc=keypoints.points_rc,
        z={c.candidate_id: c.representation.z.astype(np.float32) for c in found.candidates},
        kept={c.candidate_id: c.kept for c in found.candidates},
    ).save(arrays)
    cache.clear()
    return {
        "points": len(keypoints.points_rc),
        "common_points": found.common_points,
        "points_of_window": {w: _points(scan, config, w) for w in config.search.windows_px},
        "models": [row(c, reasons[c.candidate_id]) for c in found.candidates],
    }


def left_out(candidates: Sequence[Candidate]) -> dict[str, str | None]:
    """Candidate -> reason why the default guards reject it, or None."""
    reasons: dict[str, str | None] = {}
    for configuration in dict.fromkeys(c.configuration for c in candidates):
        seeds = [c for c in candidates if c.configuration == configuration]
        found = guard_seeds([c.representation for c in seeds], [int(c.kept.sum()) for c in seeds])
        reasons |= {c.candidate_id: reason or c.guarded_out for c, reason in zip(seeds, found, strict=True)}
    return reasons


def row(candidate: Candidate, reason: str | None) -> dict[str, Any]:
    """Row of a model as plain values; `curve` has the criteria for each K, per point, if it was scored."""
    r = candidate.representation
    finite = bool(np.isfinite(r.z).all())
    return {
        "model": candidate.candidate_id,
        "configuration": candidate.configuration.name,
        "window_px": r.window_px,
        "invariance": r.invariance,
        "seed": r.seed,
        "elbo_per_px": _number(r.elbo_per_px),
        "reconstruction": _number(r.reconstruction_per_px),
        "total_variance": total_variance(r.z) if finite else None,
        "variance_product": variance_product(r.z) if finite else None,
        "smallest_eigenvalue": smallest_eigenvalue(r.z) if finite else None,
        "kept": int(candidate.kept.sum()),
        "kept_literally": int((relative_density(r.z) >= LITERAL_DENSITY).sum()) if finite else 0,
        "left_out": reason,
        **curve(candidate.score.metrics if candidate.score else {}),
    }


def every_k(representation: Representation, *, rng: np.random.Generator) -> Score:
    """Reward whose metrics are the paper's criteria for every K; its value, from the smallest BIC, is not used."""
    fits = fit_grid(representation.z, rng, range(1, MAX_COMPONENTS + 1))
    best = min(fits, key=lambda fit: fit.bic)
    return Score(-best.bic, _metrics(fits), best.mixture)


def curve(metrics: Mapping[str, float]) -> dict[str, Any]:
    """Criteria of `every_k` as lists over K, per point; empty lists if a model was not scored."""
    components = [K for K in range(1, MAX_COMPONENTS + 1) if f"bic_{K}" in metrics]
    return {"K": components, "curve": {name: [metrics[f"{name}_{K}"] for K in components] for name in OF_EACH_K}}


def dense_curves(arrays: Arrays, seed: int) -> dict[str, dict[str, Any]]:
    """Model -> criteria over K for the densest half of its points; models with latents that are not finite are left out.

    The default filter, 5 % of the largest density, keeps nearly all of a thousand key points, and the wording of the paper nearly
    none. The densest half lies in between, and leaves the same number of points of each model.
    """
    finite = [model for model, z in arrays.z.items() if np.isfinite(z).all()]
    with threadpool_limits(1):
        return {model: curve(_metrics(_fits(model, arrays, seed, DENSE, MAX_COMPONENTS))) for model in finite}


def refit(model: str, arrays: Arrays, seed: int, reading: Reading, K: int) -> Mixture:
    """The mixture of `K` components with which a model was scored, fitted again to the same points with the same random draws."""
    with threadpool_limits(1):
        return _fits(model, arrays, seed, reading, K)[-1].mixture


def scored_rows(model: str, arrays: Arrays, seed: int, reading: Reading) -> np.ndarray:
    """Rows of the key points on which a model was scored, in ascending order."""
    if reading == DENSE:
        density = relative_density(arrays.z[model].astype(np.float64))
        return np.sort(np.argsort(-density, kind="stable")[: len(density) // 2])
    common = min(n for kept in arrays.kept.values() if (n := int(kept.sum())) >= GuardSettings().min_points)
    return equal_subset(arrays.kept[model], common, stream(seed, Stream.COMMON_POINTS, _model_key(model)))


def _fits(model: str, arrays: Arrays, seed: int, reading: Reading, max_components: int) -> list[MixtureFit]:
    z = arrays.z[model][scored_rows(model, arrays, seed, reading)].astype(np.float64)
    return fit_grid(z, stream(seed, Stream.REWARD, _model_key(model)), range(1, max_components + 1))


def _model_key(model: str) -> int:
    return zlib.crc32(model.encode())  # an independent random stream for each model, as in agent.search.scoring


def _metrics(fits: Sequence[MixtureFit]) -> dict[str, float]:
    return {f"{name}_{fit.K}": float(getattr(fit, name)) for fit in fits for name in OF_EACH_K}


def _points(scan: Scan, config: Config, window_px: int) -> int | None:
    """Number of key points whose patches of this window lie in the frame; in a search, all windows share those of the largest."""
    try:
        (keypoints,) = prepare_scan(scan, config.with_search(windows_px=[window_px])).keypoints.values()
    except UnusableScanError:
        return None
    return len(keypoints.points_rc)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
