"""All models of the paper's analysis on one scan, trained and scored by the project's engine: numbers, and arrays on disk.

Nothing is chosen here. Every model is trained to the end and scored, those too that the guards would leave out, since the paper
says what collapsed models score; the guards' reason stands beside the scores. For each number of components K all criteria are
kept, so that the range of K, which the paper begins at 2, can be chosen afterwards.
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
from rewards.density import equal_subset, relative_density
from rewards.guards import GuardSettings, guard_seeds
from rewards.mixture.gmm import MixtureFit, fit_grid
from rewards.variance import smallest_eigenvalue, total_variance, variance_product

INVARIANCES = ("v", "r", "rt")
MOST_COMPONENTS = 10
LITERAL_DENSITY = 0.95
Reading = Literal["default", "dense"]  # of the density filter: the default one, or the densest half
DEFAULT: Reading = "default"
DENSE: Reading = "dense"
OF_EACH_K = ("log_likelihood", "bic", "aic", "entropy")
_EVERY_K = "benchmarks.paper.models:every_k"
# Models that the default guards leave out are scored all the same, as long as the filter leaves them enough points.
_NO_GUARDS = {"collapse_below": 0.0, "elbo_gap_per_px": 1e9}


@dataclass(frozen=True, eq=False)
class Arrays:
    """What figures show of the models of one scan.

    Parameters
    ----------
    points_rc
        Shape (n, 2): the key points, the same for all models.
    z
        Model -> shape (n, d): latents of the key points.
    kept
        Model -> shape (n,): whether the density filter keeps them.
    """

    points_rc: np.ndarray
    z: Mapping[str, np.ndarray]
    kept: Mapping[str, np.ndarray]

    def save(self, path: Path) -> None:
        """To an `.npz` file without pickles."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = list(self.z)
        z, kept = (np.array([part[name] for name in names]) for part in (self.z, self.kept))
        np.savez_compressed(path, names=np.array(names), points_rc=self.points_rc, z=z, kept=kept)

    @classmethod
    def load(cls, path: Path) -> "Arrays":
        """From the file that `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            names = [str(name) for name in file["names"]]
            return cls(file["points_rc"], dict(zip(names, file["z"], strict=True)), dict(zip(names, file["kept"], strict=True)))


def paper_config(windows_px: Sequence[int], seeds: Sequence[int], *, steps: int | None = None, workers: int = 2) -> Config:
    """The paper's search: vanilla, r- and t-VAE (here "rt") of all windows, two latents, the amplitude; nothing is dropped.

    Without rungs all models take their steps in one go, and none is given up on the way.

    Models have the seeds FIRST·1000, FIRST·1000 + 1, ..., FIRST being the first of `seeds`, which is the seed of all else too.
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
    """Trains and scores all models of `config`; their latents go to the file `arrays`.

    Parameters
    ----------
    scan, config
        See `paper_config`.
    arrays
        Written.
    work
        Directory of finished training, from which an interrupted sweep goes on; empty when all is done.

    Returns
    -------
    dict
        points, how many key points; common_points, on how many the models were scored; points_of_window, how many key points
        there would be if that window alone were tried; models, a row for each.
    """
    scene = prepare_scan(scan, config)
    store = TaskCache(work)
    with workers_for(config.search.workers) as workers:
        found = search(scene, config, workers, store=store)
    reasons = left_out(found.candidates)
    (keypoints,) = scene.keypoints.values()
    Arrays(
        points_rc=keypoints.points_rc,
        z={c.candidate_id: c.representation.z.astype(np.float32) for c in found.candidates},
        kept={c.candidate_id: c.kept for c in found.candidates},
    ).save(arrays)
    store.clear()
    return {
        "points": len(keypoints.points_rc),
        "common_points": found.common_points,
        "points_of_window": {w: _points(scan, config, w) for w in config.search.windows_px},
        "models": [row(c, reasons[c.candidate_id]) for c in found.candidates],
    }


