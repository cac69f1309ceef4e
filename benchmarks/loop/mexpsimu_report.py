"""Report of `benchmarks.loop.mexpsimu`: policies, figures with intervals, tables and notes."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from benchmarks.harness.outcome import Outcome
from benchmarks.harness.real_loops import NAMES
from benchmarks.loop import policies

COUNTS = (10, 20, 50, 100, 200)
QUICK_REPEATS, QUICK_COUNTS = 4, (20, 50, 100)
JUDGED_AT, LEVEL_AT, LONGEST = 50, 100, max(COUNTS)
DENSE = tuple(range(30, 101, 5))
CLASSES, SEEN = 6, 3
BOOTSTRAPS = 5000
RANDOM, GRID, BLUE, KMEANS, GMM, VAE = "random", "grid", "blue noise", "k-means cores", "PCA + GMM cores", "VAE cores, equal"
AREA, AGENT, FEEDBACK, ANYWHERE = "area-proportional", "the agent, one order", "the agent, with results", "IVR anywhere"
ORACLE, CEILING = "oracle: greedy, knows all loops", "ceiling: forest on the patch, knows all other blocks"
BASELINES = (RANDOM, GRID, BLUE, KMEANS, GMM, VAE, AREA)
DENSE_POLICIES = (AGENT, FEEDBACK)
POLICIES = (*BASELINES, AGENT, FEEDBACK, ANYWHERE, ORACLE)
NOTES = (
    (
        "R² is the share of the variance of held-out loops that a Gaussian process on patch and position predicts, mean of the "
        "three films. Also given are the mean R² of loop parameters (principal components, area, span, switching biases), and "
        "the R² from the patch alone."
    ),
    (
        "The images are 65 and 100 px wide, too small for the defaults. Key points are every second pixel at least 3 px from the "
        "border; windows are 5 and 7; VAEs are v and r with two seeds and 400 steps. Points need no spacing, since every loop is "
        "already recorded. The agent, the area-proportional and the core policies choose among the key points; random, grid, "
        "blue noise, IVR anywhere and the oracle may choose any pixel."
    ),
    (
        f"k-means: {policies.KMEANS_TYPES} types of 9 px patches. PCA + GMM: {policies.GMM_DIMS} components, the mixture with "
        "the smallest BIC. VAE cores, equal: the paper's order, on the best VAE of the agent's own search."
    ),
    (
        "The agent, one order: decided from the scan alone. With results: a new scan and decision after 20 and after 50 loops, "
        "as in the service. Parameters of the loops so far (area, span, mean, switching biases) then influence the choice of the "
        "representation, and the measured points influence the order."
    ),
    (
        "Oracle: each next point is the one of 1,000 whose loop reduces the error of 1,000 held-out loops most; it is greedy, so "
        "not a strict bound. Ceiling: a random forest on the 9 px patch alone, trained on the loops of all other blocks (5 x 5 "
        "blocks in five folds), independent of the number of loops; it does not use the position."
    ),
    (
        f"Classes: k-means of all loops into {CLASSES} classes with seed 0. The table gives the number of loops until each class "
        f"was seen {SEEN} times; if {LONGEST} are too few, it is {LONGEST}. For each number of points there is another grid; the "
        "smallest sufficient one counts."
    ),
    (
        "Intervals (95 %) are bootstrapped over repeats and paired; they do not cover samples other than these three. If the "
        "search finds one type only, the agent's orders are similar and the intervals reflect little more than the shift of the "
        "grid."
    ),
    "The parameters of the order were chosen on these three films with other seeds (decision record 0015).",
)
Repeats = Sequence[Mapping[str, Any]]


def report(
    repeats: Repeats, ceilings: Sequence[Mapping[str, Any]], counts: Sequence[int], *, quick: bool, config: Mapping[str, Any]
) -> Outcome:
    """Figures, intervals and tables from the finished repeats and the ceilings of the films."""
    at = counts.index(JUDGED_AT)
    mean = {policy: float(_pooled(repeats, policy, at).mean()) for policy in POLICIES}
    best = max(BASELINES, key=lambda policy: mean[policy])
    figures: dict[str, float | None] = {
        "r2_50_agent": mean[AGENT],
        "r2_50_agent_feedback": mean[FEEDBACK],
        "r2_50_random": mean[RANDOM],
        "r2_50_grid": mean[GRID],
        "r2_50_best_baseline": mean[best],
        "r2_50_oracle": mean[ORACLE],
        "r2_ceiling_patch": float(np.mean([one["r2"] for one in ceilings])),
    }
    missing: dict[str, str] = {}
    for policy, key in ((AGENT, "agent"), (FEEDBACK, "agent_feedback")):
        gain = difference(_pooled(repeats, policy, at), _pooled(repeats, GRID, at))
        ratio = ratio_of_means(seen(repeats, policy), seen(repeats, RANDOM))
        loops = loops_to_level(repeats, policy, counts)
        for name, values in (
            (f"r2_50_{key}_minus_grid", gain),
            (f"classes_{key}_over_random", ratio),
            (f"{key}_loops_to_random_100", loops),
        ):
            for suffix, value in zip(("", "_low", "_high"), values, strict=True):
                figures[name + suffix] = value if np.isfinite(value) else None
                if not np.isfinite(value):
                    missing[name + suffix] = f"random's R² after {LEVEL_AT} loops was not reached within {DENSE[-1]}"
    types = ", ".join(f"{k} in {n} of {len(repeats)}" for k, n in sorted(Counter(one["types"] for one in repeats).items()))
    notes = [f"Best baseline after {JUDGED_AT} loops: {best}.", f"Types found by the agent's search: {types} repeats.", *NOTES]
    if quick:
        notes.append(f"Quick: {QUICK_REPEATS} repeats, {', '.join(map(str, QUICK_COUNTS))} loops only.")
    return Outcome(
        name="mexpsimu",
        title="Does the agent's order predict real loops better than a grid?",
        figures=figures,
        details={
            "quick": quick,
            "config": dict(config),
            "counts": list(counts),
            "ceilings": list(ceilings),
            "repeats": list(repeats),
        },
        tables={
            "R² of held-out loops, patch and position": _by_count(repeats, ceilings, counts, "r2"),
            f"After {JUDGED_AT} loops": [*(_after(repeats, policy, at) for policy in POLICIES), _ceiling(ceilings)],
            "Loops until every class was seen": [_classes(repeats, policy) for policy in POLICIES],
            "R² of held-out loops, patch alone": _by_count(repeats, ceilings, counts, "patch_only"),
        },
        notes=notes,
        missing=missing,
    )


def difference(ours: Float[np.ndarray, "sets repeats"], theirs: Float[np.ndarray, "sets repeats"]) -> tuple[float, float, float]:
    """Mean of the paired differences, and its bootstrapped 95 % interval."""
    differences = ours - theirs
    means = _resampled(differences.shape, lambda rows: float(np.take_along_axis(differences, rows, axis=1).mean()))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def ratio_of_means(
    ours: Float[np.ndarray, "sets repeats"], theirs: Float[np.ndarray, "sets repeats"]
) -> tuple[float, float, float]:
    """Ratio of the overall means, and its paired bootstrapped 95 % interval."""

    def ratio(rows: np.ndarray) -> float:
        return float(np.take_along_axis(ours, rows, axis=1).mean() / np.take_along_axis(theirs, rows, axis=1).mean())

    low, high = np.quantile(_resampled(ours.shape, ratio), [0.025, 0.975])
    return float(ours.mean() / theirs.mean()), float(low), float(high)


def loops_to_level(repeats: Repeats, policy: str, counts: Sequence[int]) -> tuple[float, float, float]:
    """Loops after which `policy` has the R² of random after `LEVEL_AT`, with 95 % interval; infinite if not reached."""
    curves = np.array([[one["dense"][policy] for one in repeats if one["name"] == name] for name in NAMES])
    level = _pooled(repeats, RANDOM, counts.index(LEVEL_AT))

    def reached(rows: np.ndarray) -> float:
        mean = np.take_along_axis(curves, rows[:, :, None], axis=1).mean(axis=(0, 1))
        return crossing(mean, float(np.take_along_axis(level, rows, axis=1).mean()))

    # Not interpolated: an infinite value must not make its finite neighbour infinite.
    low, high = np.quantile(_resampled(level.shape, reached), [0.025, 0.975], method="nearest")
    return reached(np.tile(np.arange(level.shape[1]), (len(NAMES), 1))), float(low), float(high)


def crossing(curve: Float[np.ndarray, " dense"], level: float) -> float:
    """Number of loops at which the piecewise linear curve over `DENSE` first reaches `level`; `DENSE[0]` if it starts above."""
    above = np.flatnonzero(curve >= level)
    if not len(above):
        return float("inf")
    i = int(above[0])
    if i == 0:
        return float(DENSE[0])
    share = (level - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(DENSE[i - 1] + share * (DENSE[i] - DENSE[i - 1]))


def seen(repeats: Repeats, policy: str) -> Float[np.ndarray, "sets repeats"]:
    """Loops until every class was seen; `LONGEST` if it was not reached."""
    counted = [[one["seen"][policy] for one in repeats if one["name"] == name] for name in NAMES]
    return np.array([[LONGEST if n is None else n for n in of_set] for of_set in counted], dtype=np.float64)


def _resampled(shape: tuple[int, ...], statistic: Callable[[np.ndarray], float]) -> Float[np.ndarray, " b"]:
    """The statistic for repeats resampled with replacement, separately for each film."""
    rng = np.random.default_rng(0)
    return np.array([statistic(rng.integers(shape[1], size=shape)) for _ in range(BOOTSTRAPS)])


def _pooled(repeats: Repeats, policy: str, at: int, kind: str = "r2") -> Float[np.ndarray, "sets repeats"]:
    return np.array([[one[kind][policy][at] for one in repeats if one["name"] == name] for name in NAMES])


def _by_count(repeats: Repeats, ceilings: Sequence[Mapping[str, Any]], counts: Sequence[int], kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"policy": policy} | {f"{n} loops": float(_pooled(repeats, policy, i, kind).mean()) for i, n in enumerate(counts)}
        for policy in POLICIES
    ]
    mean_ceiling = float(np.mean([one["r2"] for one in ceilings]))
    return [*rows, {"policy": CEILING} | {f"{n} loops": mean_ceiling for n in counts}]


def _after(repeats: Repeats, policy: str, at: int) -> dict[str, Any]:
    values = _pooled(repeats, policy, at)
    gain, low, high = difference(values, _pooled(repeats, GRID, at))
    row: dict[str, Any] = {"policy": policy} | dict(zip(NAMES, map(float, values.mean(axis=1)), strict=True))
    parameters = np.mean([one["parameters"][policy] for one in repeats])
    return row | {"above the grid": f"{gain:+.3f} ({low:+.3f} to {high:+.3f})", "loop parameters": float(parameters)}


def _ceiling(ceilings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"policy": CEILING} | {one["name"]: float(one["r2"]) for one in ceilings}
    return row | {"above the grid": "", "loop parameters": float(np.mean([one["parameters"] for one in ceilings]))}


def _classes(repeats: Repeats, policy: str) -> dict[str, Any]:
    counted = seen(repeats, policy)
    ratio, low, high = ratio_of_means(counted, seen(repeats, RANDOM))
    too_few = sum(one["seen"][policy] is None for one in repeats)
    row: dict[str, Any] = {"policy": policy} | dict(zip(NAMES, map(float, counted.mean(axis=1)), strict=True))
    return row | {
        "over random": f"{ratio:.2f} ({low:.2f} to {high:.2f})",
        f"not within {LONGEST}": f"{too_few} of {len(repeats)}",
    }
