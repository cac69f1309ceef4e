"""Does the fast search choose what an exhaustive one would? And does it reject scans without structure?

`python -m benchmarks.selection [--quick] [--seeds 100-109] --out DIR` repeats the default search on one scan with other seeds,
and tests whether its choice lies in the tie set of a reference search: the same candidates with more models of each and long
training. For comparison, the rule of the paper is applied: the largest reward among the models of the first seed. Both
comparisons are repeated with VAEs alone. Then the default search runs on scans without structure, which it should reject.

Each finished search is kept in `DIR/selection.jsonl` until the run is complete; the same command continues from there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agent.config.model import Config
from benchmarks.harness import engine
from benchmarks.harness.commandline import Journal, parser, run
from benchmarks.harness.outcome import Outcome, share_interval, write
from benchmarks.harness.scans import Material, material, structureless

REJECTED = ("one_type_only", "not_resolvable")
OF_RERUNS, OF_STRUCTURELESS = 10, 20


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Parameters
    ----------
    reference_seeds
        Seed of each reference search (`config.seed`).
    reference_models
        Number of models of each configuration that a reference search trains.
    reference_epochs
        Smallest number of epochs for which a reference model is trained.
    candidates
        Arguments of `engine.default_config` by which the searches differ from the default one.
    structureless_candidates
        The same for searches on scans without structure.
    structureless_seeds
        Number of scans of each kind.
    """

    reference_seeds: tuple[int, ...]
    reference_models: int
    reference_epochs: float
    candidates: Mapping[str, Any]
    structureless_candidates: Mapping[str, Any]
    structureless_seeds: int


FULL = Plan((1, 2), 3, 1000, {}, {}, 5)
QUICK = Plan((1,), 3, 0, {"windows_px": (7, 11), "invariances": ("v", "r")}, {"windows_px": (9,), "invariances": ("v", "r")}, 1)
REDUCED = (
    "windows 7 and 11 (9 without structure), VAEs without invariance and with rotation only; a reference of three models and ten "
    "times the default steps; three reruns, one scan without structure of each kind; counts are scaled to 10 and 20"
)
QUICK_RERUNS = 3
LEAST_TIMES_THE_STEPS = 10


def main() -> None:
    """Run all searches and write `selection.json` and `selection.md`."""
    arguments = parser(__doc__, "100-109").parse_args()
    plan = QUICK if arguments.quick else FULL
    seeds = arguments.seeds[:QUICK_RERUNS] if arguments.quick else arguments.seeds
    data = material(arguments.scan)
    question = {"quick": arguments.quick, "seeds": list(seeds), "source": data.source}
    journal = Journal(arguments.out / "selection.jsonl", question)
    write(measure(plan, data, seeds, journal, quick=arguments.quick), arguments.out, seeds)
    journal.finish()


def measure(plan: Plan, data: Material, seeds: Sequence[int], journal: Journal, *, quick: bool) -> Outcome:
    """Run all searches, the cheap ones first, and return the report."""
    resumed = journal.resumed
    config = engine.default_config(**plan.candidates)
    points = len(engine.prepare(data.scan, config).points_rc)
    steps = reference_steps(config, points, plan.reference_epochs)
    reruns = [
        journal.once(
            f"fast search, seed {seed}",
            lambda seed=seed: engine.summary(data.scan, engine.default_config(seed=seed, **plan.candidates)),
        )
        for seed in seeds
    ]
    rejected = [
        journal.once(
            f"without structure: {kind}, seed {seed}",
            lambda make=make, seed=seed: engine.summary(
                make(seed), engine.without_quality_gate(engine.default_config(seed=seed, **plan.structureless_candidates))
            ),
        )
        | {"kind": kind, "seed": seed}
        for kind, make in structureless(data.scan).items()
        for seed in range(1, plan.structureless_seeds + 1)
    ]
    reference = [
        journal.once(
            f"reference of {steps} steps, seed {seed}",
            lambda seed=seed: engine.summary(
                data.scan, engine.default_config(seed=seed, seeds=plan.reference_models, steps=steps, **plan.candidates)
            ),
        )
        for seed in plan.reference_seeds
    ]
    budget = {
        "points": points,
        "steps": steps,
        "epochs": steps * config.train.batch_size / fitted(config, points),
        "models": plan.reference_models * len(plan.reference_seeds),
        "fast_steps": config.train.steps,
    }
    return report(reference, reruns, rejected, budget, data.source, quick=quick, resumed=resumed)


def fitted(config: Config, points: int) -> int:
    """Number of patches used for training, out of `points`."""
    return points - max(1, round(config.train.held_out * points))


