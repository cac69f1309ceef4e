"""Does the agent find the types that are there, and none where there are none?

`python -m benchmarks.recovery [--quick] [--seeds 100-109] --out DIR` runs the default search on simulated worlds whose truth is
known: graded ones (clean, easy) and worlds of a single type. Beside the pick of the decision rule stand the best of all its
candidates, the paper's rule on the same trained VAEs (one seed, smallest ICL), fixed baselines, and a classifier that was told
the truth of other worlds, against which all are normalised: 0 is chance, 1 what it reaches. Seeds 0-99 are for development.

Each finished world is kept in `DIR/recovery.jsonl` until the run is complete; the same command goes on from there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from agent.config import Config
from benchmarks import ceiling, one_world
from benchmarks.agreement import bootstrap_interval, normalised
from benchmarks.baselines import BASELINES, FIXED_POLAR
from benchmarks.commandline import Journal, Task, parser, run
from benchmarks.writing import Outcome, share_interval, write
from simulators.tiers import SINGLE_TYPE, TURNED

TIERS = ("clean", "easy")
LATER = ("medium",)
PAPER = "icl"
_NULLS_OF_A_KIND, _NULLS_OF_A_KIND_TURNED = 4, 3
_PROCESSES = 2


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Parameters
    ----------
    worlds, nulls_of_a_kind, nulls_of_a_kind_turned
        Seeds of each tier, and of each kind of single-type world, of one superdomain and of several.
    training_worlds
        That the classifier learns from.
    search, null_search, train
        What distinguishes the searches from the default one.
    """

    worlds: int | None
    nulls_of_a_kind: int
    nulls_of_a_kind_turned: int
    training_worlds: int
    search: Mapping[str, Any] = field(default_factory=dict)
    null_search: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


FULL = Plan(None, _NULLS_OF_A_KIND, _NULLS_OF_A_KIND_TURNED, len(ceiling.TRAINING_SEEDS))
QUICK = Plan(2, 1, 0, 12, {"windows_px": [11, 15], "invariances": ["v", "r"]}, {"families": ["polar"]}, {"steps": 400})
REDUCED = (
    "two worlds a tier, windows 11 and 15, VAEs without invariance and with rotation only, half the steps; one single-type world "
    "of each kind, plain families alone there; a classifier that learnt from 12 worlds instead of 30"
)


def main() -> None:
    """Visit all worlds and write `recovery.json` and `recovery.md`."""
    arguments = parser(__doc__, "100-109").parse_args()
    plan = QUICK if arguments.quick else FULL
    seeds = arguments.seeds[: plan.worlds]
    journal = Journal(arguments.out / "recovery.jsonl", {"quick": arguments.quick, "seeds": list(seeds)})
    write(measure(plan, seeds, journal, quick=arguments.quick), arguments.out, seeds)
    journal.finish()


def measure(plan: Plan, seeds: Sequence[int], journal: Journal, *, quick: bool) -> Outcome:
    """All worlds, two at a time, and what they say."""
    config = searched(plan.search, plan.train)
    on_nulls = searched({**plan.search, **plan.null_search}, plan.train)
    training = ceiling.TRAINING_SEEDS[: plan.training_worlds]
    tasks: dict[str, Task] = {f"ceiling, {tier}": (ceiling.ceilings, (tier, list(seeds), training), {}) for tier in TIERS}
    for seed in seeds:
        tasks |= {f"{tier}, world {seed}": (one_world.recover, (tier, seed, config), {}) for tier in TIERS}
    single = [(kind, seed) for kind in SINGLE_TYPE for seed in seeds[: plan.nulls_of_a_kind]]
    single += [(kind + TURNED, seed) for kind in SINGLE_TYPE for seed in seeds[: plan.nulls_of_a_kind_turned]]
    tasks |= {f"{kind} alone, world {seed}": (one_world.null, (kind, seed, on_nulls), {}) for kind, seed in single}
    done = journal.all_once(tasks, _PROCESSES)
    graded = {tier: [done[f"{tier}, world {s}"] | {"ceiling": done[f"ceiling, {tier}"][str(s)]} for s in seeds] for tier in TIERS}
    nulls = [done[f"{kind} alone, world {seed}"] for kind, seed in single]
    return report(graded, nulls, quick=quick)


