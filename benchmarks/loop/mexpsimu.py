"""Does the agent's order of measurements predict real loops better than a grid?

`python -m benchmarks.loop.mexpsimu [--quick] [--seeds 330-359] --out DIR` measures, on three PbTiO3 films with a hysteresis loop
at every pixel (PyPI package mexpsimu; `make reference` fetches it), how well the loops at the first 10 to 200 points of each
policy predict the loops at all others, and after how many loops every class has been seen. The agent receives a single image,
made of the first point of each loop before any bias; its order is that of `Agent.decide`, including the search. Every policy is
evaluated with the same predictor on the same held-out pixels.

Each finished repeat is kept in `DIR/mexpsimu.jsonl` until the run is complete; the same command continues from there.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.recommendation.place_selection import Pool, recommend
from agent.schema.decision import Decision
from agent.workers.factory import workers_for
from benchmarks.harness.commandline import Journal, parser, run
from benchmarks.harness.outcome import write
from benchmarks.harness.real_loops import NAMES, RealLoops, loop_classes, read_real_loops
from benchmarks.loop import policies
from benchmarks.loop.feedback import closed_loop_places, rows_of
from benchmarks.loop.mexpsimu_report import (
    AGENT,
    ANYWHERE,
    AREA,
    BLUE,
    CLASSES,
    COUNTS,
    DENSE,
    DENSE_POLICIES,
    FEEDBACK,
    GMM,
    GRID,
    JUDGED_AT,
    KMEANS,
    LONGEST,
    ORACLE,
    POLICIES,
    QUICK_COUNTS,
    QUICK_REPEATS,
    RANDOM,
    SEEN,
    VAE,
    report,
)
from benchmarks.loop.oracle import forest_r2, oracle_places
from benchmarks.loop.prediction import Predictor, pixel_features
from instrument_adapters.protocol.messages import Limits
from rewards.mixture.gmm import fit_grid

HELD_OUT = 2500  # pixels, drawn once for each film; those that a policy measures are excluded for it
CLASS_SEED = FOREST_SEED = 0
DECIDED_AGAIN_AFTER = (20, 50)  # loops; with fewer than 20, results do not count as evidence
WORKERS = 2
CONFIG: Mapping[str, Any] = {
    "quality": {"actions": {"repeated": "warn"}},  # every rescan of a film is identical
    "channel": "Amplitude",
    "keypoints": "grid",
    "keypoints_options": {"step_px": 2},
    "scan": {"spacing_px": 2, "channels": "amplitude"},
    "search": {"windows_px": [5, 7], "invariances": ["v", "r"], "seeds": 2, "workers": 0},
    "train": {"steps": 400},
    # A thousandth of a nanometre: no point twice, but no further distance is kept.
    "recommend": {"points": LONGEST, "spacing_m": 1e-12, "damage_radius_m": 0},
}
LIMITS = Limits(spacing_min_m=0, points_max=LONGEST, dose_max=1_000_000)  # recorded loops do not alter the sample


def main() -> None:
    """Run all repeats and write `mexpsimu.json` and `mexpsimu.md`."""
    options = parser(__doc__, "330-359")
    options.add_argument("--data", type=Path, help="folder with the .npz files of the package (default: where it is installed)")
    arguments = options.parse_args()
    seeds = arguments.seeds[:QUICK_REPEATS] if arguments.quick else arguments.seeds
    counts = QUICK_COUNTS if arguments.quick else COUNTS
    for name in NAMES:
        read_real_loops(name, arguments.data)  # a missing film is reported before anything is started
    journal = Journal(arguments.out / "mexpsimu.jsonl", {"seeds": list(seeds), "counts": list(counts)})
    tasks = {f"{name}, ceiling": (ceiling, (name, arguments.data), {}) for name in NAMES}
    tasks |= {f"{name}, seed {seed}": (repeat, (name, seed, counts, arguments.data), {}) for seed in seeds for name in NAMES}
    done = list(journal.all_once(tasks, WORKERS).values())
    outcome = report(done[len(NAMES) :], done[: len(NAMES)], counts, quick=arguments.quick, config=CONFIG)
    write(outcome, arguments.out, seeds)
    journal.finish()


def ceiling(name: str, folder: Path | None = None) -> dict[str, Any]:
    """R² of loops and mean R² of loop parameters, predicted by a random forest from the loops of other parts of the film."""
    data = read_real_loops(name, folder)
    parts = data.loops.shape[1]
    with threadpool_limits(1):
        error, variance = forest_r2(data.image, np.column_stack([data.loops, data.parameters]), FOREST_SEED)
    loops = 1 - float(error[:parts].sum() / variance[:parts].sum())
    return {"name": name, "r2": loops, "parameters": float((1 - error / variance)[parts:].mean())}


def repeat(name: str, seed: int, counts: Sequence[int], folder: Path | None = None) -> dict[str, Any]:
    """Run all policies on one film with one seed.

    Returns
    -------
    dict
        `r2` and `patch_only`: policy -> R² at each count; `parameters`: policy -> mean R² of loop parameters at `JUDGED_AT`;
        `dense`: R² of the agent's two orders at each of `DENSE`; `seen`: policy -> loops until every class was seen `SEEN`
        times, None if `LONGEST` were too few; `chosen` and `types` of the first search, and `chosen_later` of those with
        results.
    """
    data = read_real_loops(name, folder)
    config = Config.model_validate(dict(CONFIG) | {"seed": seed})
    with workers_for(0, None) as workers:
        agent = Agent(config, workers)
        first = agent.decide(DecisionInputs(data.scan(), limits=LIMITS))
        closed, decisions = closed_loop_places(agent, data, first, DECIDED_AGAIN_AFTER, LIMITS)
    with threadpool_limits(1):
        places = all_places(data, first, config, LONGEST, seed) | {FEEDBACK: partial(_first, closed)}
        scores = _scores(data, places, counts)
    classes = loop_classes(data.loops, CLASSES, CLASS_SEED)
    facts = {"name": name, "seed": seed, "chosen": first.record.chosen, "types": len(first.record.clusters)}
    facts["chosen_later"] = [decision.record.chosen for decision in decisions[1:]]
    return facts | scores | {"seen": {policy: loops_until_seen(places[policy], classes) for policy in POLICIES}}


def loops_until_seen(
    first: Callable[[int], np.ndarray], classes: np.ndarray, times: int = SEEN, most: int = LONGEST
) -> int | None:
    """Number of points that a policy needs to meet each class at least `times` times; None if it needs more than `most`."""
    for count in range(times * CLASSES, most + 1):
        rows = first(count)
        if len(rows) < count:
            return None
        if np.bincount(classes[rows], minlength=CLASSES).min() >= times:
            return count
    return None


def all_places(
    data: RealLoops, decision: Decision, config: Config, count: int, seed: int
) -> dict[str, Callable[[int], np.ndarray]]:
    """Policy -> function of a number that returns its first points, as rows of pixels."""
    shape, settings = data.image.shape, config.recommend
    features, pixels = pixel_features(data.image), data.pixels
    keypoints = _rows(decision.arrays["points_rc"], shape)
    predictor = Predictor(features, pixels.astype(np.float64))

    def rng(name: str) -> np.random.Generator:
        return np.random.default_rng([seed, POLICIES.index(name)])

    ordered = {
        RANDOM: policies.random_places(shape, count, rng(RANDOM)),
        BLUE: policies.blue_noise_places(shape, count, rng(BLUE)),
        KMEANS: keypoints[policies.kmeans_places(features[keypoints], count, settings, rng(KMEANS))],
        GMM: keypoints[policies.gmm_places(features[keypoints, : policies.GMM_DIMS], count, settings, rng(GMM))],
        VAE: keypoints[vae_places(decision, config, count, rng(VAE))],
        AREA: _rows(by_area(data, decision, config), shape),
        AGENT: rows_of(decision, shape[1]),
        ANYWHERE: policies.informative_places(features, pixels, count, settings, rng(ANYWHERE)),
        ORACLE: oracle_places(predictor, data.loops, held_out(data), count, rng(ORACLE)),
    }
    grids = {GRID: lambda n: policies.grid_places(shape, n, rng(GRID))}
    return grids | {name: partial(_first, rows) for name, rows in ordered.items()}


def vae_places(decision: Decision, config: Config, count: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of key points: the paper's order for the VAE configuration that the search ranks first, with types by BIC."""
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
    """(row, col) of the points that the agent's policy "area" chooses from the same search."""
    arrays, settings = decision.arrays, config.recommend.model_copy(update={"policy": "area"})
    labels, distance = arrays["labels"].astype(np.int64), arrays["core_distance"]
    order = np.argsort(distance, kind="stable")
    core = [order[(labels[order] == k) & (arrays["core"][order] == 1)] for k in range(labels.max() + 1)]
    rows, points, z = np.empty(0, dtype=np.int64), np.empty((0, 2), dtype=np.int64), arrays["z"].astype(np.float64)
    pool = Pool(arrays["points_rc"].astype(np.int64), labels, distance, core, z, 9, rows, points)
    frame = data.scan().frame
    found = recommend(pool, frame, LIMITS, np.empty((0, 2)), settings, "area", np.random.default_rng(0))
    return np.array([[r.row, r.col] for r in found.requests])