def reference_steps(config: Config, points: int, epochs: float) -> int:
    """Number of steps for at least `epochs` epochs, and at least ten times the default."""
    return max(
        LEAST_TIMES_THE_STEPS * config.train.steps, int(np.ceil(epochs * fitted(config, points) / config.train.batch_size))
    )


def report(
    reference: Sequence[Mapping[str, Any]],
    reruns: Sequence[Mapping[str, Any]],
    rejected: Sequence[Mapping[str, Any]],
    budget: Mapping[str, float],
    source: str,
    *,
    quick: bool,
    resumed: Sequence[str] = (),
) -> Outcome:
    """Figures, intervals and tables from the finished searches."""
    figures: dict[str, float | None] = {}
    counts: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    ties = {vae_only: engine.tie_set(reference, vae_only=vae_only) for vae_only in (False, True)}
    for vae_only, suffix in ((False, ""), (True, "_vae")):
        fast = [engine.choice(one, vae_only=vae_only) for one in reruns]
        single = [engine.single_seed_choice(one, vae_only=vae_only) for one in reruns]
        for key, picks in (("in_tie_set_of_10", fast), ("single_seed_in_tie_set_of_10", single)):
            hits = agreement(picks, ties[vae_only])
            figures[key + suffix] = OF_RERUNS * hits / len(picks)
            counts[key + suffix] = _count(hits, len(picks))
            rows.append(
                {
                    "candidates": "VAEs alone" if vae_only else "default",
                    "rule": "single seed, largest reward" if key.startswith("single") else "the search",
                    "in the tie set": f"{hits} of {len(picks)}",
                    "95 % interval": "{:.2f}-{:.2f}".format(*share_interval(hits, len(picks))),
                    "choices": ", ".join(f"{name} x{n}" for name, n in Counter(picks).most_common()),
                    "different choices": len(set(picks)),
                }
            )
    hits = sum(one["outcome"] in REJECTED for one in rejected)
    figures["structureless_rejected_of_20"] = OF_STRUCTURELESS * hits / len(rejected)
    counts["structureless_rejected_of_20"] = _count(hits, len(rejected))
    kinds = dict.fromkeys(one["kind"] for one in rejected)
    rejections = [_rejections(kind, [one for one in rejected if one["kind"] == kind]) for kind in kinds]
    notes = [
        f"{source}, {budget['points']:.0f} key points; default search of {budget['fast_steps']:.0f} steps.",
        (
            f"Reference: {budget['models']:.0f} models of each configuration, {budget['steps']:.0f} steps "
            f"= {budget['epochs']:.0f} epochs."
        ),
        f"Its tie set: {', '.join(ties[False])}; of VAEs alone: {', '.join(ties[True])}.",
        "VAEs alone: the VAEs of the same searches under the same rule, equivalent to a search of VAEs only.",
    ]
    return Outcome(
        name="selection",
        title="Does the fast search choose what an exhaustive one would?",
        figures=figures,
        details={
            "quick": quick,
            "reduced": REDUCED if quick else "",
            "source": source,
            "budget": dict(budget),
            "counts": counts,
            "tie_set": ties[False],
            "tie_set_vae": ties[True],
            "reference": list(reference),
            "reruns": list(reruns),
            "structureless": list(rejected),
            "resumed_units": list(resumed),
        },
        tables={
            "Agreement with the reference": rows,
            "Configurations of the reference": _ranking(reference),
            "Scans without structure": rejections,
        },
        notes=[*notes, f"Quick: {REDUCED}."] if quick else notes,
    )


def agreement(picks: Sequence[str | None], tied: Sequence[str]) -> int:
    """How many of the choices lie in the tie set; a search without a choice agrees with a reference without one."""
    return sum(pick in tied if pick is not None else not tied for pick in picks)


def _count(hits: int, of: int) -> dict[str, Any]:
    return {"hits": hits, "of": of, "interval_95": share_interval(hits, of)}


def _rejections(kind: str, scans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "kind": kind,
        "rejected": f"{sum(one['outcome'] in REJECTED for one in scans)} of {len(scans)}",
        "outcomes": ", ".join(f"{name} x{n}" for name, n in Counter(one["outcome"] for one in scans).most_common()),
        "chosen": ", ".join(str(one.get("chosen")) for one in scans),
    }


def _ranking(reference: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    out = []
    for record in engine.ranking(reference):
        row = {"configuration": engine.name_of(record.model_dump()), "reward, mean": record.mean, "spread": record.std}
        row |= {"models": record.seeds, "types": record.types, "σ below the best": record.sigmas_below_best}
        out.append(row | {"tie": "yes" if record.in_tie_set else ""})
    return out


if __name__ == "__main__":
    run(main)
