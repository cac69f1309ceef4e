"""A million mutated messages and files, none of which may make the code that reads it crash, hang or use ever more memory.

    python -m benchmarks.fuzz --out benchmarks/results

Valid inputs (golden wire messages; generated waves, NSID files, journals, tables, keys and settings) are mutated according to
their structure: JSON fields, sizes in headers with a corrected checksum, frames, table cells, bytes. Each input is passed to the
reader in the product. A valid answer is an acceptance, or an error of the documented type with a message. Anything else is a
failure: another exception, more than a second of CPU time, a process that dies, growing memory. Failures are saved in
`DIR/fuzz-failures`. Each target has a share of the inputs according to their cost; `--inputs` scales all targets alike.
"""

import argparse
import gc
import logging
import multiprocessing
import os
import queue
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import structlog

from benchmarks.fuzz.agent_targets import AGENT_SIDE
from benchmarks.fuzz.physics import MESSAGES, Physics
from benchmarks.fuzz.runner import LIMIT_S, SLOW, Tally, make_input, resident_mb, save, work
from benchmarks.fuzz.targets import ADAPTER_SIDE, Target
from benchmarks.harness.commandline import CannotRunError, run
from benchmarks.harness.outcome import Outcome, write

TARGETS: Mapping[str, Callable[[], Target]] = {t.name: t for t in (*ADAPTER_SIDE, *AGENT_SIDE, Physics)}  # type: ignore[attr-defined]
GROWTH_MB = 24.0  # allowed growth of a process over all inputs of a target, after the first tenth
_BLOCK = 2000
# Limits without a new input: the process hangs in a library, where no signal reaches it, or waits forever.
_STUCK_CPU_S, _STUCK_WALL_S = 20.0, 600.0
_QUICK = 20_000
_TAKEN = ("accepted", "answered", "taken in")
_FAILURE = (
    f"A failure is an exception of another than the documented type, more than {LIMIT_S:g} s of CPU time, a dead process, an "
    f"input that raises the peak memory by {Target.peak_mb:g} MB (NSID: 4 GB, the limit of its own process), or a target during "
    f"which a process grows by {GROWTH_MB:g} MB."
)
_PHYSICS = (
    f"An input of the target `physics` is a session of {MESSAGES} messages with extreme numbers, names and dates. A point that "
    "would be sent outside the frame or the limits, or too near to another one, is a failure."
)
_HDF5 = (
    "hdf5_slower_than_1_s, hdf5_ended_from_outside, hdf5_died: inputs for which the HDF5 library was slow (it allocates up to "
    "4 GB if a damaged string claims such a length), looped (20 s of CPU time) or terminated the process. The product reads such "
    "files in a process of its own with a deadline (`hdf5_guard`) and refuses them."
)


@dataclass
class Found:
    """Results of one target."""

    inputs: int
    tally: Tally = field(default_factory=Tally)
    growth_mb: float = 0.0
    ended_from_outside: int = 0
    died: int = 0


class _Worker:
    """A process that works on one target at a time, block by block."""

    def __init__(self, context: SpawnContext, seed: int, folder: Path) -> None:
        self.blocks, self.reports, self.at = context.SimpleQueue(), context.Queue(), context.Value("q", -1)
        self.process: BaseProcess = context.Process(
            target=_serve, args=(self.blocks, self.reports, self.at, seed, folder), daemon=True
        )
        self.process.start()

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self.process.kill()
        self.process.join()


def _serve(blocks: Any, reports: Any, at: Any, seed: int, folder: Path) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )  # a line for each refusal is no result
    target: Target | None = None
    while True:
        name, numbers = blocks.get()
        if target is None or target.name != name:
            if target is not None:
                target.close()
            target = TARGETS[name]()
        tally = work(target, seed, numbers, folder, lambda number: setattr(at, "value", number))
        target.renew()
        gc.collect()
        at.value = -1
        reports.put((tally, resident_mb()))


def fuzz_target(name: str, inputs: int, seed: int, folder: Path, report: Callable[[str], None]) -> Found:
    """Results of `inputs` inputs of a target in two parallel processes; a process that hangs or dies is replaced."""
    context = multiprocessing.get_context("spawn")
    found = Found(inputs)
    blocks = [list(range(begin, min(begin + _BLOCK, inputs))) for begin in range(0, inputs, _BLOCK)]
    blocks.reverse()
    workers: list[tuple[_Worker, list[int], list[float]]] = []
    while blocks or workers:
        while blocks and len(workers) < 2:
            workers.append((_Worker(context, seed, folder), [], []))
            _assign(workers[-1], name, blocks)
        for worker in list(workers):
            if _collect(worker, name, blocks, found, seed, folder):
                continue
            workers.remove(worker)
    report(f"{name}: {dict(found.tally.failures) or 'no failure'} in {inputs} inputs")
    return found


def _assign(worker: tuple[_Worker, list[int], list[float]], name: str, blocks: list[list[int]]) -> None:
    worker[1][:] = blocks.pop()
    worker[0].blocks.put((name, worker[1]))