def searched(search: Mapping[str, Any], train: Mapping[str, Any]) -> Config:
    """The default search but for what is given, in the calling process: the worlds, not the candidates, run side by side."""
    return Config.model_validate({"search": {**search, "workers": 0}, "train": train})


def report(graded: Mapping[str, Sequence[Mapping[str, Any]]], nulls: Sequence[Mapping[str, Any]], *, quick: bool) -> Outcome:
    """Figures, intervals and tables from the finished worlds."""
    figures: dict[str, float | None] = {}
    for tier, worlds in graded.items():
        figures |= tier_figures(tier, worlds)
    found = sum(one["outcome"] == "types_found" for one in nulls)
    figures["null_false_discovery"] = found / len(nulls)
    figures["null_bic_types"] = float(np.median([one["bic_types"]["median"] for one in nulls if one["bic_types"]]))
    low, high = share_interval(found, len(nulls))
    notes = [
        f"Types were claimed in {found} of {len(nulls)} single-type worlds (95 % interval {low:.2f}-{high:.2f}).",
        "ari and what follows from it is that of what the agent says: a world of which it says one type or none counts 0.",
        "The paper's rule chooses K from 2 to 10, among VAEs that passed the guards; a collapsed one would have won it.",
        "Intervals are percentile bootstraps over worlds, paired.",
    ]
    return Outcome(
        name="recovery",
        title="Does the agent find the types that are there, and none where there are none?",
        figures=figures,
        details={"quick": quick, "reduced": REDUCED if quick else "", "worlds": dict(graded), "nulls": list(nulls)},
        tables={tier: ways(worlds) for tier, worlds in graded.items()}
        | {f"{tier}, world by world": each(worlds) for tier, worlds in graded.items()}
        | {"Worlds of a single type": null_rows(nulls)},
        notes=[*notes, f"Quick: {REDUCED}."] if quick else notes,
        missing={f"{key}_{tier}": "the tier is not graded yet" for tier in LATER for key in ("ari", "ari_norm", "ceiling")},
    )