def held_out(data: RealLoops) -> np.ndarray:
    """Rows of the held-out pixels, the same for every policy."""
    return np.random.default_rng(NAMES.index(data.name)).choice(data.image.size, min(HELD_OUT, data.image.size), replace=False)


def _first(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[:count]


def _rows(rc: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(rc[:, 0].astype(np.int64) * shape[1] + rc[:, 1])


def _scores(data: RealLoops, places: Mapping[str, Callable[[int], np.ndarray]], counts: Sequence[int]) -> dict[str, Any]:
    predictor = Predictor(pixel_features(data.image), data.pixels.astype(np.float64))
    all_held_out = held_out(data)
    scores: dict[str, Any] = {"r2": {}, "patch_only": {}, "parameters": {}, "dense": {}}
    for name, first in places.items():
        for count in counts:
            rows = first(count)
            others = np.setdiff1d(all_held_out, rows)
            for kind, patch_only in (("r2", False), ("patch_only", True)):
                error, variance = predictor.errors(rows, others, data.loops, patch_only=patch_only)
                scores[kind].setdefault(name, []).append(1 - float(error.sum() / variance.sum()))
            if count == JUDGED_AT:
                scores["parameters"][name] = float(predictor.r2(rows, others, data.parameters).mean())
    for name in DENSE_POLICIES:
        for count in DENSE:
            rows = places[name](count)
            error, variance = predictor.errors(rows, np.setdiff1d(all_held_out, rows), data.loops)
            scores["dense"].setdefault(name, []).append(1 - float(error.sum() / variance.sum()))
    return scores


if __name__ == "__main__":
    run(main)
