"""Does the agent find existing types, and none where there are none?

`python -m benchmarks.recovery [--quick] [--tiers clean,null] [--seeds 100-109] --out DIR` runs the default search on simulated
worlds with known truth: graded ones (clean, easy, medium), two with interspersed types, one in which types change along walls
(segmented), a hard one in which abstaining is correct, and, as the tier "null", worlds of a single type and shuffled ones. The
choice of the decision rule is compared with the best of all its candidates, the two rules of the paper on the same trained
VAEs, fixed baselines, and a classifier trained on the truth of other worlds, which normalises all others: 0 is chance, 1 is the
classifier. Seeds 0-99 are for development.

Each finished world is kept in `DIR/recovery.jsonl` until the run is complete; the same command continues from there.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agent.config.model import Config
from agent.errors import ConfigError
from benchmarks.harness.commandline import Journal, Task, parser, run
from benchmarks.harness.outcome import Outcome, write
from benchmarks.recovery import ceiling, one_world
from benchmarks.recovery.report import Worlds, report
from simulators.tiers import GRADED, HARD, INTERSPERSED, SEGMENTED, SHUFFLED, SINGLE_TYPE, TURNED

NULL = "null"
WITH_TYPES = (*GRADED, HARD, *INTERSPERSED, SEGMENTED)
TIERS = (*WITH_TYPES, NULL)
_PROCESSES = 2


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Parameters
    ----------
    worlds
        Tier -> number of seeds; a tier that is not named uses all seeds.
    nulls
        The same for worlds without distinct types.
    training_worlds
        Number of worlds on which the classifier is trained.
    search, null_search, train
        Keys of the configuration by which the searches differ from the default one.
    """

    worlds: Mapping[str, int]
    nulls: Mapping[str, int]
    training_worlds: int
    search: Mapping[str, Any] = field(default_factory=dict)
    null_search: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


def _nulls(of_a_kind: int, turned: int, shuffled: int) -> Mapping[str, int]:
    return dict.fromkeys(SINGLE_TYPE, of_a_kind) | {kind + TURNED: turned for kind in SINGLE_TYPE} | {SHUFFLED: shuffled}


FULL = Plan(dict.fromkeys((*INTERSPERSED, SEGMENTED), 5), _nulls(4, 3, 4), len(ceiling.TRAINING_SEEDS))
QUICK = Plan(
    dict.fromkeys(WITH_TYPES, 1),
    _nulls(1, 0, 1),
    6,
    {"windows_px": [11, 15], "invariances": ["v", "r"], "seeds": 2},
    {"families": ["polar"]},
    {"steps": 400},
)
REDUCED = (
    "one world a tier, windows 11 and 15, VAEs without invariance and with rotation only, two seeds, half the steps; one "
    "single-type world of each kind and one shuffled one, plain families alone there; a classifier trained on 6 worlds "
    "instead of 30"
)


def main() -> None:
    """Run all worlds and write `recovery.json` and `recovery.md`."""
    options = parser(__doc__, "100-109")
    options.add_argument("--tiers", type=_tiers, default=TIERS, help=f"separated by commas (default {','.join(TIERS)})")
    options.add_argument("--families", type=_families, default=(), help="families of the search (default: those of the agent)")
    arguments = options.parse_args()
    question = {
        "quick": arguments.quick,
        "seeds": list(arguments.seeds),
        "tiers": list(arguments.tiers),
        "families": list(arguments.families),
    }
    journal = Journal(arguments.out / "recovery.jsonl", question)
    plan = QUICK if arguments.quick else FULL
    if arguments.families:
        plan = replace(plan, search={**plan.search, "families": list(arguments.families)}, null_search={})
    outcome = measure(plan, arguments.seeds, journal, arguments.tiers, quick=arguments.quick)
    if arguments.families:
        outcome.notes = [*outcome.notes, f"The search knew these families only: {', '.join(arguments.families)}."]
    write(outcome, arguments.out, arguments.seeds)
    journal.finish()


def measure(plan: Plan, seeds: Sequence[int], journal: Journal, tiers: Sequence[str] = TIERS, *, quick: bool) -> Outcome:
    """Run all worlds, two at a time, and return the report."""
    config = search_config(plan.search, plan.train)
    on_nulls = search_config({**plan.search, **plan.null_search}, plan.train)
    training = ceiling.TRAINING_SEEDS[: plan.training_worlds]
    visited = {tier: list(seeds[: plan.worlds.get(tier)]) for tier in WITH_TYPES if tier in tiers}
    nulls = [(kind, seed) for kind, count in plan.nulls.items() for seed in seeds[:count] if NULL in tiers]
    tasks: dict[str, Task] = {f"ceiling, {tier}": (ceiling.ceilings, (tier, own, training), {}) for tier, own in visited.items()}
    for tier, own in visited.items():
        tasks |= {f"{tier}, world {seed}": (one_world.recover, (tier, seed, config), {}) for seed in own}
    tasks |= {f"{kind} alone, world {seed}": (one_world.null, (kind, seed, on_nulls), {}) for kind, seed in nulls}
    done = journal.all_once(tasks, _PROCESSES)
    worlds: Worlds = {
        tier: [done[f"{tier}, world {seed}"] | {"ceiling": done[f"ceiling, {tier}"][str(seed)]} for seed in own]
        for tier, own in visited.items()
    }
    without = [done[f"{kind} alone, world {seed}"] for kind, seed in nulls]
    return report(worlds, without, left_out=[tier for tier in TIERS if tier not in tiers], reduced=REDUCED if quick else "")


def search_config(search: Mapping[str, Any], train: Mapping[str, Any]) -> Config:
    """Configuration of a search without workers, since worlds run in parallel; the given keys differ from the default."""
    return Config.model_validate({"search": {**search, "workers": 0}, "train": train})


def _families(text: str) -> tuple[str, ...]:
    try:
        return tuple(Config().with_search(families=tuple(text.split(","))).search.families)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _tiers(text: str) -> tuple[str, ...]:
    named = text.split(",")
    wrong = [name for name in named if name not in TIERS]
    if wrong:
        raise argparse.ArgumentTypeError(f"tier {wrong[0]!r} is unknown; give some of {','.join(TIERS)}")
    return tuple(tier for tier in TIERS if tier in named)


if __name__ == "__main__":
    run(main)
