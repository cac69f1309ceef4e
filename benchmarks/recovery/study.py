"""Does the agent find the types that are there, and none where there are none?

`python -m benchmarks.recovery [--quick] [--tiers clean,null] [--seeds 100-109] --out DIR` runs the default search on simulated
worlds whose truth is known: graded ones (clean, easy, medium), two with interspersed types, a hard one in which abstaining is
right, and, as the tier "null", worlds of a single type and shuffled ones. Beside the pick of the decision rule stand the best of
all its candidates, the paper's two rules on the same trained VAEs, fixed baselines, and a classifier that was told the truth of
other worlds, against which all are normalised: 0 is chance, 1 what it reaches. Seeds 0-99 are for development.

Each finished world is kept in `DIR/recovery.jsonl` until the run is complete; the same command goes on from there.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.config.model import Config
from benchmarks.harness.commandline import Journal, Task, parser, run
from benchmarks.harness.outcome import Outcome, write
from benchmarks.recovery import ceiling, one_world
from benchmarks.recovery.report import Worlds, report
from simulators.tiers import GRADED, HARD, INTERSPERSED, SHUFFLED, SINGLE_TYPE, TURNED

NULL = "null"
WITH_TYPES = (*GRADED, HARD, *INTERSPERSED)
TIERS = (*WITH_TYPES, NULL)
_PROCESSES = 2


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Parameters
    ----------
    worlds
        Tier -> how many of the seeds; all of them where it is not named.
    nulls
        The same for worlds without types to tell apart.
    training_worlds
        That the classifier learns from.
    search, null_search, train
        What distinguishes the searches from the default one.
    """

    worlds: Mapping[str, int]
    nulls: Mapping[str, int]
    training_worlds: int
    search: Mapping[str, Any] = field(default_factory=dict)
    null_search: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)


def _nulls(of_a_kind: int, turned: int, shuffled: int) -> Mapping[str, int]:
    return dict.fromkeys(SINGLE_TYPE, of_a_kind) | {kind + TURNED: turned for kind in SINGLE_TYPE} | {SHUFFLED: shuffled}


FULL = Plan(dict.fromkeys(INTERSPERSED, 5), _nulls(4, 3, 4), len(ceiling.TRAINING_SEEDS))
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
    "single-type world of each kind and one shuffled one, plain families alone there; a classifier that learnt from 6 worlds "
    "instead of 30"
)


def main() -> None:
    """Visit all worlds and write `recovery.json` and `recovery.md`."""
    accepted = parser(__doc__, "100-109")
    accepted.add_argument("--tiers", type=_tiers, default=TIERS, help=f"which, by commas (default {','.join(TIERS)})")
    arguments = accepted.parse_args()
    question = {"quick": arguments.quick, "seeds": list(arguments.seeds), "tiers": list(arguments.tiers)}
    journal = Journal(arguments.out / "recovery.jsonl", question)
    outcome = measure(QUICK if arguments.quick else FULL, arguments.seeds, journal, arguments.tiers, quick=arguments.quick)
    write(outcome, arguments.out, arguments.seeds)
    journal.finish()


def measure(plan: Plan, seeds: Sequence[int], journal: Journal, tiers: Sequence[str] = TIERS, *, quick: bool) -> Outcome:
    """All worlds, two at a time, and what they say."""
    config = searched(plan.search, plan.train)
    on_nulls = searched({**plan.search, **plan.null_search}, plan.train)
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


def searched(search: Mapping[str, Any], train: Mapping[str, Any]) -> Config:
    """The default search but for what is given, in the calling process: the worlds, not the candidates, run side by side."""
    return Config.model_validate({"search": {**search, "workers": 0}, "train": train})


def _tiers(text: str) -> tuple[str, ...]:
    named = text.split(",")
    wrong = [name for name in named if name not in TIERS]
    if wrong:
        raise argparse.ArgumentTypeError(f"there is no tier {wrong[0]!r} here; give some of {','.join(TIERS)}")
    return tuple(tier for tier in TIERS if tier in named)


if __name__ == "__main__":
    run(main)
