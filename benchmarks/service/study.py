"""Does the service keep running, lose nothing, and answer in time?

`python -m benchmarks.service [--quick] [--only kills,acks,...] [--seeds 100-107] --out DIR` runs agent and simulated microscopes
as the processes that a user runs:

- *kills*: SIGKILL of agent, client and training workers in closed loops, one loop for each seed (`benchmarks.service.kills`);
- *acks*: time until a scan is acknowledged while models train on both cores, and until a killed agent is back (`.acks`);
- *faults*: every fault of the simulator in a running loop (`.faults`);
- *soak*: a simulated week with faults (`.soak`);
- *property*: random loops over the wire, with decisions that must not pass (`.random_loops`);
- *history*: start, list, verify and page on long histories, and what grows with them (`.history_speed`).

Finished parts are kept in `DIR/service.jsonl` until all are complete; the same command continues from there. The logs of all
processes are in `DIR/work`.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.commandline import Journal, parser, run
from benchmarks.harness.outcome import write
from benchmarks.service import acks as service_acks
from benchmarks.service import faults as service_faults
from benchmarks.service import history_speed as service_history
from benchmarks.service import kills as service_kills
from benchmarks.service import random_loops as service_property
from benchmarks.service import soak as service_soak
from benchmarks.service.report import report
from benchmarks.service.soak import Week
from simulators.faults.catalogue import FAULTS

PARTS = ("kills", "acks", "faults", "soak", "property", "history")
Found = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Parameters
    ----------
    loops, kills
        Number of closed loops, and number of kills in each.
    acks, idle_acks, recoveries
        Numbers of scans sent during training and without training, and number of timed recoveries.
    faults, fault_pixels
        Names of the faults, and side of their frames in pixels.
    week
        Extent of the soak.
    property_loops
        Number of random loops.
    history_events
        Lengths of the histories, numbers of events.
    """

    loops: int
    kills: int
    acks: int
    idle_acks: int
    recoveries: int
    faults: Sequence[str]
    fault_pixels: int
    week: Week
    property_loops: int
    history_events: Sequence[int]


FULL = Plan(8, 25, 400, 200, 5, tuple(FAULTS), 256, Week(), 300, (2_500, 12_500, 50_000))
QUICK = Plan(1, 5, 30, 30, 1, ("lost_ack", "nan_lines", "phase_wrap_offset"), 96, Week(days=0.1), 10, (500, 2_500))
REDUCED = "one loop of 5 kills, 30 acknowledgements, 3 faults, a tenth of a simulated day, 10 random loops, 2,500 events"


def main() -> None:
    """Run the parts and write `service.json` and `service.md`."""
    options = parser(__doc__, "100-107")
    options.add_argument("--only", type=_parts, default=PARTS, help=f"parts, separated by commas (default {','.join(PARTS)})")
    arguments = options.parse_args()
    question = {"quick": arguments.quick, "seeds": list(arguments.seeds), "only": list(arguments.only)}
    journal = Journal(arguments.out / "service.jsonl", question)
    plan = QUICK if arguments.quick else FULL
    work = arguments.out.resolve() / "work"
    found = {part: measured(part, plan, arguments.seeds, journal, work) for part in arguments.only}
    write(report(found, REDUCED if arguments.quick else ""), arguments.out, arguments.seeds)
    journal.finish()


def measured(part: str, plan: Plan, seeds: Sequence[int], journal: Journal, work: Path) -> Found:
    """Results of one part; finished units are not repeated after an interruption."""
    units: Mapping[str, Any] = {
        "kills": lambda: _kills(plan, seeds, journal, work),
        "acks": lambda: _acks(plan, seeds[0], journal, work),
        "faults": lambda: _faults(plan, seeds[0], journal, work),
        "soak": lambda: journal.once("soak", lambda: service_soak.soak(work / "soak", seeds[0], plan.week)),
        "property": lambda: journal.once(
            "property", lambda: service_property.random_loops(work / "property", seeds[0], plan.property_loops)
        ),
        "history": lambda: _history(plan, seeds[0], journal, work),
    }
    found: Found = units[part]()
    return found


def _kills(plan: Plan, seeds: Sequence[int], journal: Journal, work: Path) -> Found:
    loops = []
    for seed in seeds[: plan.loops]:
        directory = work / f"kills-{seed}"
        one = journal.once(f"kills, loop {seed}", lambda p=directory, s=seed: service_kills.killed_loop(p, s, plan.kills))
        loops.append(one)
        if not one["lost"] and not one["measured_twice"] and one["alive"]:
            shutil.rmtree(directory, ignore_errors=True)  # nothing to investigate
    return {"loops": loops, **service_kills.summed(loops)}


def _acks(plan: Plan, seed: int, journal: Journal, work: Path) -> Found:
    parts = {
        "training": lambda: service_acks.latencies(work / "acks", plan.acks, training=True, seed=seed),
        "idle": lambda: service_acks.latencies(work / "acks-idle", plan.idle_acks, training=False, seed=seed),
        "recovery": lambda: service_acks.recovery(work / "recovery", plan.recoveries, plan.idle_acks, seed),
    }
    return {name: journal.once(f"acks, {name}", work_on) for name, work_on in parts.items()}


def _history(plan: Plan, seed: int, journal: Journal, work: Path) -> Found:
    found: Found = {}
    for name, candidates in (("small", 1), ("default", 48)):
        path = work / f"history-{name}"
        one = journal.once(
            f"history, {candidates} candidates",
            lambda p=path, c=candidates: service_history.speeds(p, seed, plan.history_events, c),
        )
        found[name] = {"candidates": candidates, **one}
        shutil.rmtree(path, ignore_errors=True)
    return found


def _faults(plan: Plan, seed: int, journal: Journal, work: Path) -> Found:
    found = {}
    for fault in plan.faults:
        directory = work / f"fault-{fault}"
        found[fault] = journal.once(
            f"fault {fault}", lambda f=fault, p=directory: service_faults.one_fault(p, f, seed, plan.fault_pixels)
        )
    return {"faults": list(found.values()), **service_faults.summed(list(found.values()))}


def _parts(text: str) -> tuple[str, ...]:
    named = text.split(",")
    wrong = [name for name in named if name not in PARTS]
    if wrong:
        raise argparse.ArgumentTypeError(f"part {wrong[0]!r} is unknown; give some of {','.join(PARTS)}")
    return tuple(part for part in PARTS if part in named)


if __name__ == "__main__":
    run(main)