def left_out(candidates: Sequence[Candidate]) -> dict[str, str | None]:
    """Candidate -> why the default guards leave it out of the choice, or None."""
    reasons: dict[str, str | None] = {}
    for configuration in dict.fromkeys(c.configuration for c in candidates):
        seeds = [c for c in candidates if c.configuration == configuration]
        found = guard_seeds([c.representation for c in seeds], [int(c.kept.sum()) for c in seeds])
        reasons |= {c.candidate_id: reason or c.guarded_out for c, reason in zip(seeds, found, strict=True)}
    return reasons


def row(candidate: Candidate, reason: str | None) -> dict[str, Any]:
    """All that is known of a model, as plain values; `curve` holds the criteria of each K, per point, where it was scored."""
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
    """The paper's criteria for every K, as a reward of the search; its value, the smallest BIC, chooses nothing here."""
    fits = fit_grid(representation.z, rng, range(1, MOST_COMPONENTS + 1))
    best = min(fits, key=lambda fit: fit.bic)
    return Score(-best.bic, _metrics(fits), best.mixture)


def curve(metrics: Mapping[str, float]) -> dict[str, Any]:
    """The criteria of `every_k` as lists over K, per point; empty lists where a model was not scored."""
    components = [K for K in range(1, MOST_COMPONENTS + 1) if f"bic_{K}" in metrics]
    return {"K": components, "curve": {name: [metrics[f"{name}_{K}"] for K in components] for name in OF_EACH_K}}


def dense_curves(arrays: Arrays, seed: int) -> dict[str, dict[str, Any]]:
    """Model -> its criteria over K on the densest half of its points; models that are not finite are left out.

    The default filter, 5 % of the largest density, keeps nearly every point of a scan of a thousand key points, and the paper's
    words keep nearly none. The densest half lies between, and leaves equally many of each model.
    """
    finite = [model for model, z in arrays.z.items() if np.isfinite(z).all()]
    with threadpool_limits(1):
        return {model: curve(_metrics(_fits(model, arrays, seed, DENSE, MOST_COMPONENTS))) for model in finite}


def refit(model: str, arrays: Arrays, seed: int, reading: Reading, K: int) -> Mixture:
    """The mixture of `K` components that a model was scored with: the same rows, the same draws."""
    with threadpool_limits(1):
        return _fits(model, arrays, seed, reading, K)[-1].mixture


def scored_rows(model: str, arrays: Arrays, seed: int, reading: Reading) -> np.ndarray:
    """Rows of the key points that a model was scored on, in ascending order."""
    if reading == DENSE:
        density = relative_density(arrays.z[model].astype(np.float64))
        return np.sort(np.argsort(-density, kind="stable")[: len(density) // 2])
    common = min(n for kept in arrays.kept.values() if (n := int(kept.sum())) >= GuardSettings().min_points)
    return equal_subset(arrays.kept[model], common, stream(seed, Stream.COMMON_POINTS, _own(model)))


def _fits(model: str, arrays: Arrays, seed: int, reading: Reading, most: int) -> list[MixtureFit]:
    z = arrays.z[model][scored_rows(model, arrays, seed, reading)].astype(np.float64)
    return fit_grid(z, stream(seed, Stream.REWARD, _own(model)), range(1, most + 1))


def _own(model: str) -> int:
    return zlib.crc32(model.encode())  # draws of its own, as in agent.search.scoring


def _metrics(fits: Sequence[MixtureFit]) -> dict[str, float]:
    return {f"{name}_{fit.K}": float(getattr(fit, name)) for fit in fits for name in OF_EACH_K}


def _points(scan: Scan, config: Config, window_px: int) -> int | None:
    """Key points that keep a margin for this window only; in a search all windows share those of the largest."""
    try:
        (keypoints,) = prepare_scan(scan, config.with_search(windows_px=[window_px])).keypoints.values()
    except UnusableScanError:
        return None
    return len(keypoints.points_rc)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
