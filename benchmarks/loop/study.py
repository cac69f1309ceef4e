"""How many loops does the agent's choice of targets save?

`python -m benchmarks.loop [--quick] [--plain] [--seeds 100-119] --out DIR` measures hysteresis loops on simulated, drifting
worlds in the order of each policy, with 12 s of simulated time for each loop. N5 is the number of loops after which every wall
type has been hit five times, each within 15 nm of such a wall at the true, drifted position. R² is how well the loops so far
predict the effect of the microstructure on the coercive biases anywhere in the frame. All policies start on the same world with
the same first scan. Seeds 0-99 are for development. `--plain` searches only the families that need no training, in a third of
the time: on the graded worlds of `benchmarks.recovery`, the default search always chose one of them.

Each finished world is kept in `DIR/loop.jsonl` until the run is complete; the same command continues from there.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agent.config.model import Config
from benchmarks.harness.agreement import bootstrap_interval
from benchmarks.harness.commandline import Journal, Task, parser, run
from benchmarks.harness.outcome import Outcome, write
from benchmarks.loop.microscope import HITS, NEAR_M, Bench, Sample, loops_needed
from benchmarks.loop.orders import AGENT, BATCH, GRID, KMEANS, ORACLE, POLICIES, RANDOM, Policy, decide, policies
from benchmarks.loop.value import Judge
from simulators.sample.domains import WALL_TYPES, WallType

TIERS = ("easy", "medium")
COUNTS = (20, 50, 100, 200)
CAP = 300
REFUSALS = 20_000  # consecutive refusals after which the frame counts as full
QUICK_WORLDS, QUICK_SEARCH = 2, {"windows_px": [15], "families": ["polar"]}
_FIRST = 100
_PROCESSES = 2
_RESAMPLES = 10_000
_KEYS = {"": AGENT, "random_": RANDOM, "oracle_": ORACLE, "grid_": GRID, "kmeans_": KMEANS}
PLAIN = ["polar"]
ALONE = "The agent searched polar PCA only, in all windows, without VAEs."
REDUCED = "two worlds per tier, searches of polar PCA with 15 px only"

NOTES = (
    (
        f"N5: loops until every wall type was hit {HITS} times. A hit lies within {NEAR_M * 1e9:.0f} nm of the nearest wall at "
        "the true position, and not on the spot of an earlier loop; the loop may fail. Types count if their walls have five "
        "points in the frame that are 100 nm apart."
    ),
    f"A run without N5 within {CAP} loops is censored: in medians it counts as more than {CAP}, in differences as {CAP}.",
    (
        f"Policies that use images record a new scan (639 s) after every {BATCH} loops; the others never do. Each decision of "
        "the agent costs 60 s. Its first search is the default one; later ones keep its kind of representation and window."
    ),
    (
        "R² refers to the expected coercive biases at 500 random pixels, without noise and minus their mean; mean of the two. "
        "Failed loops are not used. A run that ended earlier is evaluated with all its loops."
    ),
    "Intervals are percentile bootstraps over worlds; differences are paired.",
)


def main() -> None:
    """Run all worlds and write `loop.json` and `loop.md`."""
    options = parser(__doc__, "100-119")
    options.add_argument("--plain", action="store_true", help="search only the families that need no training")
    arguments = options.parse_args()
    seeds = arguments.seeds[:QUICK_WORLDS] if arguments.quick else arguments.seeds
    search = QUICK_SEARCH if arguments.quick else {"families": PLAIN} if arguments.plain else {}
    config = Config.model_validate({"search": {**search, "workers": 0}, "recommend": {"points": CAP}})
    journal = Journal(arguments.out / "loop.jsonl", {"quick": arguments.quick, "plain": arguments.plain, "seeds": list(seeds)})
    tasks: dict[str, Task] = {f"{tier}, world {seed}": (world, (tier, seed, config), {}) for seed in seeds for tier in TIERS}
    done = journal.all_once(tasks, _PROCESSES)
    worlds = {tier: [done[f"{tier}, world {seed}"] for seed in seeds] for tier in TIERS}
    write(report(worlds, quick=arguments.quick, plain=arguments.plain), arguments.out, seeds)
    journal.finish()


def world(tier: str, seed: int, config: Config, cap: int = CAP, counts: Sequence[int] = COUNTS) -> dict[str, Any]:
    """Run all policies on one world.

    Returns
    -------
    dict
        `types`, names of the types that can be hit; `outcome` and `chosen` of the first decision; `policies`, name -> result of
        `evaluate_policy`.
    """
    started = time.process_time()
    sample = Sample.grown(tier, seed, cap)
    bench = Bench(sample)
    first = decide(config, bench)
    searched_s = time.process_time() - started
    judge = Judge(sample, *bench.first)
    orders = policies(first, config, seed)
    return {
        "seed": seed,
        "types": [WallType(wall).name for wall in sample.types],
        "outcome": first.record.outcome,
        "chosen": first.record.chosen,
        "policies": {
            name: evaluate_policy(follow(order, sample, cap, max(counts)), judge, counts) for name, order in orders.items()
        },
        "searched_cpu_s": searched_s,
        "cpu_s": time.process_time() - started,
    }


def follow(order: Policy, sample: Sample, cap: int, least: int) -> Bench:
    """The bench after the loops of a policy: at least `least`, until every type was hit five times, and at most `cap`."""
    bench, refused = Bench(sample), 0
    for x_m, y_m in order(bench):
        refused = 0 if bench.measure(float(x_m), float(y_m)) else refused + 1
        done = len(bench.visits) >= least and bool((bench.hits() >= HITS).all())
        if done or len(bench.visits) >= cap or refused >= REFUSALS:
            break
    return bench


def evaluate_policy(bench: Bench, judge: Judge, counts: Sequence[int]) -> dict[str, Any]:
    """Figures of one policy after its loops.

    Returns
    -------
    dict
        `n5`, None if it was not reached; `hours` of simulated time until then, including scans and decisions; `loops`, their
        number; of the first 100 loops, `hits` on each type and `on_wall`, the share within 15 nm of any wall; `failed`, share of
        failed loops; `missing`, types not hit five times; `r2` after each of `counts` loops, or after all if there are fewer.
    """
    visits = bench.visits
    n5 = loops_needed([one.hit for one in visits], bench.sample.types)
    return {
        "n5": n5,
        "hours": visits[n5 - 1].at_s / 3600 if n5 else None,
        "loops": len(visits),
        "hits": dict(zip((WallType(wall).name for wall in bench.sample.types), bench.hits(_FIRST).tolist(), strict=True)),
        "on_wall": float(np.mean([one.hit != WallType.NONE for one in visits[:_FIRST]])) if visits else None,
        "failed": float(np.mean([not one.values for one in visits])) if visits else None,
        "missing": [WallType(wall).name for wall, n in zip(bench.sample.types, bench.hits(), strict=True) if n < HITS],
        "r2": [judge.r2(visits[:count]) for count in counts],
    }


def report(worlds: Mapping[str, Sequence[Mapping[str, Any]]], *, quick: bool, plain: bool = False) -> Outcome:
    """Figures, intervals and tables from the finished worlds."""
    figures: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    tables: dict[str, list[dict[str, Any]]] = {}
    for tier, own in worlds.items():
        found = tier_figures(tier, own)
        figures |= found
        missing |= {
            key: f"at least half of the runs did not reach it within {CAP} loops"
            for key, value in found.items()
            if value is None and key.startswith("n5_")
        }
        tables[f"{tier}: loops needed"] = [loops_row(name, own) for name in POLICIES]
        tables[f"{tier}: hits of the first {_FIRST} loops, mean"] = [hits_row(name, own) for name in POLICIES]
        tables[f"{tier}: R² of coercive biases"] = [prediction_row(name, own) for name in POLICIES]
        tables[f"{tier}: world by world, loops needed"] = [world_row(one) for one in own]
    return Outcome(
        name="loop",
        title="How many loops does the agent's choice of targets save?",
        figures=figures,
        details={
            "quick": quick,
            "plain": plain,
            "reduced": REDUCED if quick else "",
            "cap": CAP,
            "counts": COUNTS,
            "worlds": dict(worlds),
        },
        tables=tables,
        notes=[*NOTES, *([f"Quick: {REDUCED}."] if quick else []), *([ALONE] if plain else [])],
        missing=missing,
    )


def tier_figures(tier: str, worlds: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Medians of N5, paired savings of loops against random and grid, and mean R² of agent, random and grid."""
    figures: dict[str, float | None] = {}
    for key, name in _KEYS.items():
        figures[f"n5_{key}{tier}"] = median(_n5(name, worlds))
    for key, rival in (("random", RANDOM), ("grid", GRID)):
        saved = _capped(rival, worlds) - _capped(AGENT, worlds)
        low, high = bootstrap_interval(saved.tolist())
        name = f"loops_saved_over_{key}_{tier}"
        figures |= {name: float(saved.mean()), f"{name}_low": low, f"{name}_high": high}
    for at, count in enumerate(COUNTS):
        for key in ("", "random_", "grid_"):
            figures[f"r2_{count}_{key}{tier}"] = float(np.mean([one["policies"][_KEYS[key]]["r2"][at] for one in worlds]))
    return figures


