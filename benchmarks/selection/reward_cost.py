"""What do the rewards cost? CPU seconds of each on one latent set of 2,000 points in the plane, K = 1..10, on one core.

`python -m benchmarks.selection.reward_cost [--quick] [--seeds 0-2] --out DIR` scores synthetic clouds of four kinds, one random
draw for each seed. All mixture rewards can share one grid of mixtures, so "all rewards" is one call of `panel` and of the rewards
without a mixture. For comparison, the sum of calling each reward separately, which fits the grid each time, is also given.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness.commandline import Journal, parser, run
from benchmarks.harness.outcome import Outcome, write
from rewards.base import Representation
from rewards.registry import REWARDS

POINTS, WINDOW_PX, SIDE_PX = 2000, 9, 256
TOGETHER = ("panel", "reconstruction", "total_variance", "variance")
LIMIT_S = 3.0


def main() -> None:
    """Measure and write `rewards.json` and `rewards.md`."""
    arguments = parser(__doc__, "0-2").parse_args()
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    journal = Journal(arguments.out / "rewards.jsonl", {"seeds": list(seeds)})
    tasks = {f"{kind} {seed}": (cost, (kind, seed), {}) for kind in CLOUDS for seed in seeds}
    measured: dict[str, dict[str, float]] = journal.all_once(tasks, 1)
    write(outcome(measured), arguments.out, seeds)
    journal.finish()


def separated(rng: np.random.Generator) -> np.ndarray:
    """Six round, well separated clusters."""
    angle = rng.integers(6, size=POINTS) * np.pi / 3
    return 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * rng.standard_normal((POINTS, 2))


def overlapping(rng: np.random.Generator) -> np.ndarray:
    """Six elongated, overlapping clusters of different sizes."""
    cluster = rng.choice(6, size=POINTS, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    shapes, centres = 0.5 * rng.standard_normal((6, 2, 2)), rng.uniform(-1.5, 1.5, (6, 2))
    return np.einsum("nij,nj->ni", shapes[cluster], rng.standard_normal((POINTS, 2))) + centres[cluster]


def single(rng: np.random.Generator) -> np.ndarray:
    """One Gaussian."""
    return rng.standard_normal((POINTS, 2))


def bent(rng: np.random.Generator) -> np.ndarray:
    """Half a ring, on which mixtures converge slowly."""
    angle = rng.uniform(0, np.pi, POINTS)
    return 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + 0.2 * rng.standard_normal((POINTS, 2))


CLOUDS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "separated": separated,
    "overlapping": overlapping,
    "one Gaussian": single,
    "half ring": bent,
}


def cloud(kind: str, seed: int) -> Representation:
    """A representation with `POINTS` latents of the given kind, and key points scattered over a scan."""
    rng = np.random.default_rng(seed)
    z = CLOUDS[kind](rng)
    rotated, mirrored = (z + 0.1 * rng.standard_normal(z.shape) for _ in range(2))
    points = rng.integers(0, SIDE_PX, (POINTS, 2))
    return Representation(z, np.full_like(z, 0.1), rotated, mirrored, points, WINDOW_PX, "r", seed, -0.55, -0.5)


def cost(kind: str, seed: int) -> dict[str, float]:
    """CPU seconds of every built-in reward with its default options."""
    subject, small = cloud(kind, seed), cloud("separated", 0).take(np.arange(50))
    REWARDS["bgmm"](small, rng=np.random.default_rng(0), settings={"steps": 1})  # imports Pyro
    taken = {}
    for name, reward in REWARDS.items():
        started = time.process_time()
        reward(subject, rng=np.random.default_rng(seed))
        taken[name] = time.process_time() - started
    return taken


def outcome(measured: dict[str, dict[str, float]]) -> Outcome:
    """Figures and table; the most expensive cloud counts."""
    together = {unit: sum(taken[name] for name in TOGETHER) for unit, taken in measured.items()}
    singly = {unit: sum(s for name, s in taken.items() if name not in ("bgmm", "panel")) for unit, taken in measured.items()}
    figures: dict[str, float | None] = {
        "all_rewards_s": max(together.values()),
        "all_rewards_singly_s": max(singly.values()),
        "bgmm_s": max(taken["bgmm"] for taken in measured.values()),
    }
    rows: list[dict[str, Any]] = [
        {"reward": name} | {unit: round(taken[name], 3) for unit, taken in measured.items()} for name in REWARDS
    ]
    rows.append({"reward": "all together"} | {unit: round(s, 3) for unit, s in together.items()})
    rows.append({"reward": "all singly"} | {unit: round(s, 3) for unit, s in singly.items()})
    notes = [
        f"{POINTS} points in the plane, K = 1..10, 10 restarts; CPU seconds of one thread; the most expensive cloud counts.",
        f"all_rewards_s is {' + '.join(TOGETHER)}: every metric of every reward but bgmm. The target is at most {LIMIT_S:g} s.",
        "all_rewards_singly_s calls each short name separately, so each mixture criterion fits its own grid.",
        "bgmm_s is 500 steps of SVI in Pyro, without importing it.",
    ]
    return Outcome("rewards", "What do the rewards cost?", figures, measured, {"CPU seconds": rows}, notes)


if __name__ == "__main__":
    run(main)