def tier_figures(tier: str, worlds: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The figures of one tier; means over its worlds."""
    pick = [one["pick"]["ari"] for one in worlds]
    purity = [one["pick"]["purity"] for one in worlds if "purity" in one["pick"]]
    norm = {name: float(np.mean(_normalised(worlds, aris))) for name, aris in aris_of(worlds).items()}
    figures: dict[str, float | None] = {
        f"ari_{tier}": float(np.mean(pick)),
        f"ari_norm_{tier}": norm["the agent's pick"],
        f"purity_{tier}": float(np.mean(purity)) if purity else None,
        f"coverage_{tier}": float(np.mean([one["pick"]["coverage"] for one in worlds])),
        f"types_off_{tier}": float(np.mean([one["pick"]["types_off"] for one in worlds])),
        f"ceiling_{tier}": float(np.mean([one["ceiling"]["ari"] for one in worlds])),
        f"best_baseline_norm_{tier}": max(norm[name] for name in BASELINES),
        f"paper_rule_norm_{tier}": norm[paper_name(PAPER)],
        f"abstained_{tier}": float(np.mean([one["outcome"] != "types_found" for one in worlds])),
        f"pick_over_best_{tier}": float(np.mean([_share(ari, one["best"]) for ari, one in zip(pick, worlds, strict=True)])),
    }
    rivals = {"paper_rule": [one["paper"][PAPER]["ari"] for one in worlds]}
    rivals["fixed_polar"] = [one["baselines"][FIXED_POLAR]["ari"] for one in worlds]
    for name, aris in rivals.items():
        gains = [ari - rival for ari, rival in zip(pick, aris, strict=True)]
        low, high = bootstrap_interval(gains)
        key = f"gain_over_{name}_{tier}"
        figures |= {key: float(np.mean(gains)), f"{key}_low": low, f"{key}_high": high}
    return figures


def aris_of(worlds: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Way to find types -> its ARI on each world."""
    out = {
        "the agent's pick": [one["pick"]["ari"] for one in worlds],
        "the same, abstentions apart": [(one["regardless"] or one["pick"])["ari"] for one in worlds],
        "best candidate": [one["best"] for one in worlds],
        "mean candidate": [one["mean"] for one in worlds],
    }
    out |= {paper_name(rule): [one["paper"][rule]["ari"] for one in worlds] for rule in one_world.PAPER_RULES}
    out |= {name: [one["baselines"][name]["ari"] for one in worlds] for name in BASELINES}
    return out | {"supervised ceiling": [one["ceiling"]["ari"] for one in worlds]}


def paper_name(criterion: str) -> str:
    """Of the paper's rule, in the tables."""
    return f"paper's rule: one seed, smallest {criterion.upper()}"


def ways(worlds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each way to find types."""
    pure = {"the agent's pick": [one["pick"]["ari_pure"] for one in worlds]}
    pure |= {name: [one["baselines"][name]["ari_pure"] for one in worlds] for name in BASELINES}
    pure["supervised ceiling"] = [one["ceiling"]["ari_pure"] for one in worlds]
    rows = []
    for name, aris in aris_of(worlds).items():
        low, high = bootstrap_interval(aris)
        row = {"": name, "ARI": float(np.mean(aris)), "95 % interval": f"{low:.3f}-{high:.3f}"}
        row["ARI, single-type patches"] = float(np.mean(pure[name])) if name in pure else None
        rows.append(row | {"normalised": float(np.mean(_normalised(worlds, aris)))})
    return rows


def each(worlds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each world."""
    return [
        {
            "seed": one["seed"],
            "outcome": one["outcome"],
            "chosen": one["chosen"],
            "ARI": one["pick"]["ari"],
            "NMI": one["pick"]["nmi"],
            "core purity": one["pick"].get("purity"),
            "coverage": one["pick"]["coverage"],
            "types, found / true": f"{one['pick']['clusters']:.0f} / {one['types']}",
            "best candidate": f"{one['best']:.3f} {one['best_candidate']}",
            "paper's rule": f"{one['paper'][PAPER]['ari']:.3f} {one['paper'][PAPER]['chosen']}",
            "ceiling": one["ceiling"]["ari"],
            "CPU s": one["cpu_s"],
        }
        for one in worlds
    ]


def null_rows(nulls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each kind of single-type world."""
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in nulls):
        own = [one for one in nulls if one["kind"] == kind]
        k = [one["bic_types"] for one in own if one["bic_types"]]
        median = f"{np.median([one['median'] for one in k]):.1f}" if k else ""
        between = f"{min(one['least'] for one in k):.0f}-{max(one['most'] for one in k):.0f}" if k else ""
        answers = ", ".join(f"{name} x{n}" for name, n in Counter(one["outcome"] for one in own).most_common())
        informed = f"{max((one['information'] or 0.0) for one in own):.3f}"
        rows.append(
            {
                "the only type": kind,
                "answers": answers,
                "MI_rot at most": informed,
                "types by BIC, median": median,
                "of all candidates": between,
            }
        )
    return rows


def _share(ari: float, best: float) -> float:
    return ari / best if best > 0 else 0.0


def _normalised(worlds: Sequence[Mapping[str, Any]], aris: Sequence[float]) -> list[float]:
    return [normalised(ari, one["ceiling"]["ari"]) for ari, one in zip(aris, worlds, strict=True)]


if __name__ == "__main__":
    run(main)
