"""Does the agent's order teach more about real loops than a grid does?

`python -m benchmarks.mexpsimu [--quick] [--seeds 200-229] --out DIR` measures, on three PbTiO3 films with a hysteresis loop at
every pixel (PyPI package mexpsimu; `make reference` fetches it), how well the loops at the first 10 to 200 places of each policy
predict the loops at all others. The agent sees one image only, made of the first point of each loop, before any bias; its order
is that of `Agent.on_scan`, search included. Every policy is judged by the same predictor, on the same held-out pixels.

Each finished repeat is kept in `DIR/mexpsimu.jsonl` until the run is complete; the same command goes on from there.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from agent.config import Config
from agent.core import Agent
from agent.decision import Decision
from agent.executor import workers_for
from agent.recommend import Pool, recommend
from benchmarks import loop_policies as policies
from benchmarks.commandline import Journal, parser, run
from benchmarks.loop_prediction import Predictor, pixel_features
from benchmarks.real_loops import NAMES, RealLoops, read_real_loops
from benchmarks.writing import Outcome, write
from instrument_adapters.messages import Limits
from rewards.mixture import fit_grid

COUNTS = (10, 20, 50, 100, 200)
JUDGED_AT = 50
HELD_OUT = 2500  # pixels, drawn once for each data set; those that a policy measures do not count for it
WORKERS = 2
QUICK_REPEATS, QUICK_COUNTS = 4, (20, 50)
BOOTSTRAPS = 5000
CONFIG: Mapping[str, Any] = {
    "channel": "Amplitude",
    "keypoints": "grid",
    "keypoints_options": {"step_px": 2},
    "scan": {"spacing_px": 2, "channels": "amplitude"},
    "search": {"windows_px": [5, 7], "invariances": ["v", "r"], "seeds": 2, "workers": 0},
    "train": {"steps": 400},
    "recommend": {"points": max(COUNTS), "spacing_m": 0, "damage_radius_m": 0},
}
LIMITS = Limits(spacing_min_m=0, points_max=max(COUNTS))
RANDOM, GRID, BLUE, KMEANS, GMM, VAE = "random", "grid", "blue noise", "k-means cores", "PCA + GMM cores", "VAE cores, equal"
AREA, AGENT, ANYWHERE = "area-proportional", "the agent", "IVR anywhere"
BASELINES = (RANDOM, GRID, BLUE, KMEANS, GMM, VAE, AREA)
POLICIES = (*BASELINES, AGENT, ANYWHERE)
NOTES = (
    (
        "R² is the share of the held-out loops' variance that a Gaussian process on patch and position predicts, mean of the "
        "three data sets; beside it the mean R² of numbers drawn from the loops (principal components, area, span, biases of "
        "switching), and the R² that the patch alone gives."
    ),
    (
        "The images are 65 and 100 px wide, too small for the defaults: key points are every second pixel of a grid at least "
        "3 px from the border, windows 5 and 7, VAEs without invariance and with rotation, two seeds, 400 steps; no spacing "
        "between places, since every loop is already recorded. The agent, the area-proportional and the core policies choose "
        "among the key points; random, grid and blue noise may go anywhere."
    ),
    (
        f"k-means: {policies.KMEANS_TYPES} types of 9 px patches. PCA + GMM: {policies.GMM_DIMS} components, the mixture of the "
        "lowest BIC. VAE cores, equal: the paper's order, on the best VAE of the agent's own search."
    ),
    (
        "Intervals (95 %) are bootstrapped over repeats, paired within each; they say nothing about other samples than these "
        "three. Where the search finds one type only, the agent's orders are much alike and the intervals hold little more than "
        "the shift of the grid."
    ),
    "The order's parameters were set on these three films with other seeds (decision record 0015): no fresh samples.",
)


def main() -> None:
    """Run all repeats and write `mexpsimu.json` and `mexpsimu.md`."""
    options = parser(__doc__, "200-229")
    options.add_argument("--data", type=Path, help="folder of the package's .npz files (default: where it is installed)")
    arguments = options.parse_args()
    seeds = arguments.seeds[:QUICK_REPEATS] if arguments.quick else arguments.seeds
    counts = QUICK_COUNTS if arguments.quick else COUNTS
    for name in NAMES:
        read_real_loops(name, arguments.data)  # what is missing is said before anything is started
    journal = Journal(arguments.out / "mexpsimu.jsonl", {"seeds": list(seeds), "counts": list(counts)})
    tasks = {f"{name}, seed {seed}": (repeat, (name, seed, counts, arguments.data), {}) for seed in seeds for name in NAMES}
    write(report(list(journal.all_once(tasks, WORKERS).values()), counts, quick=arguments.quick), arguments.out, seeds)
    journal.finish()


def repeat(name: str, seed: int, counts: Sequence[int], folder: Path | None = None) -> dict[str, Any]:
    """All policies on one data set with one seed.

    Returns
    -------
    dict
        "r2" and "patch_only": policy -> R² at each count; "parameters": policy -> mean R² of loop parameters at `JUDGED_AT`;
        "chosen" and "types" of the agent's search.
    """
    data = read_real_loops(name, folder)
    config = Config.model_validate(dict(CONFIG) | {"seed": seed})
    with workers_for(0, None) as workers:
        decision = Agent(config, workers).on_scan(data.scan(), LIMITS)
    with threadpool_limits(1):
        places = all_places(data, decision, config, max(counts), seed)
        scores = _scores(data, places, counts)
    return {"name": name, "seed": seed, "chosen": decision.record.chosen, "types": len(decision.record.clusters)} | scores


def all_places(
    data: RealLoops, decision: Decision, config: Config, count: int, seed: int
) -> dict[str, Callable[[int], np.ndarray]]:
    """Policy -> its first places, as rows of pixels, given how many."""
    shape, settings = data.image.shape, config.recommend
    features, pixels = pixel_features(data.image), data.pixels
    keypoints = _rows(decision.arrays["points_rc"], shape)

    def rng(name: str) -> np.random.Generator:
        return np.random.default_rng([seed, POLICIES.index(name)])

    ordered = {
        RANDOM: policies.random_places(shape, count, rng(RANDOM)),
        BLUE: policies.blue_noise_places(shape, count, rng(BLUE)),
        KMEANS: keypoints[policies.kmeans_places(features[keypoints], count, settings, rng(KMEANS))],
        GMM: keypoints[policies.gmm_places(features[keypoints, : policies.GMM_DIMS], count, settings, rng(GMM))],
        VAE: keypoints[vae_places(decision, config, count, rng(VAE))],
        AREA: _rows(by_area(data, decision, config), shape),
        AGENT: _rows(np.array([[r.row, r.col] for r in decision.record.requests]), shape),
        ANYWHERE: policies.informative_places(features, pixels, count, settings, rng(ANYWHERE)),
    }
    return {
        name: (lambda n: policies.grid_places(shape, n, rng(GRID))) if name == GRID else partial(_first, ordered[name])
        for name in POLICIES
    }


def vae_places(decision: Decision, config: Config, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of key points: the paper's order on the VAE configuration that the search ranks first, types by BIC."""
    record = decision.record
    best = next(c for c in record.configurations if c.invariance in config.search.invariances)
    index = next(
        i
        for i, c in enumerate(record.candidates)
        if c.value is not None and (c.invariance, c.window_px) == (best.invariance, best.window_px)
    )
    z = decision.latents_of(index).astype(np.float64)
    mixture = min(fit_grid(z, rng), key=lambda fit: fit.bic).mixture
    return policies.mixture_places(mixture, z, count, config.recommend)


