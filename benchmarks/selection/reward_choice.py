"""Which reward picks the representation with the true types? Choice of each reward against the truth on simulated surfaces.

`python -m benchmarks.selection.reward_choice [--quick] [--seeds 0-4] --out DIR` scans one simulated surface for each seed,
trains all candidates once, scores them by each reward under the same decision rule, and compares the clusters of each choice with
the true wall types (adjusted Rand index over all key points). Development seeds are 0-99.
"""

import argparse
import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.progress import track
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

from agent.config.model import Config
from agent.schema.decision import versions
from agent.schema.model_kinds import GEOMETRIC_LATENTS
from agent.search.candidates import Candidate
from agent.search.prepared_scan import PreparedScan, prepare_scan
from agent.search.ranking import choose, compare
from agent.search.search import SearchResult, search
from agent.workers.base import Workers
from agent.workers.factory import workers_for
from rewards.base import Score
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D

REWARDS: dict[str, Callable[[Score], float]] = {
    "spatial": lambda s: s.value,
    "NMI_rot": lambda s: s.metrics["NMI_rot"],
    "rotation_consistency": lambda s: s.metrics["rotation_consistency"],
    "icl_gain": lambda s: s.metrics["icl_gain"],
    "bic_gain": lambda s: s.metrics["bic_gain"],
    "icl (paper)": lambda s: -s.metrics["icl"],
    "bic (paper)": lambda s: -s.metrics["bic"],
    "reconstruction (eq. 1)": lambda s: s.metrics["reconstruction"],
}


def main() -> None:
    """Run the study and write `reward_choice.json` and `reward_choice.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the JSON and Markdown files")
    parser.add_argument("--seeds", default="0-4", help="surfaces, as FIRST-LAST")
    parser.add_argument("--quick", action="store_true", help="two surfaces, fewer windows")
    parser.add_argument("--channels", default=Config().scan.channels, help="amplitude, vector or height")
    parser.add_argument("--families", default=",".join(Config().search.families), help="families, separated by commas")
    parser.add_argument("--relative-density", type=float, help="threshold of the density filter")
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.seeds.split("-"))
    seeds = range(first, last + 1)[: 2 if arguments.quick else None]
    windows = {"windows_px": [11, 21]} if arguments.quick else {}
    config = Config.model_validate(
        {
            "scan": {"channels": arguments.channels},
            "search": {"families": arguments.families.split(",")} | windows,
            "filter": {} if arguments.relative_density is None else {"relative_density": arguments.relative_density},
        }
    )
    with workers_for(config.search.workers) as workers:
        worlds = [world(seed, config, workers) for seed in track(list(seeds), "surfaces")]
    write(arguments.out, config, list(seeds), worlds)


def world(seed: int, config: Config, workers: Workers) -> dict[str, dict[str, float]]:
    """For one surface, the ARI of each reward's choice, and the best and the mean of all candidates."""
    prepared, truth = scan_surface(seed, config)
    found = search(prepared, config, workers)
    ari = {c.candidate_id: agreement(c, truth) for c in found.candidates if c.score}
    values = np.array(list(ari.values()))
    out = {"best candidate": {"ari": float(values.max())}, "mean candidate": {"ari": float(values.mean())}}
    for family in dict.fromkeys(_family(c) for c in found.candidates):
        own = [ari[c.candidate_id] for c in found.candidates if c.score and _family(c) == family]
        if own:
            out[f"best of {family}"], out[f"mean of {family}"] = {"ari": max(own)}, {"ari": float(np.mean(own))}
    for name, rescored in with_each_reward(found):
        pick = choose(rescored, compare(rescored))
        assert pick is not None
        if name == "spatial":
            picked = {"surface": seed, "points": found.common_points, "pick": pick.candidate_id}
            print(json.dumps(picked | {k: round(v["ari"], 3) for k, v in out.items()}), flush=True)
        rewards = [c.score.value for c in rescored if c.score]
        rank = float(spearmanr(rewards, [ari[c.candidate_id] for c in rescored if c.score]).statistic)
        out[name] = {"ari": ari[pick.candidate_id], "rank_correlation": rank}
    return out


def _family(candidate: Candidate) -> str:
    return "vae" if candidate.spec.invariance in GEOMETRIC_LATENTS else candidate.spec.invariance


def scan_surface(seed: int, config: Config) -> tuple[PreparedScan, np.ndarray]:
    """Scan of the surface `seed`, prepared for a search, and the true wall type of each key point."""
    instrument = SimulatedMFP3D(MFP3DConfig(seed=seed), clock=SimulatedClock(None))
    recorded = instrument.scan()
    prepared = prepare_scan(recorded, config)
    (keypoints,) = prepared.keypoints.values()
    xy = recorded.frame.to_metres(keypoints.points_rc.astype(float))
    return prepared, np.asarray(instrument.surface.truth_at(instrument.true_position(xy)).wall)


def agreement(candidate: Candidate, truth: np.ndarray) -> float:
    """Adjusted Rand index of the clusters of a candidate and the true types."""
    assert candidate.score is not None
    assert candidate.score.mixture is not None
    return float(adjusted_rand_score(truth, candidate.score.mixture.labels(candidate.representation.z)))


def with_each_reward(found: SearchResult) -> Iterator[tuple[str, list[Candidate]]]:
    """Name of each reward, and the candidates scored by it; their mixtures remain those of the default reward."""
    for name, value in REWARDS.items():
        rescored = [replace(c, score=replace(c.score, value=value(c.score))) for c in found.candidates if c.score]
        yield name, [c for c in rescored if c.score and np.isfinite(c.score.value)]  # eq. 1 is not defined for all families


def write(directory: Path, config: Config, seeds: list[int], worlds: list[dict[str, dict[str, float]]]) -> None:
    """Write `reward_choice.json` and `reward_choice.md`."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = {name: [w[name] for w in worlds] for name in worlds[0]}
    figures = {f"ari {name}": float(np.mean([r["ari"] for r in row])) for name, row in rows.items()}
    record = {
        "figures": figures,
        "seeds": seeds,
        "worlds": worlds,
        "config": config.model_dump(mode="json"),
        "versions": versions(),
        "machine": {"cores": os.cpu_count(), "processor": platform.machine()},
    }
    (directory / "reward_choice.json").write_text(json.dumps(record, indent=2) + "\n")
    lines = [
        "# Which reward picks the representation that knows the types?",
        "",
        f"{len(worlds)} simulated surfaces, seeds {seeds[0]}-{seeds[-1]}.",
        "",
        "| pick of | ARI, mean | ARI of each surface | rank correlation with ARI, mean |",
        "|---|---|---|---|",
    ]
    for name, row in sorted(rows.items(), key=lambda item: -figures[f"ari {item[0]}"]):
        each = " ".join(f"{r['ari']:.2f}" for r in row)
        ranks = [r["rank_correlation"] for r in row if "rank_correlation" in r]
        lines.append(f"| {name} | {figures[f'ari {name}']:.3f} | {each} | {f'{np.mean(ranks):.2f}' if ranks else ''} |")
    (directory / "reward_choice.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
