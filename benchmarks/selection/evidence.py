"""How many results distinguish a good partition from a bad one? Leave-one-out R² against the truth on simulated surfaces.

`python -m benchmarks.selection.evidence [--quick] [--seeds 40-45] --out DIR` scans one simulated surface for each seed,
represents it by plain families, and records a loop at each key point. After n loops at random key points, it compares the R² of
all candidates with η², the share of the variance of *all* loops that their clusters explain: R² alone, and combined with the
reward.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.progress import track
from scipy.stats import spearmanr

from agent.config.model import Config
from agent.search.prepared_scan import prepare_scan
from agent.search.search import search
from agent.workers.factory import workers_for
from rewards.evidence import EvidenceSettings, blended, evidence_weight, leave_one_out_r2, normal_scores
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.errors import FailedLoopError
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.spectroscopy import loop_parameters, record_loop

COUNTS = (20, 50, 100, 200)
CONFIG = Config.model_validate(
    {
        "search": {"families": ["polar", "pca", "kmeans"], "windows_px": [11, 21], "seeds": 2, "workers": 0},
        "reward_options": {"restarts": 3},
    }
)


def main() -> None:
    """Run the study and write `evidence.json` and `evidence.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the JSON and Markdown files")
    parser.add_argument("--seeds", default="40-45", help="surfaces, as FIRST-LAST")
    parser.add_argument("--quick", action="store_true", help="one surface, few draws")
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.seeds.split("-"))
    seeds = range(first, last + 1)[: 1 if arguments.quick else None]
    worlds = [world(seed, draws=2 if arguments.quick else 20) for seed in track(list(seeds), "surfaces")]
    rows = {n: {key: float(np.mean([w[n][key] for w in worlds])) for key in worlds[0][n]} for n in COUNTS}
    write(arguments.out, list(seeds), rows)


def world(seed: int, draws: int) -> dict[int, dict[str, float]]:
    """For each number of loops, mean figures over random draws of the measured points."""
    walls, memberships, rewards, loops = represent_surface(seed)
    rows = np.flatnonzero(np.isfinite(loops).all(axis=1))
    scores = normal_scores(loops[rows])
    eta2 = np.array([explained(tau[rows].argmax(axis=1), scores) for tau in memberships])
    rng = np.random.default_rng([seed, 1])
    out: dict[int, dict[str, float]] = {}
    for n in COUNTS:
        weight, found = evidence_weight(n, EvidenceSettings()), []
        for _ in range(draws):
            at = rng.choice(rows, n, replace=False)
            r2 = np.array([leave_one_out_r2(tau[at], loops[at]) for tau in memberships])
            worth = blended(rewards, r2, weight)
            found.append(
                {
                    "true types, R2": leave_one_out_r2(walls[at], loops[at]),
                    "shuffled types, R2": leave_one_out_r2(rng.permutation(walls[at]), loops[at]),
                    "rank correlation of R2": float(spearmanr(r2, eta2).statistic),
                    "rank correlation of the reward": float(spearmanr(rewards, eta2).statistic),
                    "rank correlation of both": float(spearmanr(worth, eta2).statistic),
                    "pick of both, share of the best": float(eta2[worth.argmax()] / eta2.max()),
                }
            )
        out[n] = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    return out


def represent_surface(seed: int) -> tuple[np.ndarray, list[np.ndarray], np.ndarray, np.ndarray]:
    """For all key points: true wall types, assignment probabilities and reward of each candidate, and parameters of the loops.

    Loops are recorded without writing spots on the surface; failed ones are rows of NaN.
    """
    instrument = SimulatedMFP3D(MFP3DConfig(seed=seed), clock=SimulatedClock(None))
    scan = instrument.scan()
    prepared = prepare_scan(scan, CONFIG)
    (keypoints,) = prepared.keypoints.values()
    xy = instrument.true_position(scan.frame.to_metres(keypoints.points_rc.astype(float)))
    rng, loops = np.random.default_rng([seed, 0]), []
    for point in xy:
        loop = record_loop(instrument.surface.truth_at(point[None]), instrument.config.spectroscopy, rng)
        try:
            loops.append(list(loop_parameters(loop).values()))
        except FailedLoopError:
            loops.append([])
    width = max(map(len, loops))
    values = np.array([row or [np.nan] * width for row in loops])
    with workers_for(0) as workers:
        found = search(prepared, CONFIG, workers)
    scored = [(c.representation, c.score) for c in found.candidates if c.score]
    memberships = [s.mixture.responsibilities(r.z) for r, s in scored if s.mixture]
    return np.asarray(instrument.surface.truth_at(xy).wall), memberships, np.array([s.value for _, s in scored]), values


def explained(labels: np.ndarray, scores: np.ndarray) -> float:
    """η²: share of the variance that lies between clusters."""
    within = sum(((scores[labels == k] - scores[labels == k].mean(axis=0)) ** 2).sum() for k in np.unique(labels))
    return float(1 - within / ((scores - scores.mean(axis=0)) ** 2).sum())


def write(directory: Path, seeds: list[int], rows: dict[int, dict[str, float]]) -> None:
    """Write `evidence.json` and `evidence.md`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "evidence.json").write_text(json.dumps({"seeds": seeds, "loops": rows}, indent=2) + "\n")
    keys = list(rows[COUNTS[0]])
    source = f"Simulated surfaces, seeds {seeds[0]}-{seeds[-1]}, loops at random key points."
    lines = ["# Measured results as evidence", "", source, ""]
    lines += ["| loops | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    lines += [f"| {n} | " + " | ".join(f"{row[key]:.3f}" for key in keys) + " |" for n, row in rows.items()]
    (directory / "evidence.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
