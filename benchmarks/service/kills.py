"""SIGKILL of agent, client and training workers in running loops: is anything lost, or any point measured twice?

Each loop consists of an agent and a simulated microscope in processes of their own. A killed process is started again at once,
as by a service manager. A third of the kills come at a random moment; a third within milliseconds after a file has grown, when a
message is being recorded or about to be answered; a third soon after a start, during recovery.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service.books import Diary, Witness, audit, verified
from benchmarks.service.processes import SMALL_SEARCH, BrokenLoopError, Site, emptied, workers_of

INSTRUMENT = "mfp3d-1"
_STALLED_S = 240.0
_SETTLED_S = 300.0
_TARGETS = {"agent": 0.4, "adapter": 0.35, "worker": 0.25}
_AIMS = {"any": 0.34, "growth": 0.4, "early": 0.26}
_POLL_S = 0.0005
_SIMULATOR = """
[motion]
drift_m_per_min = 0.0
creep_m = 0.0
[limits]
spacing_min_m = 55e-9
dose_max = 1000
"""


def killed_loop(
    directory: Path, seed: int, kills: int, pixels: int = 96, search: str = SMALL_SEARCH, targets: Mapping[str, float] = _TARGETS
) -> dict[str, Any]:
    """Run one loop with `kills` kills and audit it.

    Parameters
    ----------
    directory
        Directory for the run, its logs and its diaries.
    seed
        Seed of the sample, and of targets and times of the kills.
    kills
        Number of kills.
    pixels
        Pixels per line, and lines per frame.
    search
        Configuration of the agent, as TOML.
    targets
        Process to be killed -> its share of the kills.

    Returns
    -------
    dict
        Among others `kills` by target; `lost`, `measured_twice`, `sentences` and `counts` of the audit; `verify`, faults of the
        history; `alive`, whether the loop closed again afterwards; `stalled_s`, longest wait for new events after a kill;
        `wall_s`.
    """
    started = time.monotonic()
    with emptied(directory), Site(directory, search) as site, Witness(site.run) as witness:
        loop = _Loop(site, witness, seed, pixels, targets)
        alive = True
        try:
            loop.begin()
            for _ in range(kills):
                loop.kill_one()
            loop.settle()
        except BrokenLoopError as error:
            alive, loop.faults = False, [*loop.faults, str(error)]
        exits = loop.end()
    found = audit(site.run, {INSTRUMENT: loop.diary}, witness.seen)
    return {
        "seed": seed,
        "kills": dict(loop.killed),
        "aims": dict(loop.aims),
        "alive": alive,
        "faults": loop.faults,
        "exits": exits,
        "verify": verified(site.run),
        "stalled_s": loop.longest_s,
        "wall_s": time.monotonic() - started,
        **found.as_json(),
    }


class _Loop:
    """Agent and instrument, and the schedule of the kills."""

    def __init__(self, site: Site, witness: Witness, seed: int, pixels: int, targets: Mapping[str, float]) -> None:
        self._site, self._witness, self._targets = site, witness, targets
        self._rng = np.random.default_rng(seed)
        self.spool, self.diary = site.directory / f"{INSTRUMENT}.spool", site.directory / f"{INSTRUMENT}.diary.jsonl"
        options = ("--pixels", str(pixels), "--size-um", "4", "--seed", str(seed), "--no-latency", "--speed", "event")
        self._adapter = site.adapter(INSTRUMENT, lambda: [*options, "--first-scan", str(self._next_scan())], _SIMULATOR)
        self.killed: Counter[str] = Counter()
        self.aims: Counter[str] = Counter()
        self.faults: list[str] = []
        self.longest_s = 0.0

    def begin(self) -> None:
        self._site.start_agent()
        self._adapter.start()
        self._wait_for_events(3)

    def kill_one(self) -> None:
        """Kill one process at a random moment and start it again."""
        target, aim = (str(self._rng.choice(list(odds), p=list(odds.values()))) for odds in (self._targets, _AIMS))
        if aim == "early":
            time.sleep(self._rng.uniform(0.0, 6.0))
        else:
            self._wait_for_events(2)
        if aim == "any":
            time.sleep(self._rng.uniform(0.0, 2.0))
        elif aim == "growth":
            self._wait_for_growth(target)
            time.sleep(float(self._rng.choice([0.0, 0.001, 0.003, 0.01, 0.03])) * self._rng.uniform())
        self._restart_ended()
        if self._kill(target):
            self.killed[target] += 1
            self.aims[aim] += 1
        else:
            self.kill_one()

    def settle(self) -> None:
        """Wait until two more decisions have been made."""
        decided = self._witness.count("decision_made")
        self._site.wait_for(lambda: self._witness.count("decision_made") >= decided + 2, _SETTLED_S, "two more decisions")

    def end(self) -> dict[str, int]:
        """Stop the instrument, once all its messages are answered, then the agent; returns the exit codes."""
        self._restart_ended()
        codes = {"adapter": self._adapter.stop()}
        if self._unanswered():  # stopped before the last answers arrived: one more start, to send these messages again
            self._adapter.start()
            _wait(lambda: not self._unanswered(), _SETTLED_S)
            codes["adapter"] = self._adapter.stop()
        codes["agent"] = self._site.agent.stop()
        return codes

    def _unanswered(self) -> set[str]:
        return Diary.of(self.diary).unanswered

    def _kill(self, target: str) -> bool:
        """Kill and restart the target; False if no such process is running."""
        if target == "worker":
            workers = workers_of(self._site.agent.pid)
            if not workers:
                return False
            os.kill(int(self._rng.choice(workers)), 9)
            return True
        daemon = self._site.agent if target == "agent" else self._adapter
        daemon.kill()
        if target == "agent":
            self._site.start_agent()
        else:
            daemon.start()
        return True

    def _restart_ended(self) -> None:
        """Report processes that ended by themselves, and start them again."""
        for daemon in (self._site.agent, self._adapter):
            if not daemon.running:
                self.faults.append(f"{daemon.name} ended by itself: {daemon.tail(3)}")
                daemon.start()

    def _wait_for_events(self, events: int) -> None:
        """Wait until the history has `events` more events."""
        before, started = self._witness.newest, time.monotonic()
        self._site.wait_for(lambda: self._witness.newest >= before + events, _STALLED_S, f"{events} more events")
        self.longest_s = max(self.longest_s, time.monotonic() - started)

    def _wait_for_growth(self, target: str) -> None:
        path = self.spool / "journal.jsonl" if target == "adapter" else self._site.run / "history.sqlite-wal"
        before = _state(path)
        _wait(lambda: _state(path) != before, 20.0)

    def _next_scan(self) -> int:
        """Number of the next scan; ids must be unique, so it follows the largest number ever sent."""
        return Diary.of(self.diary).last_scan + 1


def _wait(condition: Any, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(_POLL_S)


def _state(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def summed(loops: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Totals over all loops."""
    counts: Counter[str] = Counter()
    kills: Counter[str] = Counter()
    for one in loops:
        counts.update({name: value for name, value in one["counts"].items() if name != "nearest_two_places_pm"})
        kills.update(one["kills"])
    return {
        "kills": sum(kills.values()),
        "by_target": dict(kills),
        "lost": sum(one["lost"] + len(one["verify"]) for one in loops),
        "measured_twice": sum(one["measured_twice"] for one in loops),
        "loops_alive": sum(one["alive"] for one in loops),
        "counts": dict(counts),
        "ended_by_themselves": sum(len(one["faults"]) for one in loops),
    }


if __name__ == "__main__":
    import sys

    print(json.dumps(killed_loop(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])), indent=1))