def median(n5: np.ndarray) -> float | None:
    """Median; None if it is censored."""
    value = float(np.median(n5))
    return value if np.isfinite(value) else None


def median_interval(n5: np.ndarray) -> str:
    """Bootstrapped 95 % interval of the median over worlds."""
    drawn = n5[np.random.default_rng(0).integers(len(n5), size=(_RESAMPLES, len(n5)))]
    ends = np.quantile(np.median(drawn, axis=1), [0.025, 0.975], method="nearest")
    return " - ".join(f"{end:.0f}" if np.isfinite(end) else f"> {CAP}" for end in ends)


def loops_row(name: str, worlds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Table row of a policy with the number of loops that it needs."""
    runs = [one["policies"][name] for one in worlds]
    saved = _capped(RANDOM, worlds) - _capped(name, worlds)
    low, high = bootstrap_interval(saved.tolist())
    middle = median(_n5(name, worlds))
    hours = median(np.array([run["hours"] or np.inf for run in runs]))
    short = [wall for run in runs for wall in run["missing"]]
    return {
        "policy": name,
        "N5, median": f"> {CAP}" if middle is None else f"{middle:.0f}",
        "95 % interval": median_interval(_n5(name, worlds)),
        "not reached": sum(run["n5"] is None for run in runs),
        "hours, median": hours,
        "loops saved over random": f"{saved.mean():+.0f} ({low:+.0f} to {high:+.0f})",
        "within 15 nm of a wall": float(np.mean([run["on_wall"] or 0.0 for run in runs])),
        "types missing": ", ".join(f"{wall} {short.count(wall)}" for wall in dict.fromkeys(short)),
    }


def hits_row(name: str, worlds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Table row of a policy with its hits; a type that a world lacks counts as not hit."""
    runs = [one["policies"][name]["hits"] for one in worlds]
    walls = [WallType(wall).name for wall in WALL_TYPES]
    return {"policy": name} | {wall: float(np.mean([run.get(wall, 0) for run in runs])) for wall in walls}


def prediction_row(name: str, worlds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Table row of a policy with its mean R²."""
    row: dict[str, Any] = {"policy": name}
    for at, count in enumerate(COUNTS):
        values = [one["policies"][name]["r2"][at] for one in worlds]
        low, high = bootstrap_interval(values)
        row[f"{count} loops"] = f"{np.mean(values):.3f} ({low:.3f} to {high:.3f})"
    return row


def world_row(one: Mapping[str, Any]) -> dict[str, Any]:
    """Table row of a world."""
    runs = one["policies"]
    counts = {name: runs[name]["n5"] or f"> {runs[name]['loops']}" for name in POLICIES}
    return {"seed": one["seed"], "types": len(one["types"]), "chosen": one["chosen"], **counts, "CPU s": one["cpu_s"]}


def _n5(name: str, worlds: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([one["policies"][name]["n5"] or np.inf for one in worlds])


def _capped(name: str, worlds: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.asarray(np.minimum(_n5(name, worlds), CAP))


if __name__ == "__main__":
    run(main)