def _collect(
    worker: tuple[_Worker, list[int], list[float]], name: str, blocks: list[list[int]], found: Found, seed: int, folder: Path
) -> bool:
    """Wait until a worker reports, hangs or dies; returns whether it has got another block."""
    process, numbers, memory = worker
    current, since = process.at.value, _clocks(process)
    while True:
        try:
            tally, resident = process.reports.get(timeout=0.2)
            break
        except queue.Empty:
            if process.at.value != current:
                current, since = process.at.value, _clocks(process)
            if not process.process.is_alive() or (current >= 0 and _is_stuck(since, _clocks(process))):
                _replace_block(process, name, numbers, blocks, found, seed, folder)
                return False
    found.tally.add(tally)
    memory.append(resident)
    if blocks:
        _assign(worker, name, blocks)
        return True
    process.kill()
    settled = memory[len(memory) // 10 :]
    found.growth_mb = max(found.growth_mb, settled[-1] - settled[0])
    return False


def _clocks(process: _Worker) -> tuple[float, float]:
    """(CPU time of a process, wall time) in seconds; a busy or suspended machine does not make a process stuck."""
    try:
        fields = Path(f"/proc/{process.process.pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        cpu_s = 0.0
    return cpu_s, time.monotonic()


def _is_stuck(since: tuple[float, float], now: tuple[float, float]) -> bool:
    return now[0] - since[0] > _STUCK_CPU_S or now[1] - since[1] > _STUCK_WALL_S


def _replace_block(
    process: _Worker, name: str, numbers: list[int], blocks: list[list[int]], found: Found, seed: int, folder: Path
) -> None:
    """Count the input at which a process hung or died, and put the other inputs of its block back into the queue."""
    number, died = process.at.value, not process.process.is_alive()
    process.kill()
    if number not in numbers:
        raise CannotRunError(f"the fuzzer itself failed at {name}; see its output above")
    target = TARGETS[name]()
    try:
        guarded = target.library_may_hang
        found.ended_from_outside += guarded and not died
        found.died += guarded and died
        failure = f"the process died ({process.process.exitcode})" if died else "the process hung and no signal reached it"
        save(folder.with_name("fuzz-ended") if guarded else folder, name, number, make_input(target, seed, number), failure)
        numbers = [n for n in numbers if n != number]
        if guarded:
            found.tally.outcomes[
                "ended at the guard's deadline" if not died else "ended by the library, in the guard's process"
            ] += 1
        else:
            found.tally.failures["died" if died else "hung"] += 1
    finally:
        target.close()
    blocks.append(numbers)


def main() -> None:
    """Fuzz all targets and write both files; exit code 1 if there was a failure."""
    options = _options()
    folder = options.out / "fuzz-failures"
    begun_s = time.monotonic()
    found = {
        name: fuzz_target(name, max(1, round(options.inputs * share)), options.seed, folder, lambda text: print(text, flush=True))
        for name, share in ((name, target.share) for name, target in TARGETS.items())  # type: ignore[attr-defined]
        if options.only in (None, name)
    }
    outcome = _outcome(found, time.monotonic() - begun_s)
    write(outcome, options.out, [options.seed])
    if outcome.figures["failures"]:
        sys.exit(1)


def _outcome(found: Mapping[str, Found], wall_s: float) -> Outcome:
    grown = {name: one.growth_mb for name, one in found.items() if one.growth_mb > GROWTH_MB}
    failures = sum(sum(one.tally.failures.values()) for one in found.values()) + len(grown)
    rows = [
        {
            "target": name,
            "inputs": one.inputs,
            "accepted": _accepted(one),
            "refused": sum(one.tally.outcomes.values()) - _accepted(one),
            "failures": sum(one.tally.failures.values()),
            "us each": round(1e6 * one.tally.seconds / one.inputs),
            "slowest ms": round(1e3 * one.tally.slowest_s, 1),
            "growth MB": round(one.growth_mb, 1),
        }
        for name, one in found.items()
    ]
    classes = [
        {"target": name, "outcome": outcome, "inputs": number}
        for name, one in found.items()
        for outcome, number in sorted(one.tally.outcomes.items())
    ]
    return Outcome(
        name="fuzz",
        title="Mutated messages and files",
        figures={
            "inputs": sum(one.inputs for one in found.values()),
            "failures": failures,
            "hdf5_slower_than_1_s": sum(one.tally.outcomes[SLOW] for one in found.values()),
            "hdf5_ended_from_outside": sum(one.ended_from_outside for one in found.values()),
            "hdf5_died": sum(one.died for one in found.values()),
            "slowest_ms": max(1e3 * one.tally.slowest_s for one in found.values()),
            "growth_max_MB": max(one.growth_mb for one in found.values()),
            "cpu_s": sum(one.tally.seconds for one in found.values()),
            "wall_s": wall_s,
        },
        details={
            name: {"failures": one.tally.failures, "outcomes": one.tally.outcomes, "growth_mb": one.growth_mb}
            for name, one in found.items()
        },
        tables={"Targets": rows, "Outcomes": classes},
        notes=[
            _FAILURE,
            "Shares follow the cost of an input: two fifths to the codec, a fiftieth each to NSID files and altered histories.",
            _PHYSICS,
            _HDF5,
        ],
    )


def _accepted(one: Found) -> int:
    return sum(
        number for outcome, number in one.tally.outcomes.items() if outcome.startswith(("accepted", "answered", "taken in"))
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the JSON and Markdown files")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs of all targets together (default 1000000)")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK} inputs")
    parser.add_argument("--seed", type=int, default=0, help="seed of all inputs (default 0)")
    parser.add_argument("--only", choices=sorted(TARGETS), help="run only this target, with its share of the inputs")
    options = parser.parse_args()
    if options.quick:
        options.inputs = min(options.inputs, _QUICK)
    return options


if __name__ == "__main__":
    run(main)