def by_area(data: RealLoops, decision: Decision, config: Config) -> np.ndarray:
    """(row, col) of the places that the agent's policy "area" chooses, on the same search."""
    arrays, settings = decision.arrays, config.recommend.model_copy(update={"policy": "area"})
    labels, distance = arrays["labels"].astype(np.int64), arrays["core_distance"]
    order = np.argsort(distance, kind="stable")
    core = [order[(labels[order] == k) & (arrays["core"][order] == 1)] for k in range(labels.max() + 1)]
    nothing, none = np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.int64)
    pool = Pool(arrays["points_rc"].astype(np.int64), labels, distance, core, arrays["z"].astype(np.float64), 9, nothing, none)
    frame = data.scan().frame
    found = recommend(pool, frame, LIMITS, np.empty((0, 2)), settings, "area", np.random.default_rng(0))
    return np.array([[r.row, r.col] for r in found.requests])


def _first(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[:count]


def _rows(rc: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(rc[:, 0].astype(np.int64) * shape[1] + rc[:, 1])


def _scores(data: RealLoops, places: Mapping[str, Callable[[int], np.ndarray]], counts: Sequence[int]) -> dict[str, Any]:
    predictor = Predictor(pixel_features(data.image), data.pixels.astype(np.float64))
    held_out = np.random.default_rng(NAMES.index(data.name)).choice(data.image.size, HELD_OUT, replace=False)
    scores: dict[str, Any] = {"r2": {}, "patch_only": {}, "parameters": {}}
    for name, first in places.items():
        for count in counts:
            rows = first(count)
            others = np.setdiff1d(held_out, rows)
            for kind, patch_only in (("r2", False), ("patch_only", True)):
                error, variance = predictor.errors(rows, others, data.loops, patch_only=patch_only)
                scores[kind].setdefault(name, []).append(1 - float(error.sum() / variance.sum()))
            if count == JUDGED_AT:
                scores["parameters"][name] = float(predictor.r2(rows, others, data.parameters).mean())
    return scores


def report(repeats: Sequence[Mapping[str, Any]], counts: Sequence[int], *, quick: bool) -> Outcome:
    """Figures, intervals and tables from the finished repeats."""
    at = counts.index(JUDGED_AT)
    mean = {policy: float(_pooled(repeats, policy, at).mean()) for policy in POLICIES}
    best = max(BASELINES, key=lambda policy: mean[policy])
    gain, low, high = difference(_pooled(repeats, AGENT, at), _pooled(repeats, GRID, at))
    figures: dict[str, float | None] = {
        "r2_50_agent": mean[AGENT],
        "r2_50_random": mean[RANDOM],
        "r2_50_grid": mean[GRID],
        "r2_50_best_baseline": mean[best],
        "r2_50_agent_minus_grid": gain,
        "r2_50_agent_minus_grid_low": low,
        "r2_50_agent_minus_grid_high": high,
    }
    tables = {
        "R² of held-out loops, patch and position": _by_count(repeats, counts, "r2"),
        f"After {JUDGED_AT} loops": [_after(repeats, policy, at) for policy in POLICIES],
        "R² of held-out loops, patch alone": _by_count(repeats, counts, "patch_only"),
    }
    types = ", ".join(f"{k} in {n} of {len(repeats)}" for k, n in sorted(Counter(one["types"] for one in repeats).items()))
    notes = [f"Best baseline after {JUDGED_AT} loops: {best}.", f"Types that the agent's search found: {types} repeats.", *NOTES]
    if quick:
        notes.append(f"Quick: {QUICK_REPEATS} repeats, {' and '.join(map(str, QUICK_COUNTS))} loops only.")
    return Outcome(
        name="mexpsimu",
        title="Does the agent's order teach more about real loops than a grid does?",
        figures=figures,
        details={"quick": quick, "config": dict(CONFIG), "counts": list(counts), "repeats": list(repeats)},
        tables=tables,
        notes=notes,
    )


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Mean of the paired differences and its bootstrapped 95 % interval; both of shape (data sets, repeats)."""
    differences = ours - theirs
    sets, repeats = differences.shape
    drawn = np.random.default_rng(0).integers(repeats, size=(BOOTSTRAPS, sets, repeats))
    means = np.take_along_axis(differences[None], drawn, axis=2).mean(axis=(1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def _pooled(repeats: Sequence[Mapping[str, Any]], policy: str, at: int, kind: str = "r2") -> np.ndarray:
    """Shape (data sets, repeats)."""
    return np.array([[one[kind][policy][at] for one in repeats if one["name"] == name] for name in NAMES])


def _by_count(repeats: Sequence[Mapping[str, Any]], counts: Sequence[int], kind: str) -> list[dict[str, Any]]:
    return [
        {"policy": policy} | {f"{n} loops": float(_pooled(repeats, policy, i, kind).mean()) for i, n in enumerate(counts)}
        for policy in POLICIES
    ]


def _after(repeats: Sequence[Mapping[str, Any]], policy: str, at: int) -> dict[str, Any]:
    values = _pooled(repeats, policy, at)
    gain, low, high = difference(values, _pooled(repeats, GRID, at))
    row: dict[str, Any] = {"policy": policy} | dict(zip(NAMES, map(float, values.mean(axis=1)), strict=True))
    parameters = np.mean([one["parameters"][policy] for one in repeats])
    return row | {"above the grid": f"{gain:+.3f} ({low:+.3f} to {high:+.3f})", "loop parameters": float(parameters)}


if __name__ == "__main__":
    run(main)
